"""Prefect's server and worker for this project: ``python -m pipelines.flows.serve``.

They are for this machine only, keep their state in the project, and end together.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pipelines.flows.commands import environment
from pipelines.flows.processes import SERVICES, STATE, end_left_over
from pipelines.flows.pull import Tell
from pipelines.flows.services import ServiceError, require_alive, running, running_worker, wait_for
from pipelines.flows.terminal import show

HOST = "127.0.0.1"
PORT = 4200
POOL = "cadnet"
"""The work pool that prefect.yaml names."""

PREFECT = (sys.executable, "-m", "prefect", "--no-prompt")


def serve(root: Path, port: int, tell: Tell) -> None:
    """Start server and worker, deploy what prefect.yaml names, and watch both until one ends.

    Args:
        root: the project's folder.
        port: of the server.
        tell: takes a line for the user.

    Raises:
        ServiceError: the flows are served already, the port is taken, or something did not start or has
            ended.
        KeyboardInterrupt: the user ended it, and so both.
    """
    log = root / STATE / "server.log"
    with ExitStack() as stack:
        stack.enter_context(_only_here(root))
        # What a killed `serve` has left.
        end_left_over(root / SERVICES, tell)
        require_free(port)
        variables = server_environment(root, port, os.environ)
        tell(f"starting Prefect's server on port {port}; its log is {log}")
        start = (*PREFECT, "server", "start", "--host", HOST, "--port", str(port), "--log-level", "WARNING")
        server = stack.enter_context(running(start, root, variables, log))
        wait_for(f"{variables['PREFECT_API_URL']}/health", {"server": server})
        # The worker makes the pool if there is none.
        start = (*PREFECT, "worker", "start", "--pool", POOL, "--type", "process", "--name", POOL)
        worker = stack.enter_context(running_worker(start, root, variables))
        processes = {"server": server, "worker": worker}
        wait_for(f"{variables['PREFECT_API_URL']}/work_pools/{POOL}", processes)
        _deploy(root, variables)
        tell(f"flows are served on http://{HOST}:{port}; end with Ctrl-C")
        while True:
            require_alive(processes)
            time.sleep(0.5)


@contextmanager
def _only_here(root: Path) -> Iterator[None]:
    path = root / STATE / "serve.lock"
    path.parent.mkdir(exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ServiceError(f"the flows of {root.resolve()} are served already; end that first") from error
    try:
        yield
    finally:
        lock.release()


def require_free(port: int) -> None:
    """Check that nothing listens on ``port``.

    Raises:
        ServiceError: something does, or the port may not be used.
    """
    with socket.socket() as probe:
        # As servers do, so that connections of one that has just ended do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ServiceError(
                f"port {port} cannot be used ({error.strerror}); end what uses it or choose another: "
                f"make serve-flows PORT={port + 1}"
            ) from error


def server_environment(root: Path, port: int, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of server, worker and flows.

    State lies in the project, nothing calls home, and no proxy stands between them.

    Args:
        root: the project's folder.
        port: of the server.
        environ: the user's environment.
    """
    local = {
        name: ",".join(filter(None, [environ.get(name), HOST, "localhost"]))
        for name in ("no_proxy", "NO_PROXY")
    }
    return environment() | local | {
        "PREFECT_HOME": str((root / STATE).resolve()),
        "PREFECT_API_URL": f"http://{HOST}:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }  # fmt: skip


def _deploy(root: Path, variables: Mapping[str, str]) -> None:
    command = [*PREFECT, "deploy", "--all"]
    result = subprocess.run(
        command, cwd=root, env=dict(variables), capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise ServiceError(f"prefect deploy failed:\n{(result.stdout + result.stderr).strip()[-2000:]}")


def _stop(_number: int, _frame: object) -> None:
    # A second signal must not keep the first from ending server and worker.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> None:
    """Entry of ``python -m pipelines.flows.serve``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=PORT)
    port = parser.parse_args().port
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        serve(Path(), port, show)
    except ServiceError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from error
    except KeyboardInterrupt:
        show("server and worker have ended")


if __name__ == "__main__":
    main()
