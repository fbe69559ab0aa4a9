"""Starting, watching and ending server and worker; stand-ins are served."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from pipelines.flows.serve import (
    LOGIN,
    SERVICE_MARK,
    ServiceError,
    end_flows,
    main,
    note_flows,
    read_login,
    require_free,
    running,
    serve,
    server_environment,
    wait_for,
)

pytestmark = pytest.mark.timeout(120)

WORKER = """
import subprocess, sys, time
flow = '''
import pathlib, signal, sys, time
def end(*_):
    time.sleep(0.3); pathlib.Path("ends").touch(); sys.exit()
signal.signal(signal.SIGTERM, end)
pathlib.Path("on").touch()
time.sleep(60)
'''
subprocess.Popen([sys.executable, "-c", flow], start_new_session=True).wait()
"""


@pytest.mark.parametrize("killed", [False, True])
def test_the_flows_of_a_worker_end_gently_even_if_it_was_killed(killed: bool, tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    flows: set[psutil.Process] = set()
    try:
        with running((sys.executable, "-c", WORKER), tmp_path, os.environ) as worker:
            while not (tmp_path / "on").exists():
                assert worker.poll() is None
            note_flows(flows, worker)
            if killed:
                worker.kill()
                worker.wait()
            end_flows(flows, worker)
        assert len(flows) == 1
        assert (tmp_path / "ends").exists()
        assert worker.poll() is not None
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_service_that_ends_while_it_is_waited_for_is_named(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import sys; print('no'); sys.exit(3)")
    with (
        running(command, tmp_path, os.environ, tmp_path / "log") as process,
        pytest.raises(ServiceError, match="the server has ended with status 3"),
    ):
        wait_for("http://127.0.0.1:9/", {"server": process})
    assert (tmp_path / "log").read_text() == "no\n"


def test_a_port_that_is_taken_is_named_with_another(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            ServiceError, match=f"port {port} cannot be used .*make serve-flows PORT={port + 1}"
        ):
            serve(tmp_path, port, lambda line: None)
    require_free(port)


@pytest.mark.parametrize("port", ["99999", "0", "-1"])
def test_what_is_no_port_is_named(
    port: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["serve", f"--port={port}"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert f"--port {port}: a port is a number from 1 to 65535" in capsys.readouterr().err


def test_one_project_is_served_once(tmp_path: Path) -> None:
    (tmp_path / ".prefect").mkdir()
    with FileLock(tmp_path / ".prefect/serve.lock"), pytest.raises(ServiceError, match="are served already"):
        serve(tmp_path, 1, lambda line: None)


def test_what_is_served_keeps_its_state_in_the_project_and_calls_nobody(tmp_path: Path) -> None:
    variables = server_environment(tmp_path, 4321, {"no_proxy": "example.org"})
    assert variables["PREFECT_API_URL"] == "http://127.0.0.1:4321/api"
    login = variables["PREFECT_API_AUTH_STRING"]
    assert len(login) > 30 and login == variables["PREFECT_SERVER_API_AUTH_STRING"] == read_login(tmp_path)
    assert (tmp_path / LOGIN).stat().st_mode & 0o777 == 0o600
    own = "http://127.0.0.1:4321,http://localhost:4321"
    assert variables["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] == own
    assert variables["PREFECT_HOME"] == str(tmp_path / ".prefect")
    assert variables["no_proxy"] == "example.org,127.0.0.1,localhost"
    assert variables["NO_PROXY"] == "127.0.0.1,localhost"
    assert variables["DO_NOT_TRACK"] == "true"
    assert variables["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert variables[SERVICE_MARK] == str(tmp_path)


def test_a_background_job_of_a_shell_can_be_interrupted(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code = "import signal,time; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
        with running((sys.executable, "-c", code), tmp_path, os.environ, tmp_path / "log") as process:
            process.wait(20)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "log").read_text() == "True\n"
