"""Running a command until it ends, is stopped or takes too long, and ending what was left running."""

from __future__ import annotations

import codecs
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

Log = Callable[[str], None]
"""Takes a line for the user."""

STATE = Path(".prefect")
"""Folder in the project for the flows' own state and Prefect's."""

SITE_CACHE = Path(".dvc-site")
"""As .dvc/config names it."""

OFFLINE = {
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONUNBUFFERED": "1",
}

STAGE_MARK = "CADNET_STAGE_OF"
"""Variable in the environment of a flow's commands and all they start: the project's folder.

A killed flow cannot end its stages, which are in sessions of their own, and DVC refuses to run a stage that
another process still runs; by this variable the next flow finds and ends them.
"""

REPRO = ("dvc", "--wait-for-lock", "repro", "-s")
"""Runs the one stage named next.

Without waiting for the lock, DVC gives up after 3 s while it records another stage's outputs, even at the end
of a long training.
"""

_ADVICE = (
    "To track the changes with git, run:",
    "git add ",
    "To enable auto staging, run:",
    "dvc config core.autostage ",
    "Use `dvc push` to ",
)
"""Beginnings of the lines in which DVC advises after each stage what is only to be done after all."""

STOP = threading.Event()
"""When set, running commands are ended and no more start."""
RUNNING: set[int] = set()
"""Process ids of the commands that run now."""

PATIENCE = 20.0
"""Seconds from SIGTERM to SIGKILL, for a training to record that it was killed; Prefect gives a cancelled
flow 30."""

_EXIT = re.compile(r"^ERROR: .*failed to run: .*, exited with (?P<status>-?\d+)$")
"""DVC's message about a stage that failed by itself."""


class StageError(RuntimeError):
    """A stage failed; the message holds the end of what it printed."""

    @property
    def names_fix(self) -> bool:
        """Whether the stage named what the user has to fix: trying again gives the same error until then."""
        return self.reason.startswith("error: ")

    @property
    def reason(self) -> str:
        """The stage's own error line, or else how it ended and the last line it printed."""
        lines = [line for line in str(self).splitlines() if line.strip()] or [""]
        own = next((line for line in lines if line.startswith("error: ")), None)
        ending = _EXIT.match(lines[-1])
        if own or not ending or len(lines) < 2 or lines[-2].startswith("> "):
            return own or lines[-1]
        return f"exited with {ending['status']} after the line: {lines[-2]}"


