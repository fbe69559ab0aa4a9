"""One flow at a time in a project."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from cadnet.files import read_json, write_json
from cadnet.tracking.processes import ProcessMark
from pipelines.flows.commands import StageError
from pipelines.flows.processes import STATE


class FlowRunsError(StageError):
    """Another flow runs in the project; this one has done nothing."""


@contextmanager
def only_flow(root: Path, flow: str) -> Iterator[None]:
    """Hold the project's flow lock, which ends with the process: stages of two flows would collide in DVC.

    Args:
        root: the project's folder.
        flow: what holds the lock, for the message of who is refused.

    Raises:
        FlowRunsError: another flow holds it.
    """
    path = root / STATE / "experiment.lock"
    holder = path.with_name("experiment.json")
    path.parent.mkdir(exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise FlowRunsError(
            f"another flow runs in {root.resolve()}{_who_holds(holder)}; wait for it or end it"
        ) from error
    try:
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        write_json(holder, {"flow": flow, "since": since, "process": asdict(ProcessMark.current())})
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _who_holds(path: Path) -> str:
    """The holder in brackets, or nothing while it has not said who it is."""
    try:
        note = read_json(path)
        mark = ProcessMark(**note["process"])
        # What a killed flow has left tells nothing about the one that runs now.
        return "" if mark.is_dead() else f" ({note['flow']}, process {mark.pid}, since {note['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
