"""Training as a process: it learns, is killed and goes on to the same bits, and runs in two processes."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cadnet.datasets.cache import decode_split
from cadnet.datasets.device import DevicePairs, EvalBatches
from cadnet.datasets.manifest import open_dataset
from cadnet.evaluation.evaluate import evaluate
from cadnet.evaluation.metrics import segmentation_metrics
from cadnet.models.weights import load_model
from tests.fakes import write_fake_dataset
from tests.integration import train_fake
from tests.integration.children import Child, assert_same_tensors

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("training")]

ROOT = Path(__file__).parents[2]
EPOCHS = 4


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_dataset(tmp_path_factory.mktemp("data") / "fake", per_group=9)


@pytest.fixture(scope="module")
def uninterrupted(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("straight") / "work"
    assert Child(train_fake.job, (dataset, EPOCHS), work).finish() == (0, list(range(1, EPOCHS + 1)))
    return work


def test_loss_falls_and_the_best_weights_load(dataset: Path, tmp_path: Path) -> None:
    rows: list[dict] = []
    job = train_fake.job(dataset, epochs=3)
    result = train_fake.fit(job, tmp_path / "work", tmp_path / "cache", on_epoch=rows.append)
    assert rows == result.history
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert rows[0]["loss"] == pytest.approx(rows[0]["loss_ce"] + 0.05 * rows[0]["loss_contrastive"], rel=1e-5)
    model, description = load_model(tmp_path / "work")
    assert description.metadata["best"]["val_miou"] == result.best["val_miou"]
    assert sum(p.numel() for p in model.parameters()) == 3_896_867


def test_kill_9_at_random_moments_changes_nothing(dataset: Path, uninterrupted: Path, tmp_path: Path) -> None:
    work, moments = tmp_path / "work", random.Random(0)
    kills = 0
    while kills < 3:
        child = Child(train_fake.job, (dataset, EPOCHS), work)
        assert child.rows.poll(240)
        time.sleep(moments.uniform(0, 0.8))
        if not child.process.is_alive():
            break
        child.kill()
        kills += 1
    assert kills >= 1
    resumed, epochs = Child(train_fake.job, (dataset, EPOCHS), work).finish()
    assert resumed >= 1 and epochs == list(range(resumed + 1, EPOCHS + 1))
    assert_same_tensors(uninterrupted, work, "weights.safetensors", "state.safetensors")


def test_two_processes_train_and_validate_together(dataset: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.integration.train_fake",
        str(dataset),
        str(tmp_path / "work"),
        "2",
    ]
    child = subprocess.run([*command, "2"], cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert child.returncode == 0, child.stderr
    # Printed by the first process only.
    assert len([line for line in child.stdout.splitlines() if line.startswith("epoch ")]) == 2
    model, description = load_model(tmp_path / "work")
    data = open_dataset(dataset)
    pairs = DevicePairs(decode_split(data, "val", tmp_path / "cache"))
    counts = evaluate(model, EvalBatches(pairs, 4), len(pairs), data.classes, "cpu", bins=0)
    # Each process scored half of the validation split; together they must give what one process gives.
    assert description.metadata["best"]["val_miou"] == segmentation_metrics(counts).miou
