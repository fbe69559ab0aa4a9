"""Finding, resuming, nesting and closing runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cadnet.signals import Terminated
from cadnet.tracking import (
    Run,
    Tracker,
    TrackingError,
    Trial,
    open_tracker,
    run_scope,
    track_stage,
)
from cadnet.tracking.processes import ProcessMark, process_start
from cadnet.tracking.registry import open_registry
from cadnet.tracking.stage import status_of
from cadnet.tracking.trials import TAG_PARENT

EXPERIMENT = "cadnet/synlcd-mixed/supervised"


def status(tracker: Tracker, run_id: str) -> str:
    return str(tracker.client.get_run(run_id).info.status)


def dead_process() -> ProcessMark:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = process_start(process.pid)
    assert start is not None
    process.kill()
    process.wait()
    return ProcessMark(ProcessMark.current().host, process.pid, start)


def test_evaluate_continues_the_training_run(tracker: Tracker, trial: Trial) -> None:
    first = tracker.open_run(trial, "f1", stage="train")
    first.finish("FINISHED", "train")
    second = tracker.open_run(trial, "f1", stage="evaluate")
    assert (second.run_id, second.resumed) == (first.run_id, True)
    assert status(tracker, first.run_id) == "RUNNING"
    second.finish("FINISHED", "evaluate")
    tags = second.tags()
    assert (tags["stage"], tags["cadnet.stage.train"], tags["cadnet.stage.evaluate"]) == (
        "evaluate",
        "FINISHED",
        "FINISHED",
    )
    assert len(tracker.find_runs(EXPERIMENT)) == 1


def test_other_fingerprint_is_another_run(tracker: Tracker, trial: Trial) -> None:
    assert (
        tracker.open_run(trial, "f1", stage="train").run_id
        != tracker.open_run(trial, "f2", stage="train").run_id
    )
    assert [run.tags["cadnet.fingerprint"] for run in tracker.find_runs(EXPERIMENT)] == ["f2", "f1"]


def test_a_deleted_run_begins_anew(run: Run, tracker: Tracker, trial: Trial) -> None:
    tracker.client.delete_run(run.run_id)
    again = tracker.open_run(trial, "f1", stage="train")
    assert not again.resumed and again.run_id != run.run_id


def test_restart_leaves_a_finished_run_alone(tracker: Tracker, trial: Trial) -> None:
    first = tracker.open_run(trial, "f1", stage="train")
    assert tracker.open_run(trial, "f1", stage="train", restart=True).run_id == first.run_id
    first.finish("FINISHED", "train")
    second = tracker.open_run(trial, "f1", stage="train", restart=True)
    assert second.run_id != first.run_id
    assert first.tags()["cadnet.superseded_fingerprint"] == "f1"
    assert tracker.open_run(trial, "f1", stage="evaluate").run_id == second.run_id
    assert status(tracker, first.run_id) == "FINISHED"


def test_deleted_experiment_comes_back(run: Run, tracker: Tracker, trial: Trial) -> None:
    tracker.client.delete_experiment(tracker.client.get_run(run.run_id).info.experiment_id)
    again = tracker.open_run(trial, "f2", stage="train")
    assert tracker.client.get_run(again.run_id).info.status == "RUNNING"


def test_trials_lie_beneath_one_parent_per_invocation(tracker: Tracker, trial: Trial) -> None:
    parent = tracker.open_parent("key1", EXPERIMENT)
    assert tracker.open_parent("key1", EXPERIMENT).run_id == parent.run_id
    assert tracker.open_parent("key2", EXPERIMENT).run_id != parent.run_id
    children = [tracker.open_run(trial, f"f{index}", stage="train", parent=parent) for index in range(2)]
    found = tracker.find_runs(EXPERIMENT, {TAG_PARENT: parent.run_id})
    assert {run.run_id for run in found} == {child.run_id for child in children}
    experiments = {tracker.client.get_run(run.run_id).info.experiment_id for run in [parent, *children]}
    assert len(experiments) == 1


def test_parent_ends_with_its_last_trial_as_the_worst(tracker: Tracker, trial: Trial) -> None:
    parent = tracker.open_parent("key", EXPERIMENT)
    first, second, third = (tracker.open_run(trial, f"f{n}", stage="train", parent=parent) for n in range(3))
    first.finish("FAILED", "train")
    second.finish("KILLED", "train")
    tracker.settle_parent(parent)
    assert status(tracker, parent.run_id) == "RUNNING"
    third.finish("FINISHED", "train")
    tracker.settle_parent(parent)
    assert status(tracker, parent.run_id) == "FAILED"
    tracker.open_run(trial, "f0", stage="train", parent=parent).finish("FINISHED", "train")
    tracker.settle_parent(parent)
    assert status(tracker, parent.run_id) == "KILLED"
    tracker.open_run(trial, "f1", stage="train", parent=parent).finish("FINISHED", "train")
    tracker.settle_parent(parent)
    assert status(tracker, parent.run_id) == "FINISHED"


def test_scope_finishes_run_and_parent(tracker: Tracker, trial: Trial) -> None:
    parent = tracker.open_parent("key", EXPERIMENT)
    run = tracker.open_run(trial, "f1", stage="train", parent=parent)
    with run_scope(run, stage="train", tracker=tracker, parent=parent) as inside:
        assert inside is run
        assert status(tracker, run.run_id) == "RUNNING"
    assert (status(tracker, run.run_id), status(tracker, parent.run_id)) == ("FINISHED", "FINISHED")


def test_failure_is_marked_with_its_error(run: Run, tracker: Tracker, trial: Trial, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="loss exploded"), run_scope(run, stage="train"):
        raise ValueError("loss exploded")
    assert status(tracker, run.run_id) == "FAILED"
    assert run.tags()["cadnet.error"] == "train: ValueError: loss exploded"
    assert run.tags()["cadnet.stage.train"] == "FAILED"
    text = run.download("errors/train.txt", tmp_path).read_text()
    assert 'raise ValueError("loss exploded")' in text
    again = tracker.open_run(trial, "f1", stage="train")
    assert again.run_id == run.run_id
    assert "cadnet.error" not in again.tags()


def test_store_that_fails_too_does_not_hide_the_error(
    run: Run, tracker: Tracker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object, **__: object) -> None:
        raise ConnectionError("gone")

    monkeypatch.setattr(tracker.client, "log_batch", away)
    monkeypatch.setattr(tracker.client, "set_terminated", away)
    with pytest.raises(ValueError, match="loss exploded"), run_scope(run, stage="train"):
        raise ValueError("loss exploded")
    assert "could not be marked FAILED" in caplog.text


def test_sigterm_marks_killed(tracker: Tracker, trial: Trial) -> None:
    parent = tracker.open_parent("key", EXPERIMENT)
    run = tracker.open_run(trial, "f1", stage="train", parent=parent)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated) as caught, run_scope(run, stage="train", tracker=tracker, parent=parent):
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(10)
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert (status(tracker, run.run_id), status(tracker, parent.run_id)) == ("KILLED", "KILLED")
    assert run.tags()["cadnet.stage.train"] == "KILLED"


def test_process_ends_as_a_shell_expects_of_sigterm() -> None:
    code = (
        "import sys, time; from cadnet.tracking import *; run = open_tracker().open_run(0, 'f', stage='x')\n"
        "with run_scope(run, stage='train'):\n    print('ready', flush=True); time.sleep(60)"
    )
    environment = os.environ | {"CADNET_TRACKING": "off"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143


@pytest.mark.parametrize("wanted", [True, False])
def test_a_training_logs_the_load_of_the_machine(
    tracker: Tracker, trial: Trial, project: Path, monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", str(wanted).lower())
    with track_stage(trial, "f1", stage="train", root=project, system_metrics=True) as run:
        deadline = time.monotonic() + (30 if wanted else 0.5)
        while not (found := logged_load(tracker, run)) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert ("system/cpu_utilization_percentage" in found) == wanted
    assert status(tracker, run.run_id) == "FINISHED"


def logged_load(tracker: Tracker, run: Run) -> set[str]:
    return {name for name in tracker.client.get_run(run.run_id).data.metrics if name.startswith("system/")}


def test_scope_works_outside_the_main_thread(run: Run, tracker: Tracker) -> None:
    def work() -> None:
        with run_scope(run, stage="train"):
            run.log_metrics([("loss", 1.0, 0)])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert status(tracker, run.run_id) == "FINISHED"


def test_status_of_every_way_to_end() -> None:
    class FrameworkStop(SystemExit):
        """As Lightning raises on SIGTERM."""

    interrupted = SystemExit(1)
    interrupted.__context__ = KeyboardInterrupt()
    cases = [
        (KeyboardInterrupt(), "KILLED"),
        (Terminated(), "KILLED"),
        (FrameworkStop(), "KILLED"),
        (interrupted, "KILLED"),
        (SystemExit(0), "FINISHED"),
        (SystemExit(2), "FAILED"),
        (MemoryError(), "FAILED"),
    ]
    assert [status_of(error) for error, _ in cases] == [expected for _, expected in cases]


def test_sweep_kills_only_runs_of_dead_processes(tracker: Tracker, trial: Trial) -> None:
    dead = dead_process()
    own = ProcessMark.current()
    parent = tracker.open_parent("key", EXPERIMENT)
    marks = {
        "alive": own,
        "dead": dead,
        "reused": ProcessMark(own.host, own.pid, "another start"),
        "elsewhere": ProcessMark("another-host", dead.pid, dead.start),
    }
    runs = {name: tracker.open_run(trial, name, stage="train", parent=parent) for name in marks}
    for name, run in runs.items():
        run.set_tags(marks[name].tags())
    runs["done"] = tracker.open_run(trial, "done", stage="train", parent=parent)
    runs["done"].set_tags(dead.tags())
    runs["done"].finish("FINISHED")
    parent.set_tags(dead.tags())
    swept = tracker.sweep_stale(EXPERIMENT)
    assert set(swept) == {runs["dead"].run_id, runs["reused"].run_id, parent.run_id}
    found = {name: status(tracker, run.run_id) for name, run in runs.items()}
    assert found == {
        "alive": "RUNNING",
        "dead": "KILLED",
        "reused": "KILLED",
        "elsewhere": "RUNNING",
        "done": "FINISHED",
    }
    # Two trials still run, so the parent does.
    assert status(tracker, parent.run_id) == "RUNNING"
    runs["alive"].finish("FINISHED")
    runs["elsewhere"].finish("FINISHED")
    assert tracker.sweep_stale() == [parent.run_id]
    assert status(tracker, parent.run_id) == "KILLED"
    assert tracker.sweep_stale("cadnet/nothing/here") == []


def test_unreadable_mark_is_no_mark() -> None:
    assert ProcessMark.from_tags({}) is None
    assert ProcessMark.from_tags({"cadnet.host": "h", "cadnet.pid": "x"}) is None
    own = ProcessMark.current()
    assert ProcessMark.from_tags(own.tags()) == own
    assert not own.is_dead()


def test_unknown_run_and_quotes_are_refused(tracker: Tracker) -> None:
    with pytest.raises(TrackingError, match="0000"):
        tracker.find_run("0" * 32)
    with pytest.raises(ValueError, match="quote"):
        tracker.open_parent("it's", EXPERIMENT)
    assert tracker.find_runs("cadnet/nothing/here") == []


def test_tracking_switched_off_runs_the_same_code(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CADNET_TRACKING", "off")
    tracker = open_tracker(tmp_path)
    parent = tracker.open_parent("key", EXPERIMENT)
    run = tracker.open_run(trial, "f1", stage="train", parent=parent)
    with run_scope(run, stage="train", tracker=tracker, parent=parent):
        run.log_metrics([("loss", 1.0, 0)])
    assert tracker.find_runs(EXPERIMENT) == tracker.sweep_stale() == []
    assert run.tags() == {} and open_registry(tmp_path) is None
    with pytest.raises(TrackingError, match="tracking is off"):
        run.download("params.yaml", tmp_path)
    assert list(tmp_path.iterdir()) == []
