"""Run what has changed of the DVC stages as a Prefect flow, side by side where they can be.

``python -m pipelines.flows.experiment`` leaves what ``dvc repro`` leaves.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cadnet.config import ConfigError
from pipelines.flows.commands import REPRO, RUNNING, STOP, STOPPED, StageError, is_advice, run_command
from pipelines.flows.dag import read_changed, read_graph, with_descendants

NOTING = 2 * 3600.0
"""Seconds DVC may take to note raw inputs that have changed."""

GRACE = 10.0
"""Seconds Prefect has to note that the flow was stopped."""


def run_experiment(root: Path) -> str:
    """Run every stage whose inputs changed and what needs it; a failed cell does not stop its siblings.

    Args:
        root: the project's folder.

    Returns:
        One line that says how many stages are up to date now.

    Raises:
        StageError: another flow runs there, DVC cannot read the project, raw inputs are missing, the user
            stopped it, or at least one stage failed; those that need it were not run.
        ConfigError: the parameters are not valid and are needed to share out several GPUs.
    """
    with _only_flow(root):
        graph = read_graph(root)
        changed = read_changed(root)
        stages = with_descendants(graph.needs, changed)
        with _stoppable():
            for name in sorted(graph.inputs & changed):
                _note_input(name, root)
            if stages:
                _show(f"{len(stages)} of {len(graph.needs)} stages have changed or need one that has")
                # Only now: Prefect and its server take some 20 s, for nothing if nothing has changed.
                from pipelines.flows.flow import experiment

                experiment(str(root), {stage: sorted(before) for stage, before in stages.items()})
    return f"{len(graph.needs)} stages are up to date"


def _note_input(name: str, root: Path) -> None:
    """Let DVC take over raw inputs as they are now, as ``dvc repro`` does."""
    try:
        run_command([*REPRO, name], root, NOTING, _show)
    except StageError as error:
        raise StageError(STOPPED if STOP.is_set() else error.reason) from None


def _show(line: str) -> None:
    if not is_advice(line):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


@contextmanager
def _only_flow(root: Path) -> Iterator[None]:
    """Hold the project's flow lock, which ends with the process: stages of two flows would collide in DVC."""
    path = root / ".prefect" / "experiment.lock"
    path.parent.mkdir(exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise StageError(f"another flow runs in {root.resolve()}; wait for it or end it") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the running stages, which are in process groups of their own."""
    STOP.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: object) -> None:
        STOP.set()
        threading.Thread(target=_leave, daemon=True).start()

    signals = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, stop) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, previous, strict=True):
            signal.signal(number, handler)


def _leave() -> None:
    """End this process once the stages have ended, if Prefect does not.

    Ctrl-C in a terminal ends Prefect's temporary server too, and Prefect would ask it for minutes.
    """
    while RUNNING:
        time.sleep(0.1)
    time.sleep(GRACE)
    sys.stderr.write(f"error: {STOPPED}\n")
    sys.stderr.flush()
    os._exit(1)


def main() -> None:
    """Entry of ``python -m pipelines.flows.experiment``."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    try:
        message = run_experiment(Path())
    except (StageError, ConfigError) as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from error
    except KeyboardInterrupt:
        sys.stderr.write(f"error: {STOPPED}\n")
        raise SystemExit(1) from None
    sys.stdout.write(f"{message}\n")


if __name__ == "__main__":
    main()
