"""The model of a run comes back as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cadnet.files import file_digest, read_json, write_json
from cadnet.tracking import Tracker, TrackingError, Trial


@pytest.fixture
def model(tmp_path: Path) -> tuple[Path, Path]:
    weights, description = tmp_path / "best.safetensors", tmp_path / "best.json"
    save_file({"w": np.arange(6, dtype=np.float32)}, weights)
    write_json(description, {"model": "cadnet"})
    return weights, description


def test_model_comes_back_and_results_are_linked_with_it(
    tracker: Tracker, trial: Trial, model: tuple[Path, Path], tmp_path: Path
) -> None:
    run = tracker.open_run(trial, "f1", stage="train")
    run.log_dataset("synlcd-mixed", "ab" * 32, str(tmp_path))
    digest = run.log_model(*model)
    assert digest == file_digest(model[0]) == run.tags()["cadnet.model_sha256"]
    # The recorded file is a copy: training on must not change it.
    save_file({"w": np.zeros(1)}, model[0])
    folder = run.download("model", tmp_path / "out")
    assert load_file(folder / "best.safetensors")["w"].tolist() == [0, 1, 2, 3, 4, 5]
    assert read_json(folder / "best.json") == {"model": "cadnet"}
    run.log_metrics([("loss", 1.0, 0), ("best_val_miou", 0.5, None)])
    run.finish("FINISHED", "train")

    scored = tracker.open_run(trial, "f1", stage="evaluate")
    scored.log_dataset("synlcd-mixed", "ab" * 32, str(tmp_path), context="test")
    scored.log_metrics([("test_miou", 0.4, None)])
    (output,) = tracker.client.get_run(run.run_id).outputs.model_outputs
    logged = tracker.client.get_logged_model(output.model_id)
    assert (logged.source_run_id, logged.model_type, logged.status.value) == (run.run_id, "cadnet", "READY")
    assert logged.params["seed"] == "0" and logged.tags["cadnet.model_sha256"] == digest
    linked = {item.key: (item.value, item.dataset_name, item.run_id) for item in logged.metrics}
    assert linked == {
        "best_val_miou": (0.5, "synlcd-mixed", run.run_id),
        "test_miou": (0.4, "synlcd-mixed", run.run_id),
    }


def test_a_model_is_logged_once_per_weights(tracker: Tracker, trial: Trial, model: tuple[Path, Path]) -> None:
    for _ in range(2):
        run = tracker.open_run(trial, "f1", stage="train")
        run.log_model(*model)
    assert len(tracker.client.get_run(run.run_id).outputs.model_outputs) == 1
    save_file({"w": np.zeros(2)}, model[0])
    run.log_model(*model)
    assert len(tracker.client.get_run(run.run_id).outputs.model_outputs) == 2


def test_bad_model_files_are_refused(
    tracker: Tracker, trial: Trial, model: tuple[Path, Path], tmp_path: Path, project: Path
) -> None:
    run = tracker.open_run(trial, "f1", stage="train")
    weights, description = model
    with pytest.raises(FileNotFoundError, match=r"absent\.safetensors"):
        run.log_model(tmp_path / "absent.safetensors", description)
    pickled = tmp_path / "model.pt"
    pickled.write_bytes(b"\x80\x04not safetensors")
    with pytest.raises(ValueError, match=r"model\.pt is not a safetensors file"):
        run.log_model(pickled, description)
    description.write_text("{")
    with pytest.raises(ValueError, match=r"best\.json is not readable JSON"):
        run.log_model(weights, description)
    assert not (project / "mlartifacts").exists()
    with pytest.raises(TrackingError):
        run.download("model", tmp_path / "none")