def environment(root: Path) -> dict[str, str]:
    """Return the environment of a project's stages: this interpreter's commands first, telemetry off."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, **OFFLINE, "PATH": path, "DVC_SITE_CACHE_DIR": str(site_cache(root))}


def site_cache(root: Path) -> Path:
    """Return the folder of DVC's pickled notes in a project, which only its owner can write to.

    DVC's own place is open to all users of the machine, and what one of them puts there the next command of
    another unpickles. A folder that ``DVC_SITE_CACHE_DIR`` names is taken as it is.

    Raises:
        StageError: the folder is another user's.
    """
    folder = root.resolve() / SITE_CACHE
    named = os.environ.get("DVC_SITE_CACHE_DIR")
    if named and Path(named) != folder:
        return Path(named)
    for part in (folder, folder / "repo"):
        part.mkdir(mode=0o700, parents=True, exist_ok=True)
        if part.stat().st_mode & 0o002:
            # As DVC makes it by itself; what others may have put there is not read.
            for entry in part.iterdir():
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        try:
            part.chmod(0o700)
        except PermissionError as error:
            raise StageError(f"{part} belongs to another user; remove it") from error
    return folder


def without_advice(log: Log) -> Log:
    """Return ``log`` without the lines of DVC that say nothing about the stage: advice, and empty ones."""

    def log_other(line: str) -> None:
        if line.strip() and not line.strip().startswith(_ADVICE):
            log(line)

    return log_other


def run_command(
    command: list[str], root: Path, timeout: float, log: Log, extra: Mapping[str, str] | None = None
) -> None:
    """Run ``command`` in ``root``, passing each line it prints to ``log``.

    Whenever it does not end by itself, its whole process group is ended.

    Raises:
        StageError: it failed, ran longer than ``timeout`` seconds or was stopped.
    """
    if STOP.is_set():
        raise StageError("stopped before it began")
    process = subprocess.Popen(
        command,
        cwd=root,
        env=environment(root) | {STAGE_MARK: str(root.resolve())} | dict(extra or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    RUNNING.add(process.pid)
    tail: deque[str] = deque(maxlen=20)
    try:
        for line in _lines(process, timeout):
            tail.append(line)
            log(line)
    except BaseException:
        end_group(process)
        raise
    finally:
        RUNNING.discard(process.pid)
        assert process.stdout is not None
        process.stdout.close()
    if process.returncode:
        raise StageError(f"{' '.join(command)} exited with {process.returncode}:\n" + "\n".join(tail))


def _lines(process: subprocess.Popen[bytes], timeout: float) -> Iterator[str]:
    """Yield what ``process`` prints, line by line, until it ends."""
    assert process.stdout is not None
    deadline = time.monotonic() + timeout
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pending, is_open = "", True
    while True:
        ended = process.poll() is not None
        ready = is_open and bool(select.select([process.stdout], [], [], 0 if ended else 0.1)[0])
        chunk = os.read(process.stdout.fileno(), 65536) if ready else b""
        is_open = is_open and (bool(chunk) or not ready)
        *lines, pending = (pending + decoder.decode(chunk)).split("\n")
        yield from lines
        if ended and not chunk:
            # What still holds the pipe open is a grandchild that goes on by itself.
            if pending:
                yield pending
            return
        if STOP.is_set():
            raise StageError(f"{process.args!r} was stopped")
        if time.monotonic() > deadline:
            raise StageError(
                f"{process.args!r} ran longer than {timeout:g} s; raise its timeout or shorten the work"
            )
        if not is_open and not ended:
            time.sleep(0.1)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a child and its process group, also what is left of the group when the child has ended."""

    def group() -> list[psutil.Process]:
        return [one for one in psutil.process_iter() if _is_in_group(one.pid, process.pid)]

    end_processes(group)
    process.poll()


def end_left_over(root: Path, mark: str, log: Log) -> None:
    """End what a killed flow or service has left running in a project.

    Only for who knows that nobody else uses ``mark`` there now, such as the holder of the flow lock.

    Args:
        mark: name of the variable by which processes are known, :data:`STAGE_MARK` for stages.
    """
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    folder = str(root.resolve())

    def left() -> list[psutil.Process]:
        return [
            one
            for one in psutil.process_iter()
            if one.pid not in own and is_alive(one) and _variables(one).get(mark) == folder
        ]

    for process in left():
        with suppress(psutil.Error):
            command = " ".join(process.cmdline())
            log(f"process {process.pid} was left running by one that was killed and is ended: {command}")
    end_processes(left)


def end_processes(find: Callable[[], list[psutil.Process]]) -> None:
    """Send SIGTERM to processes and, :data:`PATIENCE` seconds later, SIGKILL to those that still run.

    SIGTERM first, because a training marks its run as killed before it ends.

    Args:
        find: returns those that run; called again, because they may start others meanwhile.
    """
    for sign, patience in ((signal.SIGTERM, PATIENCE), (signal.SIGKILL, 10.0)):
        limit = time.monotonic() + patience
        found = find()
        for process in found:
            with suppress(psutil.Error):
                process.send_signal(sign)
        while found and time.monotonic() < limit:
            time.sleep(0.02)
            found = [process for process in found if is_alive(process)]
        if not find():
            return


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; a zombie, which only waits for its parent to take note, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _is_in_group(pid: int, leader: int) -> bool:
    try:
        return os.getpgid(pid) == leader and is_alive(psutil.Process(pid))
    except (OSError, psutil.Error):
        return False


def _variables(process: psutil.Process) -> dict[str, str]:
    """The environment a process was started with; empty for another user's, which are not to be read."""
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}
