"""Running Prefect's server and worker as child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

from pipelines.flows.processes import RUNS, SERVICES, Note, end_group, noted_child, read_notes

START = 180.0
"""Seconds a server or worker may take to start."""
DRAIN = 60.0
"""Seconds flows have to end."""


class ServiceError(RuntimeError):
    """The flows cannot be served; the message says why."""


@contextmanager
def running(
    command: Sequence[str], root: Path, variables: Mapping[str, str], log: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process until the block ends.

    Args:
        command: what to run in ``root``.
        root: the project's folder.
        variables: its environment.
        log: file for its output; without one it goes where ours goes.
    """
    output = log.open("ab") if log else None
    try:
        process = subprocess.Popen(
            list(command),
            cwd=root,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output and subprocess.STDOUT,
            start_new_session=True,
            # Ignored in a shell's background jobs, and Prefect's worker sends it to itself to end.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    finally:
        if output:
            output.close()
    with noted_child(process, command, root / SERVICES):
        yield process
        end_group(process.pid, process.poll)


@contextmanager
def running_worker(
    command: Sequence[str], root: Path, variables: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker until the block ends, then end the flows it has started; arguments as of ``running``."""
    with running(command, root, variables) as worker:
        try:
            yield worker
        finally:
            _end_flows(worker.pid, root)


def wait_for(address: str, processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
    """Wait until ``address`` answers.

    Args:
        address: of something on this machine.
        processes: by name; none may end meanwhile.

    Raises:
        ServiceError: one has ended, or nothing has answered for too long.
    """
    # Whatever proxy the environment names, it is not for this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    limit = time.monotonic() + START
    while time.monotonic() < limit:
        require_alive(processes)
        with suppress(OSError, HTTPException), opener.open(address, timeout=10):
            return
        time.sleep(0.3)
    raise ServiceError(f"{' and '.join(processes)} did not start within {START:g} s")


def require_alive(processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
    """Check that all of ``processes`` run.

    Raises:
        ServiceError: one has ended.
    """
    for name, process in processes.items():
        if process.poll() is not None:
            raise ServiceError(f"the {name} has ended with status {process.returncode}; start again")


def _end_flows(worker: int, root: Path) -> None:
    """End the flows a worker has started, which then end their stages; the worker itself would kill them."""
    told: dict[int, Note] = {}
    limit = time.monotonic() + DRAIN
    while time.monotonic() < limit:
        for note in read_notes(root / RUNS):
            if note.parent == worker and note.lives and note.mark.pid not in told:
                told[note.mark.pid] = note
                with suppress(ProcessLookupError):
                    os.kill(note.mark.pid, signal.SIGTERM)
        # The last a flow does is to tell the server how it ended.
        if not any(note.lives for note in told.values()):
            return
        time.sleep(0.2)
