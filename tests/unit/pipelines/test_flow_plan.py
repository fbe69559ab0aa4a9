"""What the commands of flows do before and without Prefect."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock

from cadnet.signals import STOPPED
from cadnet.tracking.processes import ProcessMark
from pipelines.flows import command_line, plan
from pipelines.flows.command_line import main, run_flow, run_in_terminal, show
from pipelines.flows.commands import STOP, StageError
from pipelines.flows.plan import FlowName, FlowRunsError, grid_part, only_flow, read_runs, write_runs
from pipelines.flows.project import Project
from tests.unit.pipelines.test_flow_project import graph_of

GRAPH = graph_of(
    {
        "data.dvc": [],
        "prepare@a": ["data.dvc"],
        "train@a": ["prepare@a"],
        "evaluate@a": ["prepare@a", "train@a"],
        "train-cross@b": ["prepare@a"],
        "report": ["evaluate@a", "train-cross@b"],
    }
)


class Recorder:
    """Stands in for DVC and for Prefect's flow."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, changed: set[str]) -> None:
        self.calls: list[Any] = []
        self.lines: list[str] = []
        self.changed = changed
        monkeypatch.setattr(plan, "read_project", self.read)
        monkeypatch.setattr(plan, "run_command", lambda command, *_: self.calls.append(command[-1]))
        flow = SimpleNamespace(run_as_flow=lambda name, root, stages, log, grid: self.calls.append(stages))
        monkeypatch.setitem(sys.modules, "pipelines.flows.deployed", flow)

    def read(self, root: Path) -> Project:
        return Project(GRAPH, {name: {} for name in self.changed}, {}, {})

    def run(self, flow: FlowName, root: Path, grid: str = "") -> plan.Plan:
        return run_flow(flow, root, self.lines.append, grid)


def test_changed_inputs_are_recorded_before_the_stages_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(monkeypatch, {"evaluate@a", "data.dvc", "other.dvc"})
    ran = recorder.run("experiment", tmp_path)
    assert (list(ran.stages), ran.done) == (["evaluate@a", "report"], "5 stages are up to date")
    assert recorder.calls == ["data.dvc", {"evaluate@a": [], "report": ["evaluate@a"]}]
    assert recorder.lines == ["2 of 5 stages have changed or need one that has"]


def test_without_changes_nothing_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch, {"other.dvc"})
    assert recorder.run("experiment", tmp_path).stages == {}
    assert recorder.calls == []


def test_only_a_retraining_takes_over_data_and_then_asks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(monkeypatch, set())

    def take_over(root: Path, project: Project, log: object) -> bool:
        recorder.changed = {"report"}
        return True

    monkeypatch.setattr(plan, "take_over", take_over)
    assert list(recorder.run("experiment", tmp_path).stages) == []
    assert list(recorder.run("retrain", tmp_path).stages) == ["report"]


def test_missing_inputs_are_named_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(monkeypatch, {"prepare@a", "data.dvc"})
    missing = "ERROR: failed to reproduce 'data.dvc': missing data 'source': data"

    def fail(*_: object) -> None:
        raise StageError(f"dvc exited with 255:\nVerifying data sources\n{missing}")

    monkeypatch.setattr(plan, "run_command", fail)
    with pytest.raises(StageError) as caught:
        recorder.run("experiment", tmp_path)
    assert str(caught.value) == missing
    assert recorder.calls == []


def test_a_grid_is_run_with_what_it_needs_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(monkeypatch, set(GRAPH.needs))
    assert recorder.run("grid", tmp_path, "cross").done == "2 stages are up to date"
    assert recorder.calls == [{"prepare@a": [], "train-cross@b": ["prepare@a"]}]
    assert list(grid_part("run", GRAPH).needs) == ["prepare@a", "train@a", "evaluate@a"]
    few = graph_of(
        {"pretrain@m-0": [], "finetune@m-0.1-0": ["pretrain@m-0"], "evaluate-finetuned@m-0.1-0": []}
    )
    assert grid_part("semi", few).needs.keys() == few.needs.keys()
    for name, problem in (("semi", "has no trials"), ("sims", "is not known")):
        with pytest.raises(StageError, match=f"the grid '{name}' {problem}; params.yaml fills: run, cross"):
            grid_part(name, GRAPH)
    with pytest.raises(StageError, match="fills: none"):
        grid_part("run", graph_of({}))


