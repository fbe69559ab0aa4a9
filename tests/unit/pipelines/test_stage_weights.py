"""Evaluation scores only weights of its own trial, and replaces its outputs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cadnet.datasets.manifest import open_dataset
from cadnet.files import file_digest, read_json
from cadnet.models.factory import build_model
from cadnet.models.weights import save_weights
from cadnet.tracking import Tracker
from cadnet.tracking.store import resolve_store
from cadnet.tracking.trials import TAG_KIND
from pipelines.stages import evaluate
from pipelines.stages.scoring import read_counts
from tests.fakes import CLASSES, write_fake_dataset

pytestmark = pytest.mark.slow

TRIAL = ["--dataset", "synlcd", "--method", "cadnet", "--seed", "0"]
MODEL = Path("models/synlcd/cadnet/s0")

Fails = Callable[..., str]


def save(folder: Path, model: str = "cadnet", seed: int = 0, classes: tuple[str, ...] = CLASSES) -> None:
    """Put random weights where training would, described as training describes them."""
    root = Path("datasets/synlcd")
    metadata = {
        "fingerprint": "f" * 64,
        "dataset": {"name": "synlcd", "digest": open_dataset(root).digest},
        "method": model,
        "seed": seed,
    }
    network = build_model(model, len(classes))
    save_weights(
        folder, network, name=model, num_classes=len(classes), class_names=classes, metadata=metadata
    )


def save_undescribed() -> None:
    save_weights(MODEL, build_model("cadnet", 2), name="cadnet", num_classes=2)


def save_truncated() -> None:
    save(MODEL)
    (MODEL / "weights.safetensors").write_bytes((MODEL / "weights.safetensors").read_bytes()[:10_000])


def save_of_other_data() -> None:
    save(MODEL)
    write_fake_dataset(Path("datasets/synlcd"), seed=5)


@pytest.mark.parametrize(
    ("prepare", "test", "words"),
    [
        (lambda: None, [], (str(MODEL / "weights.safetensors"),)),
        (save_truncated, [], (str(MODEL / "weights.safetensors"),)),
        (save_undescribed, [], ("do not say which training they are of",)),
        (lambda: save(MODEL, "segformer"), [], ("segformer", "dvc repro -f -s train@synlcd-cadnet-0")),
        (lambda: save(MODEL, seed=1), [], ("seed 1, not 0",)),
        (save_of_other_data, [], ("another state of dataset 'synlcd'",)),
        (lambda: save(MODEL), ["--test", "other"], ("no dataset 'other'", "'synlcd'")),
        (
            lambda: save(MODEL, classes=("scratch", "dent")),
            ["--test", "synlcd-line"],
            ("['scratch', 'dent']", "['line', 'abpt']", "equal classes"),
        ),
    ],
)
def test_weights_that_do_not_belong_to_the_trial_are_not_scored(
    prepare: Callable[[], None], test: list[str], words: tuple[str, ...], project: Path, fails: Fails
) -> None:
    write_fake_dataset(project / "datasets/synlcd-line", seed=5)
    prepare()
    message = fails(evaluate.main, *TRIAL, *test)
    assert [word for word in words if word not in message] == []
    assert not (project / "reports").exists()


def test_a_cross_test_scores_on_the_other_dataset(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(MODEL)
    write_fake_dataset(project / "datasets/synlcd-line", seed=5)
    monkeypatch.setattr(sys, "argv", ["stage", *TRIAL, "--test", "synlcd-line"])
    evaluate.main()
    found = {
        path.relative_to(project / "reports").as_posix() for path in (project / "reports").glob("*/*/*/*")
    }
    assert found == {
        "curves/synlcd-on-synlcd-line/cadnet/s0.csv", "evaluation/synlcd-on-synlcd-line/cadnet/s0",
        "metrics/synlcd-on-synlcd-line/cadnet/s0.json",
    }  # fmt: skip
    other = open_dataset(project / "datasets/synlcd-line").split("test")
    counts = read_counts(project / "reports/evaluation/synlcd-on-synlcd-line/cadnet/s0/counts.npz")
    assert tuple(counts.pooled.sum(axis=1)[1:]) == tuple(other[f"n_{name}"].sum() for name in CLASSES)
    cost = read_json(project / "reports/evaluation/synlcd-on-synlcd-line/cadnet/s0/cost.json")
    assert cost["params_m"] > 3.8 and cost["latency_ms"] > 0 and cost["size"] == 32


def test_a_cross_test_is_a_run_of_its_own(tracked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tracked
    save(MODEL)
    write_fake_dataset(project / "datasets/synlcd-line", seed=5)
    for test in ([], ["--test", "synlcd-line"], ["--test", "synlcd-line"]):
        monkeypatch.setattr(sys, "argv", ["stage", *TRIAL, *test])
        evaluate.main()
    tracker = Tracker(resolve_store(project, "sqlite:///mlflow.db"))
    (own,) = tracker.find_runs("cadnet/synlcd/supervised", {TAG_KIND: "trial"})
    # Scored twice, and still one run.
    (cross,) = tracker.find_runs("cadnet/synlcd-line/cross", {TAG_KIND: "trial"})
    assert (cross.status, cross.tags["variant"], cross.tags["subset"]) == ("FINISHED", "from-synlcd", "line")
    assert own.tags["cadnet.fingerprint"] == "f" * 64 != cross.tags["cadnet.fingerprint"]
    metrics = read_json(project / "reports/metrics/synlcd-on-synlcd-line/cadnet/s0.json")
    assert cross.metrics["test_iou_defect"] == pytest.approx(metrics["iou_defect"], abs=1e-6)
    assert cross.params["loss"] == "ce+bcl" and cross.params["lr"] == "0.002"


def test_outputs_are_replaced_and_never_written_through(
    project: Path, edit: Callable[[str, object], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC may link outputs to its cache; writing into such a file would spoil the cache."""
    save(MODEL)
    monkeypatch.setattr(sys, "argv", ["stage", *TRIAL])
    evaluate.main()
    outputs = [path for path in sorted((project / "reports").rglob("*")) if path.is_file()]
    assert {path.name for path in outputs} == {
        "counts.npz", "images.csv", "result.json", "s0.csv", "s0.json", "cost.json",
    }  # fmt: skip
    links = {}
    for number, path in enumerate(outputs):
        links[path] = project / f"linked-{number}"
        links[path].hardlink_to(path)
        path.chmod(0o444)
    digests = {path: file_digest(link) for path, link in links.items()}
    edit("evaluate.thresholds", 7)
    evaluate.main()
    assert {path: file_digest(link) for path, link in links.items()} == digests
    assert not any(path.samefile(link) for path, link in links.items())
    (curve, *_) = read_json(project / "reports/evaluation/synlcd/cadnet/s0/result.json")["curves"]
    assert 0 < len(curve["precision"]) <= 7
