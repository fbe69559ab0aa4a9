"""What the flow's command does before and without Prefect."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from pipelines.flows import experiment
from pipelines.flows.commands import STOP, STOPPED, StageError
from pipelines.flows.dag import Graph

GRAPH = Graph({"prepare@a": set(), "train@a": {"prepare@a"}, "report": {"train@a"}}, {"data.dvc"})


class Recorder:
    """Stands in for DVC and for the Prefect flow."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, changed: set[str]) -> None:
        self.calls: list[object] = []
        monkeypatch.setattr(experiment, "read_graph", lambda root: GRAPH)
        monkeypatch.setattr(experiment, "read_changed", lambda root: changed)
        monkeypatch.setattr(experiment, "run_command", lambda command, *_: self.calls.append(command[-1]))
        flow = SimpleNamespace(experiment=lambda root, stages: self.calls.append(stages))
        monkeypatch.setitem(sys.modules, "pipelines.flows.flow", flow)


def test_changed_inputs_are_noted_before_the_stages_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = Recorder(monkeypatch, {"train@a", "data.dvc", "other.dvc"})
    assert experiment.run_experiment(tmp_path) == "3 stages are up to date"
    assert recorder.calls == ["data.dvc", {"train@a": [], "report": ["train@a"]}]
    assert capsys.readouterr().out == "2 of 3 stages have changed or need one that has\n"


def test_without_changes_nothing_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch, {"other.dvc"})
    assert experiment.run_experiment(tmp_path) == "3 stages are up to date"
    assert recorder.calls == []


def test_missing_inputs_are_named_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(monkeypatch, {"prepare@a", "data.dvc"})
    missing = "ERROR: failed to reproduce 'data.dvc': missing data 'source': data"

    def fail(*_: object) -> None:
        raise StageError(f"dvc exited with 255:\nVerifying data sources\n{missing}")

    monkeypatch.setattr(experiment, "run_command", fail)
    with pytest.raises(StageError) as caught:
        experiment.run_experiment(tmp_path)
    assert str(caught.value) == missing
    assert recorder.calls == []


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_what_runs_and_says_so(
    sign: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Recorder(monkeypatch, {"data.dvc"})
    monkeypatch.setattr(experiment, "_leave", lambda: None)
    before = signal.getsignal(sign)

    def stopped(*_: object) -> None:
        signal.raise_signal(sign)
        assert STOP.is_set()
        raise StageError("dvc was stopped")

    monkeypatch.setattr(experiment, "run_command", stopped)
    try:
        with pytest.raises(StageError, match=STOPPED):
            experiment.run_experiment(tmp_path)
    finally:
        STOP.clear()
    assert signal.getsignal(sign) is before


def test_two_flows_do_not_run_in_one_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch, set())
    (tmp_path / ".prefect").mkdir()
    with (
        FileLock(tmp_path / ".prefect" / "experiment.lock"),
        pytest.raises(StageError, match="another flow runs in"),
    ):
        experiment.run_experiment(tmp_path)
    assert recorder.calls == []
    experiment.run_experiment(tmp_path)


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (KeyboardInterrupt(), STOPPED),
        (StageError("dvc dag failed: no project"), "dvc dag failed: no project"),
    ],
)
def test_the_command_tells_in_one_line_why_it_ended(
    raised: BaseException, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(root: Path) -> str:
        raise raised

    monkeypatch.setattr(experiment, "run_experiment", run)
    monkeypatch.setattr(sys, "argv", ["experiment"])
    with pytest.raises(SystemExit) as caught:
        experiment.main()
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"error: {told}\n"
