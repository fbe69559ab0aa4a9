"""What is logged is read back through MLflow's own client."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from cadnet.files import file_digest, read_json, write_json
from cadnet.tracking import Provenance, Run, Tracker, TrackingError, Trial, metric_points
from cadnet.tracking.run import clean_key

PROVENANCE = Provenance(
    commit="0123456789abcdef0123456789abcdef01234567",
    dirty=True,
    data_md5="d41d8cd98f00b204e9800998ecf8427e.dir",
    environment={"python": "3.11", "gpus": []},
)


def history(tracker: Tracker, run_id: str, name: str) -> list[tuple[int, float]]:
    return sorted((item.step, item.value) for item in tracker.client.get_metric_history(run_id, name))


def test_names_and_tags_make_the_page_readable(tracker: Tracker, trial: Trial) -> None:
    run = tracker.open_run(trial, "f1", stage="train", provenance=PROVENANCE)
    entity = tracker.client.get_run(run.run_id)
    experiment = tracker.client.get_experiment(entity.info.experiment_id)
    assert experiment.name == "cadnet/synlcd-mixed/supervised"
    assert entity.info.run_name == "cadnet-synlcd-mixed-s0-0123456"
    assert entity.info.status == "RUNNING"
    expected = {
        "cadnet.trial": "cadnet-synlcd-mixed-s0",
        "cadnet.fingerprint": "f1",
        "cadnet.kind": "trial",
        "cadnet.commit.train": PROVENANCE.commit,
        "mlflow.source.git.commit": PROVENANCE.commit,
        "mlflow.source.name": "cadnet train",
        "git_dirty": "true",
        "dvc.data_md5": PROVENANCE.data_md5,
        "gpu": "none",
        "dataset": "synlcd-mixed",
        "method": "cadnet",
        "seed": "0",
        "task": "supervised",
        "scale": "small",
        "stage": "train",
    }
    assert expected.items() <= entity.data.tags.items()


def test_variant_tells_trials_apart() -> None:
    trial = Trial("synlcd", "uaps", 3, task="semi", variant="label10")
    assert trial.name == "uaps-synlcd-label10-s3"
    assert trial.run_name(None) == "uaps-synlcd-label10-s3-nogit"
    assert trial.tags()["variant"] == "label10"
    assert "scale" not in trial.tags()


def test_nested_params_are_flat_and_whole_in_the_artifact(run: Run, tracker: Tracker, tmp_path: Path) -> None:
    params = {"train": {"epochs": 3, "lr": 1e-3, "sizes": (1, 2)}, "notes": "é" * 9000, "none": None}
    run.log_params(params)
    logged = tracker.client.get_run(run.run_id).data.params
    assert logged["train.epochs"] == "3"
    assert logged["train.lr"] == "0.001"
    assert logged["train.sizes"] == "(1, 2)"
    assert logged["none"] == "None"
    assert len(logged["notes"]) == 6000
    assert logged["notes"].endswith("é…")
    artifact = yaml.safe_load(run.download("params.yaml", tmp_path / "out").read_text("utf-8"))
    assert artifact == {**params, "train": {**params["train"], "sizes": [1, 2]}}


def test_more_params_than_one_batch(run: Run, tracker: Tracker) -> None:
    run.log_params({f"p{index}": index for index in range(250)})
    assert len(tracker.client.get_run(run.run_id).data.params) == 250


def test_param_of_a_resumed_run_is_kept(
    run: Run, tracker: Tracker, trial: Trial, caplog: pytest.LogCaptureFixture
) -> None:
    run.log_params({"lr": 0.1, "epochs": 2})
    tracker.open_run(trial, "f1", stage="evaluate").log_params({"lr": 0.2, "epochs": 2, "batch": 16})
    assert tracker.client.get_run(run.run_id).data.params == {"lr": "0.1", "epochs": "2", "batch": "16"}
    assert "param lr" in caplog.text
    assert "param epochs" not in caplog.text


def test_metrics_beyond_one_batch_keep_their_steps(run: Run, tracker: Tracker) -> None:
    run.log_metrics([("loss", 1.0 / (step + 1), step) for step in range(2500)])
    assert history(tracker, run.run_id, "loss") == [(step, 1.0 / (step + 1)) for step in range(2500)]


def test_resumed_training_repeats_no_step(tracker: Tracker, trial: Trial) -> None:
    first = tracker.open_run(trial, "f1", stage="train")
    for epoch in range(4):
        first.log_metrics(metric_points({"loss": 4.0 - epoch, "lr": 0.1}, epoch))
    second = tracker.open_run(trial, "f1", stage="train")
    assert second.resumed
    assert second.run_id == first.run_id
    for epoch in range(2, 6):
        second.log_metrics(metric_points({"loss": 40.0 - epoch, "val": 1.0}, epoch))
    assert history(tracker, first.run_id, "loss") == [
        (0, 4.0),
        (1, 3.0),
        (2, 2.0),
        (3, 1.0),
        (4, 36.0),
        (5, 35.0),
    ]
    assert history(tracker, first.run_id, "val") == [(step, 1.0) for step in range(2, 6)]


def test_result_scored_again_replaces_the_former(run: Run, tracker: Tracker, trial: Trial) -> None:
    run.log_metrics([("test/miou", 0.5, None)])
    again = tracker.open_run(trial, "f1", stage="evaluate")
    again.log_metrics([("test/miou", 0.5, None)])
    assert history(tracker, run.run_id, "test/miou") == [(0, 0.5)]
    again.log_metrics([("test/miou", 0.4, None)])
    assert tracker.client.get_run(run.run_id).data.metrics["test/miou"] == 0.4
    assert len(history(tracker, run.run_id, "test/miou")) == 2


def test_values_that_are_not_finite_are_left_out_and_noted(run: Run, tracker: Tracker) -> None:
    nan, infinite = float("nan"), float("inf")
    run.log_metrics([("loss", 1.0, 0), ("loss", nan, 1), ("iou", -infinite, None)])
    run.log_metrics([("loss", 0.5, 2)])
    entity = tracker.client.get_run(run.run_id)
    assert history(tracker, run.run_id, "loss") == [(0, 1.0), (2, 0.5)]
    assert "iou" not in entity.data.metrics
    assert entity.data.tags["cadnet.not_finite"] == "loss@1=nan, iou=-inf"


def test_names_mlflow_refuses_are_cleaned(run: Run, tracker: Tracker) -> None:
    assert clean_key("IoU(line)=é") == "IoU_line___"
    assert clean_key("test/per class: a-b.c_d") == "test/per class: a-b.c_d"
    run.log_metrics([("IoU(line)", 0.25, None)])
    assert tracker.client.get_run(run.run_id).data.metrics == {"IoU_line_": 0.25}


def test_metrics_wait_for_a_store_that_is_away(
    run: Run, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise ConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(tracker.client, "log_batch", away)
        run.log_metrics([("loss", 1.0, 0)])
    run.log_metrics([("loss", 0.5, 1)])
    assert history(tracker, run.run_id, "loss") == [(0, 1.0), (1, 0.5)]
    with monkeypatch.context() as patch:
        patch.setattr(tracker.client, "log_batch", away)
        run.log_metrics([("loss", 0.2, 2)])
        with pytest.raises(TrackingError, match="gone"):
            run.finish("FINISHED")
    assert tracker.client.get_run(run.run_id).info.status == "FINISHED"


def test_locked_database_is_tried_again(run: Run, tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.exceptions import MlflowException

    real, failures = tracker.client.log_batch, iter([True, True])

    def flaky(*args: object, **kwargs: object) -> object:
        if next(failures, False):
            raise MlflowException("(sqlite3.OperationalError) database is locked")
        return real(*args, **kwargs)

    monkeypatch.setattr(tracker.client, "log_batch", flaky)
    run.log_metrics([("loss", 1.0, 0)])
    assert history(tracker, run.run_id, "loss") == [(0, 1.0)]


def test_table_is_replaced_and_listed_once(run: Run, tmp_path: Path) -> None:
    run.log_table(pd.DataFrame({"old": [1]}), "tables/classes.json")
    run.log_table(pd.DataFrame({"class": ["line", "abpt"], "iou": [0.5, np.nan]}), "tables/classes.json")
    run.log_table(pd.DataFrame({"n": [1]}), "tables/other.json")
    # As MLflow's own load_table reads it.
    table = pd.read_json(run.download("tables/classes.json", tmp_path), orient="split")
    assert list(table.columns) == ["class", "iou"]
    assert list(table["class"]) == ["line", "abpt"]
    assert table["iou"][0] == 0.5
    assert np.isnan(table["iou"][1])
    listed = json.loads(run.tags()["mlflow.loggedArtifacts"])
    assert [item["path"] for item in listed] == ["tables/classes.json", "tables/other.json"]
    with pytest.raises(ValueError, match=r"\*\.json"):
        run.log_table(pd.DataFrame(), "tables/classes.csv")


def test_files_and_folders(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "x.txt").write_text("x")
    run.log_artifacts(folder, "files")
    run.log_artifact(folder / "sub" / "x.txt")
    assert run.download("files/sub/x.txt", tmp_path / "c").read_text() == "x"
    assert run.download("x.txt", tmp_path / "d").read_text() == "x"
    with pytest.raises(FileNotFoundError, match=r"missing\.txt"):
        run.log_artifact(tmp_path / "missing.txt")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run.log_artifacts(tmp_path / "nowhere")


def test_dataset_is_an_input_with_its_whole_digest(run: Run, tracker: Tracker) -> None:
    digest = "ab" * 32
    for _ in range(2):
        run.log_dataset("synlcd-mixed", digest, "datasets/synlcd-mixed")
    inputs = tracker.client.get_run(run.run_id).inputs.dataset_inputs
    assert [(item.dataset.name, item.dataset.digest) for item in inputs] == [("synlcd-mixed", digest[:36])]
    assert json.loads(inputs[0].dataset.source) == {"uri": "datasets/synlcd-mixed"}
    assert [(tag.key, tag.value) for tag in inputs[0].tags] == [("mlflow.data.context", "training")]
    assert run.tags()["cadnet.dataset_digest.synlcd-mixed"] == digest


def test_long_tag_is_cut(run: Run) -> None:
    run.set_tags({"long": "x" * 9000})
    assert run.tags()["long"] == "x" * 7999 + "…"


@pytest.fixture
def model(tmp_path: Path) -> tuple[Path, Path]:
    weights, description = tmp_path / "best.safetensors", tmp_path / "best.json"
    save_file({"w": np.arange(6, dtype=np.float32)}, weights)
    write_json(description, {"model": "cadnet"})
    return weights, description


def test_model_comes_back_and_results_are_linked_with_it(
    run: Run, tracker: Tracker, trial: Trial, model: tuple[Path, Path], tmp_path: Path
) -> None:
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
    run: Run, model: tuple[Path, Path], tmp_path: Path, project: Path
) -> None:
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
