"""What the commands of flows do before and without Prefect."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from pipelines.flows import experiment, grid, stages, terminal
from pipelines.flows.commands import STOP, STOPPED, StageError
from pipelines.flows.dag import Graph
from pipelines.flows.lock import FlowRunsError, only_flow
from pipelines.flows.terminal import run_in_terminal, show

GRAPH = Graph(
    {
        "prepare@a": set(),
        "train@a": {"prepare@a"},
        "evaluate@a": {"prepare@a", "train@a"},
        "train-cross@b": {"prepare@a"},
        "report": {"evaluate@a", "train-cross@b"},
    },
    {"data.dvc"},
)


class Recorder:
    """Stands in for DVC and for the Prefect flow."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, changed: set[str]) -> None:
        self.calls: list[object] = []
        monkeypatch.setattr(stages, "read_graph", lambda root: GRAPH)
        for module in (experiment, grid):
            monkeypatch.setattr(module, "read_changed", lambda root: {name: {} for name in changed})
        monkeypatch.setattr(stages, "run_command", lambda command, *_: self.calls.append(command[-1]))
        flow = SimpleNamespace(run_stages=lambda root, stages: self.calls.append(stages))
        monkeypatch.setitem(sys.modules, "pipelines.flows.flow", flow)


def test_changed_inputs_are_noted_before_the_stages_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = Recorder(monkeypatch, {"evaluate@a", "data.dvc", "other.dvc"})
    ran = experiment.run_experiment(tmp_path)
    assert (ran.stages, ran.text) == (["evaluate@a", "report"], "5 stages are up to date")
    assert recorder.calls == ["data.dvc", {"evaluate@a": [], "report": ["evaluate@a"]}]
    assert capsys.readouterr().out == "2 of 5 stages have changed or need one that has\n"


def test_without_changes_nothing_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch, {"other.dvc"})
    assert experiment.run_experiment(tmp_path).stages == []
    assert recorder.calls == []


def test_missing_inputs_are_named_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(monkeypatch, {"prepare@a", "data.dvc"})
    missing = "ERROR: failed to reproduce 'data.dvc': missing data 'source': data"

    def fail(*_: object) -> None:
        raise StageError(f"dvc exited with 255:\nVerifying data sources\n{missing}")

    monkeypatch.setattr(stages, "run_command", fail)
    with pytest.raises(StageError) as caught:
        experiment.run_experiment(tmp_path)
    assert str(caught.value) == missing
    assert recorder.calls == []


def test_a_grid_is_run_with_what_it_needs_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(monkeypatch, set(GRAPH.needs))
    assert grid.run_grid("cross", tmp_path).text == "2 stages are up to date"
    assert recorder.calls == [{"prepare@a": [], "train-cross@b": ["prepare@a"]}]
    assert list(grid.grid_part("run", GRAPH.needs)) == ["prepare@a", "train@a", "evaluate@a"]
    few = {"pretrain@m-0": set(), "finetune@m-0.1-0": {"pretrain@m-0"}, "evaluate-finetuned@m-0.1-0": {"x"}}
    assert list(grid.grid_part("semi", few)) == list(few)


@pytest.mark.parametrize(
    ("name", "told"), [("semi", "the grid 'semi' has no trials"), ("sims", "the grid 'sims' is not known")]
)
def test_a_grid_that_is_empty_or_unknown_is_an_error_that_names_the_others(name: str, told: str) -> None:
    with pytest.raises(StageError) as caught:
        grid.grid_part(name, GRAPH.needs)
    assert str(caught.value) == f"{told}; params.yaml fills: run, cross"
    with pytest.raises(StageError, match="fills: none"):
        grid.grid_part(name, {})


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("raised", [StageError("dvc was stopped"), SystemError("as Prefect's own signal")])
def test_a_signal_stops_what_runs_and_says_so(
    sign: signal.Signals,
    raised: Exception,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(terminal, "_leave", lambda: None)
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
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"error: {STOPPED}\n"
    assert signal.getsignal(sign) is before


def test_two_flows_do_not_run_in_one_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch, set())
    with only_flow(tmp_path, "retrain"), pytest.raises(FlowRunsError) as caught:
        experiment.run_experiment(tmp_path)
    told = str(caught.value)
    assert told.startswith(f"another flow runs in {tmp_path} (retrain, process {os.getpid()}, since 2")
    assert told.endswith("; wait for it or end it")
    assert recorder.calls == []
    experiment.run_experiment(tmp_path)
    assert sorted(path.name for path in (tmp_path / ".prefect").iterdir()) == ["experiment.lock"]


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


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (KeyboardInterrupt(), STOPPED),
        (StageError("dvc dag failed: no project"), "dvc dag failed: no project"),
    ],
)
@pytest.mark.parametrize(
    ("main", "arguments"), [(experiment.main, []), (grid.main, ["run"])], ids=["experiment", "grid"]
)
def test_the_command_tells_in_one_line_why_it_ended(
    main: Callable[[], None],
    arguments: list[str],
    raised: BaseException,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(*_: object) -> None:
        raise raised

    monkeypatch.setattr(experiment, "run_experiment", run)
    monkeypatch.setattr(grid, "run_grid", run)
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"error: {told}\n"


def test_an_error_in_the_program_is_not_hidden() -> None:
    def work() -> None:
        show("on")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_in_terminal(work)
