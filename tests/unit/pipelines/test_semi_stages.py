"""The few-label grid's stages: pre-training, fine-tuning, scoring at two thresholds, and the report."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from cadnet.config import load_params
from cadnet.datasets.manifest import open_dataset
from cadnet.files import read_json
from cadnet.models.weights import ModelDescription
from cadnet.tracking import Tracker
from cadnet.tracking.store import resolve_store
from cadnet.tracking.trials import TAG_KIND
from pipelines.stages import evaluate, finetune, pretrain
from pipelines.stages.report import few_label_records
from pipelines.stages.report_trials import TrialReader
from tests.fakes import write_fake_dataset

pytestmark = pytest.mark.slow

Edit = Callable[[str, object], None]
Fails = Callable[..., str]
LIST = Path("labels.csv")


@pytest.fixture
def semi(project: Path, edit: Edit) -> Path:
    """A project whose few-label grid has small networks and its two datasets."""
    write_fake_dataset(project / "datasets/synlcd-abpt", per_group=9, seed=1)
    write_fake_dataset(project / "datasets/synlcd-line", per_group=9, seed=2)
    edit("semi.labels", LIST.name)
    edit("semi.unlabelled", 0.33)
    edit("methods.uaps.options", {"auxiliary": 3, "width": 4})
    write_list(project)
    return project


def write_list(project: Path, unlabelled: int = 6) -> None:
    samples = open_dataset(project / "datasets/synlcd-line").split("train")["sample_id"].tolist()
    uses = ["0.2"] * 4 + ["unlabelled"] * unlabelled
    pd.DataFrame({"sample_id": samples[: len(uses)], "use": uses}).to_csv(project / LIST, index=False)


def run(monkeypatch: pytest.MonkeyPatch, main: Callable[[], None], *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["stage", *arguments])
    main()


def run_all(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    own = ["--method", method, "--seed", "0"]
    scored = ["--dataset", "synlcd-line", *own, "--fraction"]
    run(monkeypatch, pretrain.main, *own)
    run(monkeypatch, evaluate.main, *scored, "0")
    run(monkeypatch, finetune.main, *own, "--fraction", "0.2")
    run(monkeypatch, evaluate.main, *scored, "0.2")


def test_the_protocol_from_pre_training_to_the_report(
    semi: Path, tracked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for method in ("uaps", "cadnet-few"):
        run_all(monkeypatch, method)
    capsys.readouterr()
    before = ModelDescription.read(semi / "models/synlcd-line/uaps/label0/s0")
    after = ModelDescription.read(semi / "models/synlcd-line/uaps/label0.2/s0")
    assert before.metadata["dataset"]["name"] == "synlcd-abpt" and list(before.class_names) == ["defect"]
    assert after.metadata["dataset"]["name"] == "synlcd-line"
    history = pd.read_csv(semi / "reports/history/synlcd-line/uaps/label0.2/s0.csv")
    assert {"pseudo_precision", "pseudo_recall", "disagreement"} <= set(history)
    plain = pd.read_csv(semi / "reports/history/synlcd-line/cadnet-few/label0.2/s0.csv")
    assert "pseudo_precision" not in plain

    metrics = read_json(semi / "reports/metrics/synlcd-line/uaps/label0.2/s0.json")
    kept = read_json(semi / "reports/evaluation/synlcd-line/uaps/label0.2/s0/threshold.json")
    assert metrics["threshold_validated"] == pytest.approx(kept["threshold"], abs=1e-6)
    truth = open_dataset(semi / "datasets/synlcd-line").as_one_class().split("test")["n_defect"].sum()
    (one,) = kept["result"]["metrics"]["classes"]
    assert one["tp"] + one["fn"] == truth

    tracker = Tracker(resolve_store(semi, "sqlite:///mlflow.db"))
    runs = tracker.find_runs("cadnet/synlcd-line/semi", {TAG_KIND: "trial"})
    assert {(found.tags["method"], found.tags["variant"]) for found in runs} == {
        (method, variant) for method in ("uaps", "cadnet-few") for variant in ("label0", "label20")
    }
    tuned = next(r for r in runs if (r.tags["method"], r.tags["variant"]) == ("uaps", "label20"))
    assert (tuned.params["labelled_samples"], tuned.params["unlabelled_samples"]) == ("4", "6")
    assert tuned.metrics["test_iou_defect_validated"] == pytest.approx(
        metrics.get("iou_defect_validated", 0.0), abs=1e-6
    )

    # The other grids, whose networks the sheet would show beside these, are not trained here.
    params = load_params(semi / "params.yaml")
    off = {name: getattr(params, name).model_copy(update={"datasets": ()}) for name in ("run", "cross")}
    (record,) = few_label_records(TrialReader(params.model_copy(update=off)))
    (section,) = record.sections
    assert sorted({trial.fraction for trial in record.trials}) == [0.0, 0.2]
    assert "Few labels: abnormal points known, line new" in section.title
    assert "overlays-1" in section.pictures()
    table = section.tables["few-labels"]
    assert table.loc["uaps", "iou_20"] == pytest.approx(100 * metrics["iou_defect"], abs=1e-3)
    assert table.loc["uaps", "other_20"] == "CADNet"


def test_what_cannot_be_fine_tuned_is_said_before_any_work(
    semi: Path, fails: Fails, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ["--method", "uaps", "--seed", "0"]
    tune = [*own, "--fraction", "0.2"]
    assert "label0/s0/weights.safetensors" in fails(finetune.main, *tune)
    run(monkeypatch, pretrain.main, *own)
    assert "semi.fractions in params.yaml has no 0.3; it has ['0.2']" in fails(
        finetune.main, *own, "--fraction", "0.3"
    )
    assert "defines no method 'uap'" in fails(finetune.main, "--method", "uap", *own[2:], "--fraction", "0.2")
    write_list(semi, unlabelled=0)
    message = fails(finetune.main, *tune)
    assert "0 unlabelled of 18 training samples, which is not semi.unlabelled 0.33" in message
    edit("semi.unlabelled", 0.0)
    assert "'UAPS' learns from unlabelled images and there are none" in fails(finetune.main, *tune)
    edit("train.batch_size", 6)
    edit("methods.uaps.semi", None)
    assert "has 4 samples, fewer than train.batch_size 6" in fails(finetune.main, *tune)
    (semi / LIST).unlink()
    assert "label list labels.csv does not exist" in fails(finetune.main, *tune)
    assert not (semi / "models/synlcd-line/uaps/label0.2").exists()


def test_a_network_for_the_wrong_method_is_refused(semi: Path, fails: Fails, edit: Edit) -> None:
    edit("methods.uaps.options", {"auxiliary": 1, "width": 4})
    message = fails(pretrain.main, "--method", "uaps", "--seed", "0")
    assert "method 'UAPS' needs model: unet, options: {auxiliary: 3}" in message
    edit("semi.methods", [])
    edit("semi.dataset", "")
    message = fails(pretrain.main, "--method", "uaps", "--seed", "0")
    assert "params.yaml has no few-label grid" in message
