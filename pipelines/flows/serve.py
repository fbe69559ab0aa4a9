"""Prefect's server and worker for this project: ``python -m pipelines.flows.serve``.

They are for this machine only, keep their state in the project, and end together.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import requests
from filelock import FileLock, Timeout
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from pipelines.flows.command_line import show
from pipelines.flows.commands import STATE, Log, end_group, end_left_over, environment, is_alive

HOST = "127.0.0.1"
PORT = 4200
POOL = "cadnet"
"""The work pool that prefect.yaml names."""

POOL_TEMPLATE: dict[str, Any] = {
    "job_configuration": {"stream_output": True},
    "variables": {"type": "object", "properties": {}, "additionalProperties": False},
}
"""What may be asked of a run besides its parameters: nothing. Prefect's own template lets whoever asks for a
run give the command of its process."""

LOGIN = STATE / "api-login"
"""File with user and password of the server, ``user:password``, which only its owner can read."""

PREFECT = (sys.executable, "-m", "prefect", "--no-prompt")

SERVICE_MARK = "CADNET_SERVES"
"""Variable in the environment of server, worker and flows: the project's folder. See ``STAGE_MARK``."""

START = 180.0
"""Seconds a server or worker may take to start."""
DRAIN = 60.0
"""Seconds flows have to end."""

HEARTBEAT = 60
"""Seconds between the signs of life of a flow."""
SILENCE = 600
"""Seconds without one, or since the hand-over to a worker, after which a run counts as crashed."""

AUTOMATION: dict[str, Any] = {
    "name": "Crash silent flow runs",
    "description": "A killed process cannot report its end, nor a killed worker that of its flows.",
    "trigger": {
        "type": "event",
        "posture": "Proactive",
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "for_each": ["prefect.resource.id"],
        "after": ["prefect.flow-run.heartbeat", "prefect.flow-run.Pending"],
        "expect": ["prefect.flow-run.*"],
        "threshold": 1,
        "within": SILENCE,
    },
    "actions": [
        {
            "type": "change-flow-run-state",
            "state": "CRASHED",
            "message": "no sign of life from its process or its worker",
        }
    ],
}


class ServiceError(RuntimeError):
    """The flows cannot be served; the message gives the reason."""


def serve(root: Path, port: int, log: Log) -> None:
    """Start server and worker, deploy what prefect.yaml names, and watch both until one ends.

    Args:
        port: of the server.

    Raises:
        ServiceError: the flows are served already, the port is taken, or something did not start or has
            ended.
        KeyboardInterrupt: the user ended it, and so both.
    """
    file = root / STATE / "server.log"
    file.parent.mkdir(exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(file.with_name("serve.lock")).acquire(timeout=0))
        except Timeout as error:
            raise ServiceError(f"the flows of {root.resolve()} are served already; end that first") from error
        end_left_over(root, SERVICE_MARK, log)
        require_free(port)
        variables = server_environment(root, port, os.environ)
        log(f"starting Prefect's server on port {port}; its log is {file}")
        start = (*PREFECT, "server", "start", "--host", HOST, "--port", str(port), "--log-level", "WARNING")
        server = stack.enter_context(running(start, root, variables, file))
        api = variables["PREFECT_API_URL"]
        login = variables["PREFECT_API_AUTH_STRING"]
        wait_for(f"{api}/health", {"server": server})
        _automate(api, login)
        limit_pool(api, login)
        start = (*PREFECT, "worker", "start", "--pool", POOL, "--type", "process", "--name", POOL)
        worker = stack.enter_context(running(start, root, variables))
        flows: set[psutil.Process] = set()
        stack.callback(end_flows, flows, worker)
        processes = {"server": server, "worker": worker}
        wait_for(f"{api}/work_pools/{POOL}", processes, login)
        _deploy(root, variables)
        log(f"flows are served on http://{HOST}:{port}, login in {root / LOGIN}; end with Ctrl-C")
        while True:
            note_flows(flows, worker)
            require_alive(processes)
            time.sleep(0.5)


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

    Their state is kept in the project, nothing calls home, and no proxy stands between them. The server takes
    requests with the login only, and from no page but its own: else any page in a browser of this machine
    could have it run things.

    Args:
        port: of the server.
        environ: the user's environment.
    """
    local = {
        name: ",".join(filter(None, [environ.get(name), HOST, "localhost"]))
        for name in ("no_proxy", "NO_PROXY")
    }
    login = read_login(root)
    return environment(root) | local | {
        "PREFECT_HOME": str((root / STATE).resolve()),
        "PREFECT_API_URL": f"http://{HOST}:{port}/api",
        "PREFECT_API_AUTH_STRING": login,
        "PREFECT_SERVER_API_AUTH_STRING": login,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port},http://localhost:{port}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT),
        SERVICE_MARK: str(root.resolve()),
    }  # fmt: skip


def read_login(root: Path) -> str:
    """Return user and password of the project's server; the first call draws the password."""
    path = root / LOGIN
    path.parent.mkdir(exist_ok=True)
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"cadnet:{secrets.token_urlsafe(24)}\n")
    path.chmod(0o600)
    return path.read_text("ascii").strip()


