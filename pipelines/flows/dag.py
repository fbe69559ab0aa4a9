"""The stages DVC knows, and running one of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

OFFLINE = {
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONUNBUFFERED": "1",
}

_NODE = re.compile(r'^"(?P<name>[^"]+)";$')
_EDGE = re.compile(r'^"(?P<before>[^"]+)" -> "(?P<after>[^"]+)";$')


class StageError(RuntimeError):
    """A stage failed; the message holds the end of what it printed."""


def environment() -> dict[str, str]:
    """Return the environment of stages: this interpreter's commands first, telemetry off."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, **OFFLINE, "PATH": path}


def stage_dependencies(root: Path) -> dict[str, set[str]]:
    """Return each stage with the stages it needs, in an order that can be run.

    Raises:
        StageError: DVC cannot read the project.
    """
    result = subprocess.run(
        ["dvc", "dag", "--dot"], cwd=root, env=environment(), capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise StageError(f"dvc dag failed: {result.stderr.strip()[-2000:]}")
    return parse_dag(result.stdout)


def parse_dag(dot: str) -> dict[str, set[str]]:
    """Read the output of ``dvc dag --dot``; files tracked by ``.dvc`` files are not stages and left out."""
    needs: dict[str, set[str]] = {}
    for line in dot.splitlines():
        if node := _NODE.match(line.strip()):
            needs.setdefault(node["name"], set())
        elif edge := _EDGE.match(line.strip()):
            needs.setdefault(edge["after"], set()).add(edge["before"])
    order = [name for name in TopologicalSorter(needs).static_order() if not _is_file(name)]
    return {name: {before for before in needs[name] if not _is_file(before)} for name in order}


def _is_file(name: str) -> bool:
    return name.endswith(".dvc")


def run_command(
    command: list[str],
    root: Path,
    timeout: float,
    on_line: Callable[[str], None],
    extra: Mapping[str, str] | None = None,
) -> None:
    """Run ``command`` in ``root``, passing each line it prints on; on timeout its whole process group ends.

    Raises:
        StageError: it failed or ran longer than ``timeout`` seconds.
    """
    process = subprocess.Popen(
        command,
        cwd=root,
        env=environment() | dict(extra or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    tail: list[str] = []
    deadline = time.monotonic() + timeout
    try:
        _follow(process, tail, deadline, on_line)
    except BaseException:
        # SIGTERM first: a training marks its run as killed before it goes.
        _end(process)
        raise
    if process.returncode:
        raise StageError(f"{' '.join(command)} exited with {process.returncode}:\n" + "\n".join(tail[-20:]))


def _follow(
    process: subprocess.Popen[str], tail: list[str], deadline: float, on_line: Callable[[str], None]
) -> None:
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    pending = ""
    while True:
        pending += process.stdout.read() or ""
        *lines, pending = pending.split("\n")
        for line in lines:
            tail.append(line)
            on_line(line)
        if process.poll() is not None:
            rest = pending + (process.stdout.read() or "")
            for line in filter(None, rest.split("\n")):
                tail.append(line)
                on_line(line)
            return
        if time.monotonic() > deadline:
            raise StageError(
                f"{process.args!r} ran longer than allowed; raise its timeout or shorten the work"
            )
        time.sleep(0.1)


def _end(process: subprocess.Popen[str]) -> None:
    for sign, patience in ((signal.SIGTERM, 30), (signal.SIGKILL, 10)):
        if process.poll() is not None:
            return
        os.killpg(process.pid, sign)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
