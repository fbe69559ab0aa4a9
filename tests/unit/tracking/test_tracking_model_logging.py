"""The model of a run comes back as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cadnet.files import file_digest, read_json, write_json
from cadnet.tracking import MlflowTracker, TrackingError, Trial, fetch_model, log_model


@pytest.fixture
def model(tmp_path: Path) -> tuple[Path, Path]:
    weights, description = tmp_path / "best.safetensors", tmp_path / "best.json"
    save_file({"w": np.arange(6, dtype=np.float32)}, weights)
    write_json(description, {"model": "cadnet"})
    return weights, description


def test_model_comes_back(
    tracker: MlflowTracker, trial: Trial, model: tuple[Path, Path], tmp_path: Path
) -> None:
    run = tracker.open_run(trial, "f1", stage="train")
    digest = log_model(run, *model)
    assert digest == file_digest(model[0]) == run.tags()["cadnet.model_sha256"]
    folder = fetch_model(tracker, run.run_id, tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "weights.safetensors"]
    assert load_file(folder / "weights.safetensors")["w"].tolist() == [0, 1, 2, 3, 4, 5]
    assert read_json(folder / "model.json") == {"model": "cadnet"}
    # The recorded file is a copy: training on must not change it.
    save_file({"w": np.zeros(1)}, model[0])
    assert file_digest(fetch_model(tracker, run.run_id, tmp_path / "b") / "weights.safetensors") == digest


def test_exchanged_weights_are_noticed(
    tracker: MlflowTracker, trial: Trial, model: tuple[Path, Path], tmp_path: Path, project: Path
) -> None:
    run = tracker.open_run(trial, "f1", stage="train")
    log_model(run, *model)
    (stored,) = project.glob("mlruns/**/weights.safetensors")
    save_file({"w": np.zeros(6, dtype=np.float32)}, stored)
    with pytest.raises(TrackingError, match=r"weights\.safetensors is not what run"):
        fetch_model(tracker, run.run_id, tmp_path / "out")


def test_bad_model_files_are_refused(
    tracker: MlflowTracker, trial: Trial, model: tuple[Path, Path], tmp_path: Path
) -> None:
    run = tracker.open_run(trial, "f1", stage="train")
    weights, description = model
    with pytest.raises(FileNotFoundError, match=r"absent\.safetensors"):
        log_model(run, tmp_path / "absent.safetensors", description)
    pickled = tmp_path / "model.pt"
    pickled.write_bytes(b"\x80\x04not safetensors")
    with pytest.raises(ValueError, match=r"model\.pt is not a safetensors file"):
        log_model(run, pickled, description)
    description.write_text("{")
    with pytest.raises(ValueError, match=r"best\.json is not readable JSON"):
        log_model(run, weights, description)
    assert tracker.client.list_artifacts(run.run_id) == []
    with pytest.raises(TrackingError):
        fetch_model(tracker, run.run_id, tmp_path / "none")
