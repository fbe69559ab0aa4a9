"""Several processes on one store, and processes that die."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cadnet.tracking import Tracker, Trial, track_stage
from cadnet.tracking.store import resolve_store
from cadnet.tracking.trials import TAG_KIND, TAG_PARENT

EXPERIMENT = "cadnet/synlcd/supervised"

STAGE = """
import sys, time
from cadnet.tracking import Trial, track_stage
root, fingerprint, first, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
trial = Trial("synlcd", "cadnet", int(fingerprint[-1]))
with track_stage(trial, fingerprint, stage="train", root=root, params={"epochs": last}) as run:
    for epoch in range(first, last):
        run.log_metrics([("loss", 10.0 - epoch, epoch), ("val/miou", epoch / 10, epoch)])
        print(epoch, flush=True)
    print(run.run_id, flush=True)
    if "wait" in sys.argv:
        time.sleep(120)
"""


def stage(root: Path, fingerprint: str, first: int, last: int, *more: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", STAGE, str(root), fingerprint, str(first), str(last), *more]
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    environment |= {"CADNET_INVOCATION": "one-invocation"}
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.slow
def test_two_processes_at_once_then_one_killed_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("CADNET_INVOCATION", "one-invocation")
    (tmp_path / "params.yaml").write_text("a: 1\n")
    # Both find no database, so both want to create it and the same parent.
    first, second = stage(tmp_path, "f1", 0, 3, "wait"), stage(tmp_path, "f2", 0, 3)
    assert first.stdout is not None
    lines = [first.stdout.readline().strip() for _ in range(4)]
    run_id = lines[3]
    assert lines[:3] == ["0", "1", "2"]
    output, _ = second.communicate(timeout=280)
    assert second.returncode == 0, output
    first.kill()
    first.communicate(timeout=30)

    tracker = Tracker(resolve_store(tmp_path))
    parents = tracker.find_runs(EXPERIMENT, {TAG_KIND: "parent"})
    assert len(parents) == 1
    settings = tracker.find_run(parents[0].run_id).download("params.yaml", tmp_path / "out")
    assert settings.read_text() == "a: 1\n"
    trials = tracker.find_runs(EXPERIMENT, {TAG_PARENT: parents[0].run_id})
    assert {trial.tags["cadnet.fingerprint"]: trial.status for trial in trials} == {
        "f1": "RUNNING",
        "f2": "FINISHED",
    }
    assert tracker.client.get_run(parents[0].run_id).info.status == "RUNNING"
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["mlartifacts", "mlflow.db", "mlflow.db.lock", "out", "params.yaml"]

    swept = set(tracker.sweep_stale(EXPERIMENT))
    assert run_id in swept
    assert tracker.client.get_run(run_id).info.status == "KILLED"

    # Resumed from the checkpoint of epoch 1, so epochs 1 and 2 come again.
    trial = Trial("synlcd", "cadnet", 1)
    with track_stage(trial, "f1", stage="train", root=tmp_path, params={"epochs": 5}) as run:
        assert run.run_id == run_id
        for epoch in range(1, 5):
            run.log_metrics([("loss", 10.0 - epoch, epoch)])
    history = tracker.client.get_metric_history(run_id, "loss")
    assert sorted((item.step, item.value) for item in history) == [(n, 10.0 - n) for n in range(5)]
    runs = tracker.find_runs(EXPERIMENT)
    assert len(runs) == 3
    assert {item.status for item in runs} == {"FINISHED"}
