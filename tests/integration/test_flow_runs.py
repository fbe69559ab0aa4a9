"""Flow runs whose process has ended, and what is served; the server of Prefect is a stand-in."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from cadnet.tracking.processes import process_start
from pipelines.flows.processes import RUNS, read_notes, write_note
from pipelines.flows.serve import require_free, serve, server_environment
from pipelines.flows.services import ServiceError, running, running_worker, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.xdist_group("flow")]

SLEEPS = (sys.executable, "-c", "import time; time.sleep(60)")


@pytest.fixture(scope="module", autouse=True)
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Prefect must not make its folder in the home of who runs the tests."""
    patch = pytest.MonkeyPatch()
    patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
    patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    yield
    patch.undo()


class Server:
    """Knows flow runs by their state, and one task run of each."""

    def __init__(self, states: dict[UUID, Any]) -> None:
        self.states = dict(states)
        self.asked: list[Any] = []

    def read_flow_run(self, run: UUID) -> SimpleNamespace:
        from prefect.exceptions import ObjectNotFound

        if run not in self.states:
            raise ObjectNotFound(KeyError(run))
        return SimpleNamespace(id=run, name=str(run)[:4], state=self.states[run])

    def read_flow_runs(self, flow_run_filter: Any) -> list[SimpleNamespace]:
        self.asked.append(flow_run_filter)
        return [self.read_flow_run(run) for run, state in self.states.items() if state.is_pending()]

    def read_task_runs(self, flow_run_filter: Any, task_run_filter: Any) -> list[SimpleNamespace]:
        return [SimpleNamespace(id=("task", *flow_run_filter.id.any_))]

    def set_flow_run_state(self, run: UUID, state: Any, force: bool) -> None:
        assert force
        self.states[run] = state

    set_task_run_state = set_flow_run_state


def test_runs_whose_process_has_ended_are_crashed_and_no_others(tmp_path: Path) -> None:
    from prefect.states import Cancelling, Completed, Pending, Running

    from pipelines.flows.runs import TAG, sweep

    ended = subprocess.Popen([sys.executable, "-c", ""])
    while process_start(ended.pid) is not None:
        time.sleep(0.02)
    killed, cancelled, done, alive, unknown, elsewhere = (uuid4() for _ in range(6))
    stuck, fresh = uuid4(), uuid4()
    long_ago = datetime.now(UTC) - timedelta(minutes=11)
    before: dict[UUID, Any] = {
        killed: Running(),
        cancelled: Cancelling(),
        done: Completed(),
        alive: Running(),
        # Of another project, which has its own notes.
        elsewhere: Running(),
        stuck: Pending(timestamp=long_ago),
        fresh: Pending(),
    }
    for run in (killed, cancelled, done, unknown):
        write_note(tmp_path / f"{run}.json", ended.pid, 1, "flow")
    write_note(tmp_path / f"{alive}.json", os.getpid(), 1, "flow")
    ended.wait()
    server = Server(before)
    told: list[str] = []
    sweep(tmp_path, server, told.append)  # type: ignore[arg-type]
    after = {run: (state.type.value, state.message) for run, state in server.states.items()}
    crashed = ("CRASHED", "its process has ended")
    assert {run: state for run, state in after.items() if state[0] == "CRASHED"} == {
        killed: crashed,
        ("task", killed): crashed,
        cancelled: crashed,
        ("task", cancelled): crashed,
        stuck: ("CRASHED", "its worker has ended"),
    }
    assert len(told) == 3
    # The notes of those that the server knows to have ended are not needed any more.
    assert [note.path.stem for note in read_notes(tmp_path)] == [str(alive)]
    assert server.asked[0].tags.all_ == [TAG]


def test_a_server_that_does_not_answer_keeps_the_notes_and_the_flow(tmp_path: Path) -> None:
    from httpx import ConnectError

    from pipelines.flows.runs import sweep

    class Away(Server):
        def read_flow_run(self, run: UUID) -> SimpleNamespace:
            raise ConnectError("refused")

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    write_note(tmp_path / f"{uuid4()}.json", gone.pid, 1, "flow")
    told: list[str] = []
    sweep(tmp_path, Away({}), told.append)  # type: ignore[arg-type]
    assert told == ["warning: runs of killed flows could not be looked up: refused"]
    assert len(list(tmp_path.iterdir())) == 1


def test_the_flows_of_a_worker_end_before_it_and_others_go_on(tmp_path: Path) -> None:
    ends = tmp_path / "ends"
    notes = (
        "import pathlib,signal,sys,time\n"
        "def end(*_):\n"
        "    time.sleep(0.3)\n"
        f"    pathlib.Path({str(ends)!r}).touch(); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\nprint('on', flush=True)\ntime.sleep(60)"
    )
    flow = subprocess.Popen([sys.executable, "-c", notes], stdout=subprocess.PIPE, start_new_session=True)
    other = subprocess.Popen(SLEEPS, start_new_session=True)
    assert flow.stdout is not None
    assert flow.stdout.readline() == b"on\n"
    try:
        with running_worker(SLEEPS, tmp_path, os.environ) as worker:
            write_note(tmp_path / RUNS / "a.json", flow.pid, worker.pid, "flow")
            write_note(tmp_path / RUNS / "b.json", other.pid, os.getpid(), "flow of a terminal")
        assert ends.exists()
        assert worker.poll() is not None
        assert flow.wait(5) == 0
        assert other.poll() is None
    finally:
        for process in (flow, other):
            process.kill()
            process.wait()


def test_a_service_that_ends_while_it_is_waited_for_is_named(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import sys; print('no'); sys.exit(3)")
    with (
        running(command, tmp_path, os.environ, tmp_path / "log") as process,
        pytest.raises(ServiceError, match="the server has ended with status 3"),
    ):
        wait_for("http://127.0.0.1:9/", {"server": process})
    assert (tmp_path / "log").read_text() == "no\n"


def test_a_port_that_is_taken_is_named_with_the_cure(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError) as caught:
            serve(tmp_path, port, lambda line: None)
    assert str(caught.value) == (
        f"port {port} cannot be used (Address already in use); end what uses it or choose another: "
        f"make serve-flows PORT={port + 1}"
    )
    require_free(port)


def test_one_project_is_served_once(tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / ".prefect").mkdir()
    with FileLock(tmp_path / ".prefect/serve.lock"), pytest.raises(ServiceError, match="are served already"):
        serve(tmp_path, 1, lambda line: None)


def test_what_is_served_keeps_its_state_in_the_project_and_calls_nobody(tmp_path: Path) -> None:
    variables = server_environment(tmp_path, 4321, {"no_proxy": "example.org"})
    assert variables["PREFECT_API_URL"] == "http://127.0.0.1:4321/api"
    assert variables["PREFECT_HOME"] == str(tmp_path / ".prefect")
    assert variables["no_proxy"] == "example.org,127.0.0.1,localhost"
    assert variables["NO_PROXY"] == "127.0.0.1,localhost"
    assert variables["DO_NOT_TRACK"] == "true"
    assert variables["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


def test_a_background_job_of_a_shell_can_be_interrupted(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code = "import signal,time; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
        with running((sys.executable, "-c", code), tmp_path, os.environ, tmp_path / "log") as process:
            process.wait(20)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "log").read_text() == "True\n"
