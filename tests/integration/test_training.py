import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cadnet.datasets.cache import decode_split
from cadnet.datasets.device import DevicePairs, EvalBatches
from cadnet.datasets.manifest import open_dataset
from cadnet.evaluation.evaluate import evaluate
from cadnet.evaluation.metrics import segmentation_metrics
from cadnet.models.weights import load_model
from tests.fakes import write_fake_dataset
from tests.integration import train_fake

ROOT = Path(__file__).parents[2]
EPOCHS = 4


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_dataset(tmp_path_factory.mktemp("data") / "fake", per_group=9)


@pytest.fixture(scope="module")
def uninterrupted(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("straight") / "work"
    finished = start(dataset, work)
    output, _ = finished.communicate(timeout=240)
    assert finished.returncode == 0, output
    return work


def start(dataset: Path, work: Path, devices: int = 1, epochs: int = EPOCHS) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.integration.train_fake", str(dataset), str(work), str(epochs)]
    return subprocess.Popen(
        [*command, str(devices)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def outcome(output: str) -> dict[str, int]:
    (line,) = [line for line in output.splitlines() if line.startswith("RESULT ")]
    return json.loads(line.removeprefix("RESULT "))


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


@pytest.mark.slow
def test_kill_9_at_random_moments_changes_nothing(dataset: Path, uninterrupted: Path, tmp_path: Path) -> None:
    work, moments = tmp_path / "work", random.Random(0)
    kills = 0
    while kills < 3:
        child = start(dataset, work)
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith("epoch "):
                break
        time.sleep(moments.uniform(0, 0.8))
        if child.poll() is not None:
            break
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        kills += 1
    last = start(dataset, work)
    output, _ = last.communicate(timeout=240)
    assert last.returncode == 0, output
    assert kills >= 1
    assert outcome(output)["resumed"] >= 1
    assert outcome(output)["epochs"] == EPOCHS
    for name in ("weights.safetensors", "state.safetensors"):
        straight, resumed = load_file(uninterrupted / name), load_file(work / name)
        assert straight.keys() == resumed.keys()
        assert all(torch.equal(straight[key], resumed[key]) for key in straight), name


@pytest.mark.slow
def test_two_processes_train_and_validate_together(dataset: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    child = start(dataset, work, devices=2)
    output, _ = child.communicate(timeout=280)
    assert child.returncode == 0, output
    rows = [line for line in output.splitlines() if line.startswith("epoch ")]
    assert len(rows) == EPOCHS  # printed by the first process only
    model, description = load_model(work)
    data = open_dataset(dataset)
    pairs = DevicePairs(decode_split(data, "val", tmp_path / "cache"))
    counts = evaluate(model, EvalBatches(pairs, 4), len(pairs), data.classes, "cpu", bins=0)
    # Each process scored half of the validation split; together they must give what one process gives.
    assert description.metadata["best"]["val_miou"] == segmentation_metrics(counts).miou
