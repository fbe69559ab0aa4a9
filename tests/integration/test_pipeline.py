"""What one ``dvc repro`` leaves, checked by value."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from cadnet.datasets.cache import decode_split
from cadnet.datasets.device import DevicePairs, EvalBatches
from cadnet.datasets.manifest import open_dataset
from cadnet.evaluation.evaluate import evaluate
from cadnet.evaluation.metrics import segmentation_metrics
from cadnet.evaluation.result import EvaluationResult, evaluation_result
from cadnet.files import file_digest, read_json
from cadnet.models.weights import load_model
from cadnet.tracking.environment import dvc_md5
from cadnet.tracking.trials import TAG_DATASET_DIGEST, TAG_FINGERPRINT, TAG_KIND, TAG_PARENT
from pipelines.stages.scoring import read_counts
from tests.integration.conftest import Finished
from tests.integration.project import EXPERIMENT, SCALE, STAGES, TRIALS, ran

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("project")]

METHODS = ("cadnet", "segformer")


def test_a_fresh_clone_gets_its_data_without_a_network(finished: Finished) -> None:
    assert "10 files added" in finished.pulled
    patterns = sorted(path.name for path in (finished.project.root / "data/synlcd/patterns").iterdir())
    assert patterns == [f"{number:02d}.png" for number in range(1, 11)]


def test_every_stage_ran_once_and_left_its_files(finished: Finished) -> None:
    assert ran(finished.output) == STAGES
    lock = finished.project.lock()
    assert set(lock) == STAGES
    for trial in TRIALS:
        path = trial.replace("-", "/").removesuffix("/0") + "/s0"
        outs = {out["path"] for kind in ("train", "evaluate") for out in lock[f"{kind}@{trial}"]["outs"]}
        assert outs == {
            f"models/{path}", f"reports/history/{path}.csv", f"reports/metrics/{path}.json",
            f"reports/curves/{path}.csv", f"reports/evaluation/{path}",
        }  # fmt: skip
        assert all((finished.project.root / out).exists() for out in outs)
        assert {file.name for file in (finished.project.root / "models" / path).iterdir()} == {
            "weights.safetensors",
            "model.json",
        }
    report = {out["path"] for out in lock["report"]["outs"]}
    assert report == {"reports/index.html", "reports/tables", "reports/plots"}


def test_nothing_is_left_over(finished: Finished) -> None:
    project = finished.project
    assert not list((project.root / "checkpoints").rglob("state.*"))
    assert not [path for path in project.root.rglob("*.tmp*") if ".dvc" not in path.parts]
    untracked = project.run("git", "status", "--porcelain", "--untracked-files=all").splitlines()
    # What is to be committed: the lock and the small results; all else is ignored or unchanged.
    wanted = ["dvc.lock"]
    for method in METHODS:
        for kind, ending in (("curves", "csv"), ("history", "csv"), ("metrics", "json")):
            wanted.append(f"reports/{kind}/synlcd/{method}/s0.{ending}")
    assert sorted(untracked) == sorted(f"?? {name}" for name in wanted)


@pytest.mark.parametrize("method", METHODS)
def test_metrics_are_what_the_counts_reduce_to(finished: Finished, method: str) -> None:
    root = finished.project.root
    folder = root / "reports/evaluation/synlcd" / method / "s0"
    dataset = open_dataset(root / "datasets/synlcd")
    rows = dataset.split("test")
    counts = read_counts(folder / "counts.npz")
    assert counts.num_images == len(rows) == 24
    # Every pixel of the test split was counted, and the truth's classes as the manifest has them.
    assert counts.pooled.sum() == 24 * 32 * 32
    truth = counts.pooled.sum(axis=1)
    assert tuple(truth[1:]) == tuple(rows[f"n_{name}"].sum() for name in dataset.classes)
    edges = finished.project.params()["evaluate"]["defect_sizes"]
    images = pd.read_csv(folder / "images.csv")
    assert images["contrast"].notna().tolist() == rows["has_defect"].tolist()
    again = evaluation_result(counts, dataset.classes, rows, edges, contrast=images["contrast"].to_numpy())
    assert EvaluationResult.from_dict(read_json(folder / "result.json")) == again
    metrics = read_json(root / "reports/metrics/synlcd" / method / "s0.json")
    assert metrics == {name: round(value, 6) for name, value in again.scalars().items()}
    confusion = counts.pooled
    union = confusion[1].sum() + confusion[:, 1].sum() - confusion[1, 1]
    assert metrics["iou_line"] == round(float(confusion[1, 1] / union), 6)


@pytest.mark.parametrize("method", METHODS)
def test_validation_of_the_kept_weights_comes_out_the_same(
    finished: Finished, method: str, tmp_path: Path
) -> None:
    root = finished.project.root
    dataset = open_dataset(root / "datasets/synlcd")
    model, description = load_model(root / "models/synlcd" / method / "s0")
    pairs = DevicePairs(decode_split(dataset, "val", tmp_path / "cache"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        counts = evaluate(model, EvalBatches(pairs, 32), len(pairs), dataset.classes, "cpu", bins=0)
    finally:
        torch.set_num_threads(threads)
    best = description.metadata["best"]
    assert segmentation_metrics(counts).miou == best["val_miou"]
    history = pd.read_csv(root / "reports/history/synlcd" / method / "s0.csv")
    assert best["val_miou"] == history["val_miou"].max()
    assert best["epoch"] == history["epoch"][history["val_miou"] == best["val_miou"]].max()
    assert read_json(root / "models/synlcd" / method / "s0/model.json")["metadata"] == description.metadata


def test_something_was_learnt(finished: Finished) -> None:
    # Without this the equalities above could all be between zeros.
    assert read_json(finished.project.root / "reports/metrics/synlcd/cadnet/s0.json")["miou"] > 0


@pytest.mark.parametrize("method", METHODS)
def test_training_and_evaluation_share_one_run(finished: Finished, method: str, tmp_path: Path) -> None:
    root, tracker = finished.project.root, finished.project.tracker()
    (run,) = finished.project.trial_runs(method)
    (parent,) = tracker.find_runs(EXPERIMENT, {TAG_KIND: "parent"})
    assert (run.status, parent.status) == ("FINISHED", "FINISHED")
    _, description = load_model(root / "models/synlcd" / method / "s0")
    commit = finished.project.run("git", "rev-parse", "HEAD").strip()
    data = open_dataset(root / "datasets/synlcd").digest
    wanted = {
        "dataset": "synlcd", "method": method, "seed": "0", "scale": SCALE, "git_dirty": "false",
        "mlflow.source.git.commit": commit, "dvc.data_md5": dvc_md5(root / "data.dvc"),
        TAG_PARENT: parent.run_id, TAG_FINGERPRINT: description.metadata["fingerprint"],
        f"{TAG_DATASET_DIGEST}synlcd": data,
        "cadnet.stage.train": "FINISHED", "cadnet.stage.evaluate": "FINISHED",
    }  # fmt: skip
    assert {name: run.tags.get(name) for name in wanted} == wanted
    assert run.params["train.epochs"] == "4"
    assert run.params["method.recipe.optimizer"] == "adamw"
    assert run.params["evaluate.batch_size"] == "16"
    artifacts = tracker.find_run(run.run_id).download("", tmp_path / "run")
    assert file_digest(artifacts / "model/weights.safetensors") == file_digest(
        root / "models/synlcd" / method / "s0/weights.safetensors"
    )
    table = read_json(artifacts / "tables/test_metrics.json")
    metrics = read_json(root / "reports/metrics/synlcd" / method / "s0.json")
    scored = dict(zip(table["columns"], table["data"][0], strict=True))
    assert scored == pytest.approx(metrics, abs=1e-6)
    tracked = {name: value for name, value in run.metrics.items() if name.startswith("test_")}
    assert tracked == pytest.approx({f"test_{name}": value for name, value in metrics.items()}, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_every_epoch_is_in_mlflow(finished: Finished, method: str) -> None:
    tracker = finished.project.tracker()
    (run,) = finished.project.trial_runs(method)
    history = pd.read_csv(finished.project.root / "reports/history/synlcd" / method / "s0.csv")
    assert list(history["epoch"]) == [1, 2, 3, 4]
    for name in ("loss", "lr", "val_miou", "val_iou_line"):
        points = tracker.client.get_metric_history(run.run_id, name)
        assert [(p.step, p.value) for p in points] == list(
            zip(history["epoch"], history[name], strict=True)
        ), name


def test_the_report_shows_the_scale_and_the_numbers(finished: Finished, tmp_path: Path) -> None:
    root, tracker = finished.project.root, finished.project.tracker()
    page = (root / "reports/index.html").read_text("utf-8")
    assert SCALE in page
    table = pd.read_csv(root / "reports/tables/synlcd.csv")
    assert {"CADNet", "SegFormer"} <= set(table.iloc[:, 0])
    (parent,) = tracker.find_runs(EXPERIMENT, {TAG_KIND: "parent"})
    logged = tracker.find_run(parent.run_id).download("", tmp_path / "parent")
    assert (logged / "report/index.html").read_text("utf-8") == page
    assert (logged / "params.yaml").read_bytes() == (root / "params.yaml").read_bytes()
    assert (logged / "tables/synlcd.md").read_bytes() == (root / "reports/tables/synlcd.md").read_bytes()
