"""Stages on bad input: one message that names it, and nothing half-made is left."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cadnet.config import load_params
from cadnet.datasets.manifest import open_dataset
from cadnet.files import write_json
from cadnet.images import write_png
from cadnet.tracking import Tracker
from cadnet.tracking.store import resolve_store
from cadnet.tracking.trials import TAG_ERROR
from cadnet.training.job import Job
from pipelines.stages import evaluate, prepare, report, train
from tests.fakes import write_fake_dataset

ROOT = Path(__file__).parents[3]
TRIAL = ["--dataset", "synlcd", "--method", "cadnet", "--seed", "0"]

Fails = Callable[..., str]
Edit = Callable[[str, object], None]


@pytest.mark.parametrize(
    ("main", "arguments"),
    [(prepare.main, ["--dataset", "synlcd"]), (train.main, TRIAL), (evaluate.main, TRIAL), (report.main, [])],
)
def test_an_unknown_key_is_named_by_every_stage(
    project: Path, fails: Fails, edit: Edit, main: Callable[[], None], arguments: list[str]
) -> None:
    edit("train.epoch", 3)
    assert fails(main, *arguments) == (
        "error: params.yaml: train.epoch: unknown key; check its spelling or remove it"
    )
    assert {path.name for path in project.iterdir()} == {"params.yaml", "splits", "datasets"}


def test_unknown_names_list_the_known_ones(project: Path, fails: Fails) -> None:
    params = load_params()
    message = fails(prepare.main, "--dataset", "pcb")
    assert "'pcb'" in message and str(sorted(params.datasets)) in message
    message = fails(train.main, "--dataset", "synlcd", "--method", "cadnot", "--seed", "0")
    assert "'cadnot'" in message and str(sorted(params.methods)) in message


def test_a_truncated_pattern_leaves_no_dataset(project: Path, fails: Fails) -> None:
    shutil.rmtree(project / "datasets")
    generator = np.random.default_rng(0)
    for number in range(1, 11):
        screen = generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        write_png(project / f"data/synlcd/patterns/{number:02d}.png", screen)
    pattern = project / "data/synlcd/patterns/05.png"
    pattern.write_bytes(pattern.read_bytes()[:4000])
    message = fails(prepare.main, "--dataset", "synlcd")
    assert "data/synlcd/patterns/05.png" in message
    assert "replace it" in message
    assert not (project / "datasets/synlcd").exists()


def test_a_missing_pattern_is_named_with_the_fix(project: Path, fails: Fails) -> None:
    shutil.rmtree(project / "datasets")
    message = fails(prepare.main, "--dataset", "synlcd")
    assert "data/synlcd/patterns" in message
    assert "dvc pull" in message
    assert not (project / "datasets/synlcd").exists()


def test_wrong_mask_values_fail_the_run_and_leave_no_model(tracked: Path, fails: Fails) -> None:
    project = tracked
    mask = project / "datasets/synlcd/masks/01-000.png"
    write_png(mask, np.full((32, 32), 254, np.uint8))
    message = fails(train.main, *TRIAL)
    assert "datasets/synlcd/masks/01-000.png holds values [254]" in message
    assert "allowed are 0 (background), 1..2 (classes) and 255 (ignore)" in message
    assert not (project / "models").exists()
    assert not (project / "reports").exists()
    assert list((project / "cache").iterdir()) == []

    tracker = Tracker(resolve_store(project))
    trial, parent = tracker.find_runs("cadnet/synlcd/supervised")
    assert (trial.status, parent.status) == ("FAILED", "FAILED")
    assert trial.tags["cadnet.stage.train"] == "FAILED"
    assert "masks/01-000.png holds values [254]" in trial.tags[TAG_ERROR]
    text = tracker.find_run(trial.run_id).download("errors/train.txt", project / "out").read_text("utf-8")
    assert text.startswith("Traceback")


def test_data_that_failed_its_validation_are_not_trained_on(project: Path, fails: Fails) -> None:
    write_json(project / "reports/validate/synlcd/summary.json", {"passed": False})
    message = fails(train.main, *TRIAL)
    assert "dataset 'synlcd' failed its validation, see reports/validate/synlcd/index.html" in message
    assert "dvc repro validate@synlcd" in message
    assert not (project / "models").exists()


def test_a_wrong_tracking_address_is_no_traceback(
    project: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CADNET_TRACKING")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:mlruns")
    message = fails(train.main, *TRIAL)
    assert "tracking store 'file:mlruns' cannot be used" in message
    assert "unset MLFLOW_TRACKING_URI" in message
    assert not (project / "models").exists()


def test_a_checkpoint_belongs_to_data_settings_and_code(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What differs in any of these must not go on from the other's training state."""
    params = load_params(project / "params.yaml")
    data = open_dataset(project / "datasets/synlcd")
    method, other = params.methods["cadnet"], params.methods["segformer"]
    longer = params.train.model_copy(update={"epochs": 9})
    jobs = [
        Job(data, method, params.train, 0),
        Job(data, method, params.train, 1),
        Job(data, other, params.train, 0),
        Job(data, method, longer, 0),
        Job(open_dataset(write_fake_dataset(project / "other/synlcd", seed=1)), method, params.train, 0),
    ]
    digests = [train.training_fingerprint(job) for job in jobs]
    package = project / "cadnet"
    shutil.copytree(ROOT / "cadnet", package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(train.cadnet, "__file__", str(package / "__init__.py"))
    assert train.training_fingerprint(jobs[0]) == digests[0]
    changed = (
        "training/task.py", "losses/composite.py", "models/mit.py", "datasets/augment.py",
        "evaluation/metrics.py", "evaluation/counts.py",
    )  # fmt: skip
    for name in changed:
        with (package / name).open("a") as file:
            file.write("# changed\n")
        digests.append(train.training_fingerprint(jobs[0]))
    # A page's colour decides no weights.
    (package / "reporting/pages.py").write_text("")
    assert train.training_fingerprint(jobs[0]) == digests[-1]
    assert len(set(digests)) == len(jobs) + len(changed)


@pytest.mark.slow
def test_a_finished_training_is_published_again_without_training(
    project: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["stage", *TRIAL])
    train.main()
    evaluate.main()
    (work,) = (project / "checkpoints/synlcd/cadnet/s0").iterdir()
    assert not list(work.glob("state.*"))
    outputs = [
        project / "models/synlcd/cadnet/s0/weights.safetensors",
        project / "reports/history/synlcd/cadnet/s0.csv",
    ]
    before = [path.read_bytes() for path in outputs]
    shutil.rmtree(project / "models")
    outputs[1].unlink()
    # What DVC does when code was edited that decides no weights.
    monkeypatch.setattr(train, "fit", lambda *_args, **_kwargs: pytest.fail("trained again"))
    edit("methods.segformer.recipe.lr", 0.5)
    train.main()
    assert [path.read_bytes() for path in outputs] == before
    edit("methods.cadnet.recipe.lr", 0.5)
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        train.main()