def test_two_flows_do_not_run_in_one_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch, set())
    with only_flow(tmp_path, "retrain"), pytest.raises(FlowRunsError) as caught:
        recorder.run("experiment", tmp_path)
    message = str(caught.value)
    assert message.startswith(f"another flow runs in {tmp_path} (retrain, process {os.getpid()}, since 2")
    assert message.endswith("; wait for it or end it")
    assert recorder.calls == []
    recorder.run("experiment", tmp_path)
    assert sorted(path.name for path in (tmp_path / ".prefect").iterdir()) == ["experiment.lock"]


def test_runs_are_recorded_until_a_later_flow_has_looked_at_them(tmp_path: Path) -> None:
    mark = ProcessMark.current()
    with only_flow(tmp_path, "retrain"):
        assert read_runs(tmp_path) == {}
        write_runs(tmp_path, {"a": mark})
    # It is known now that nobody holds the lock.
    assert "process" not in json.loads((tmp_path / ".prefect/experiment.json").read_text())
    with only_flow(tmp_path, "experiment"):
        assert read_runs(tmp_path) == {"a": mark}
        write_runs(tmp_path, {})
    assert not (tmp_path / ".prefect/experiment.json").exists()


@pytest.mark.parametrize(
    "note",
    [
        "",
        '{"flow": "retrain", "since": "x", "process": {"host": "h", "pid": 1}}',
        # A killed flow has left it, and the one that holds the lock has not written its own yet.
        '{"flow": "retrain", "since": "x", "process": {"host": "HOST", "pid": 1, "start": "boot:0"}}',
    ],
)
def test_a_holder_that_is_not_known_is_not_named(note: str, tmp_path: Path) -> None:
    folder = tmp_path / ".prefect"
    folder.mkdir()
    (folder / "experiment.json").write_text(note.replace("HOST", os.uname().nodename))
    with (
        FileLock(folder / "experiment.lock"),
        pytest.raises(FlowRunsError, match=f"another flow runs in {tmp_path}; wait for it or end it"),
        only_flow(tmp_path, "experiment"),
    ):
        pass


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("raised", [StageError("dvc was stopped"), SystemError("as Prefect's own signal")])
def test_a_signal_stops_what_runs(
    sign: signal.Signals,
    raised: Exception,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command_line, "_leave", lambda _number: None)
    before = signal.getsignal(sign)

    def work() -> None:
        signal.raise_signal(sign)
        assert STOP.is_set()
        raise StageError(STOPPED) if isinstance(raised, StageError) else raised

    try:
        with pytest.raises(SystemExit) as caught:
            run_in_terminal(work)
    finally:
        STOP.clear()
    assert caught.value.code == 128 + sign
    assert capsys.readouterr().err == f"{STOPPED}\n"
    assert signal.getsignal(sign) is before


@pytest.mark.parametrize(
    ("raised", "line", "status"),
    [
        (KeyboardInterrupt(), STOPPED, 130),
        (StageError("DVC cannot read x"), "error: DVC cannot read x", 1),
    ],
)
@pytest.mark.parametrize("flow", ["experiment", "grid", "retrain"])
def test_a_command_that_fails_gives_its_reason_in_one_line(
    flow: FlowName,
    raised: BaseException,
    line: str,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(command_line, "run_flow", run)
    monkeypatch.delenv("CADNET_WEBHOOK", raising=False)
    monkeypatch.setattr(sys, "argv", ["command", *(["run"] if flow == "grid" else [])])
    with pytest.raises(SystemExit) as caught:
        main(flow)
    assert caught.value.code == status
    assert capsys.readouterr().err == f"{line}\n"


def test_an_error_in_the_program_is_not_hidden() -> None:
    def work() -> None:
        show("on")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_in_terminal(work)
