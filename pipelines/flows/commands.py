"""Running a command until it ends, is stopped or takes too long."""

from __future__ import annotations

import codecs
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pipelines.flows.processes import COMMANDS, noted_child

OFFLINE = {
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONUNBUFFERED": "1",
}

STOPPED = "stopped; the same command goes on from here"

REPRO = ("dvc", "--wait-for-lock", "repro", "-s")
"""Runs the one stage named next.

Without waiting for the lock, DVC gives up after 3 s while another stage's outputs are noted, even at the end
of a long training.
"""

_ADVICE = (
    "To track the changes with git, run:",
    "git add ",
    "To enable auto staging, run:",
    "dvc config core.autostage ",
    "Use `dvc push` to ",
)
"""How the lines begin in which DVC says after each stage what may be done once after all."""

STOP = threading.Event()
"""When set, running stages are ended and no more start."""
RUNNING: set[int] = set()
"""Process ids of the commands that run now."""

_EXIT = re.compile(r"^ERROR: .*failed to run: .*, exited with (?P<status>-?\d+)$")
"""What DVC says of a stage that failed by itself."""


class StageError(RuntimeError):
    """A stage failed; the message holds the end of what it printed."""

    @property
    def curable(self) -> bool:
        """Whether the stage named a cure: then the same error comes again until somebody applies it."""
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


def environment() -> dict[str, str]:
    """Return the environment of stages: this interpreter's commands first, telemetry off."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, **OFFLINE, "PATH": path}


def is_advice(line: str) -> bool:
    """Whether a line of ``dvc repro`` tells nothing about the stage: advice for later, or empty."""
    return not line.strip() or line.strip().startswith(_ADVICE)


def run_command(
    command: list[str],
    root: Path,
    timeout: float,
    on_line: Callable[[str], None],
    extra: Mapping[str, str] | None = None,
) -> None:
    """Run ``command`` in ``root``, passing each line it prints on; on timeout its whole process group ends.

    Raises:
        StageError: it failed, ran longer than ``timeout`` seconds or was stopped.
    """
    if STOP.is_set():
        raise StageError("stopped before it began")
    process = subprocess.Popen(
        command,
        cwd=root,
        env=environment() | dict(extra or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    RUNNING.add(process.pid)
    tail: deque[str] = deque(maxlen=20)
    try:
        with noted_child(process, command, root / COMMANDS):
            for line in _lines(process, timeout):
                tail.append(line)
                on_line(line)
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
