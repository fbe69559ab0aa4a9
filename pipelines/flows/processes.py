"""Processes that flows start, which can outlive a flow that is killed.

A killed flow cannot end its stages, which are in sessions of their own. DVC refuses to run a stage that
another process still runs, so the next flow ends what is left; a training goes on from its checkpoint.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from cadnet.files import read_json, write_json
from cadnet.tracking.processes import ProcessMark, process_start

STATE = Path(".prefect")
"""Folder in the project for what flows note, and for Prefect's own state."""
COMMANDS = STATE / "commands"
"""A note of each command of a flow that runs."""
RUNS = STATE / "runs"
"""A note of each flow run since the last one that looked, the file named by Prefect's id."""
SERVICES = STATE / "services"
"""A note of the server and one of the worker."""

PATIENCE = 20.0
"""Seconds from SIGTERM to SIGKILL, to record that it was killed; Prefect gives a cancelled flow 30."""


@dataclass(frozen=True)
class Note:
    """What a file says of a process."""

    path: Path
    mark: ProcessMark
    parent: int
    """Process id of who started it."""
    command: str

    @property
    def lives(self) -> bool:
        """Whether certainly this process runs here."""
        return bool(self.mark.start) and process_start(self.mark.pid) == self.mark.start

    @property
    def is_gone(self) -> bool:
        """Whether it certainly does not; the host's name does not count, which new containers have anew."""
        return self.mark.has_ended()


def write_note(path: Path, pid: int, parent: int, command: str) -> None:
    """Note a process.

    Args:
        path: file of the note, in a folder that is made if it is not there.
        pid: of the process.
        parent: of who started it.
        command: what it is, for people.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"command": command, "parent": parent, "process": asdict(ProcessMark.of(pid))})


@contextmanager
def noted_child(process: subprocess.Popen[bytes], command: Sequence[str], folder: Path) -> Iterator[None]:
    """Keep a note of a child in ``folder`` until the block ends, and end its process group on an error.

    A killed process never ends its block, and so leaves the note.
    """
    path = folder / f"{process.pid}.json"
    write_note(path, process.pid, os.getpid(), " ".join(command))
    try:
        yield
    except BaseException:
        # SIGTERM first: a training marks its run as killed before it goes.
        end_group(process.pid, process.poll)
        raise
    finally:
        path.unlink(missing_ok=True)


def read_notes(folder: Path) -> list[Note]:
    """Return what is noted in ``folder``; files that are gone meanwhile or are no notes are left out."""
    return [note for path in sorted(folder.glob("*.json")) if (note := _read_note(path))]


def _read_note(path: Path) -> Note | None:
    try:
        note = read_json(path)
        return Note(path, ProcessMark(**note["process"]), note["parent"], note["command"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def end_left_over(folder: Path, tell: Callable[[str], None]) -> None:
    """End what is noted in ``folder`` and still runs, and remove the notes.

    Only for who knows that nobody else notes there, such as the holder of the flow lock.
    """
    for note in read_notes(folder):
        if note.lives:
            tell(f"process {note.mark.pid} is left from one that was killed, and is ended: {note.command}")
            end_group(note.mark.pid)
        note.path.unlink(missing_ok=True)


def end_group(leader: int, poll: Callable[[], object] = lambda: None) -> None:
    """End a process group: a leader that is gone says nothing about those it started.

    Args:
        leader: process id.
        poll: takes note of a child's end, so that it does not stay as a zombie.
    """
    for sign, patience in ((signal.SIGTERM, PATIENCE), (signal.SIGKILL, 10.0)):
        limit = time.monotonic() + patience
        try:
            os.killpg(leader, sign)
            while time.monotonic() < limit:
                poll()
                os.killpg(leader, 0)
                time.sleep(0.05)
        except ProcessLookupError:
            return