@contextmanager
def running(
    command: Sequence[str], root: Path, variables: Mapping[str, str], log: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process until the block ends.

    Args:
        command: what to run in ``root``.
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
    try:
        yield process
    finally:
        end_group(process)


def note_flows(flows: set[psutil.Process], worker: subprocess.Popen[bytes]) -> None:
    """Add to ``flows`` the processes of the flows that the worker has started."""
    with suppress(psutil.Error):
        flows.update(psutil.Process(worker.pid).children())


def end_flows(flows: set[psutil.Process], worker: subprocess.Popen[bytes]) -> None:
    """End the flows of a worker, also of one that was killed; they end their stages, which it would kill."""
    ended: set[psutil.Process] = set()
    limit = time.monotonic() + DRAIN
    while time.monotonic() < limit:
        note_flows(flows, worker)
        for process in flows - ended:
            with suppress(psutil.Error):
                process.terminate()
        ended |= flows
        # The last a flow does is to report to the server how it ended.
        if not any(is_alive(process) for process in flows):
            return
        time.sleep(0.2)


def wait_for(address: str, processes: Mapping[str, subprocess.Popen[bytes]], login: str = "") -> None:
    """Wait until ``address`` answers.

    Args:
        address: of something on this machine.
        processes: by name; none may end meanwhile.
        login: of Prefect's server.

    Raises:
        ServiceError: one has ended, or nothing has answered for too long.
    """
    limit = time.monotonic() + START
    with _local_session(login) as session:
        while time.monotonic() < limit:
            require_alive(processes)
            with suppress(requests.RequestException):
                session.get(address, timeout=10).raise_for_status()
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


def limit_pool(api: str, login: str) -> None:
    """Make the pool, or change it to :data:`POOL_TEMPLATE`, before a worker makes it with Prefect's own."""
    with _local_session(login) as session:
        pool: dict[str, Any] = {"base_job_template": POOL_TEMPLATE}
        try:
            answer = session.patch(f"{api}/work_pools/{POOL}", json=pool, timeout=30)
            if answer.status_code == 404:
                pool |= {"name": POOL, "type": "process"}
                answer = session.post(f"{api}/work_pools/", json=pool, timeout=30)
            answer.raise_for_status()
        except requests.RequestException as error:
            raise ServiceError(f"Prefect's server refused the work pool: {error}") from error


def _automate(api: str, login: str) -> None:
    """Let the server crash runs that show no sign of life, as :data:`AUTOMATION` says."""
    with _local_session(login) as session:
        try:
            found = session.post(f"{api}/automations/filter", json={}, timeout=30).json()
            same = next((one["id"] for one in found if one["name"] == AUTOMATION["name"]), None)
            address = f"{api}/automations/{same or ''}"
            session.request(
                "PUT" if same else "POST", address, json=AUTOMATION, timeout=30
            ).raise_for_status()
        except requests.RequestException as error:
            raise ServiceError(f"Prefect's server refused the automation: {error}") from error


def _local_session(login: str) -> requests.Session:
    session = requests.Session()
    session.auth = tuple(login.split(":", 1)) if login else None  # type: ignore[assignment]
    # Whatever proxy the environment names, it is not for this machine.
    session.trust_env = False
    # A server that has just started after a kill answers 503 while its database is busy.
    again = Retry(10, connect=0, read=0, status_forcelist=[503], backoff_factor=0.5, allowed_methods=None)
    session.mount("http://", HTTPAdapter(max_retries=again))
    return session


def _deploy(root: Path, variables: Mapping[str, str]) -> None:
    command = [*PREFECT, "deploy", "--all"]
    result = subprocess.run(
        command, cwd=root, env=dict(variables), capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise ServiceError(f"prefect deploy failed:\n{(result.stdout + result.stderr).strip()[-2000:]}")


def main() -> None:
    """Entry of ``python -m pipelines.flows.serve``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=PORT)
    port = parser.parse_args().port
    if not 0 < port < 2**16:
        parser.error(f"--port {port}: a port is a number from 1 to 65535")
    received: list[int] = []

    def stop(number: int, _frame: object) -> None:
        # A second signal must not keep the first from ending server and worker.
        for other in (signal.SIGINT, signal.SIGTERM):
            signal.signal(other, signal.SIG_IGN)
        received.append(number)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        serve(Path(), port, show)
    except ServiceError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from error
    except KeyboardInterrupt:
        show("server and worker have ended")
        raise SystemExit(128 + received[0]) from None


if __name__ == "__main__":
    main()
