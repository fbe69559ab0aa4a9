"""Fine-tuning with few labels by the engine of all trainings: it learns, stops, resumes and is killed."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cadnet.training.fit import STATE_FILE, fit
from tests.fakes import write_fake_dataset
from tests.integration import semi_fake
from tests.integration.children import Child, assert_same_tensors

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("training")]

ROOT = Path(__file__).parents[2]
EPOCHS = 3
WEIGHTS = "weights.safetensors"


class Stopped(Exception):
    """The process ends here."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("semi")
    write_fake_dataset(root / "abpt", per_group=9, seed=1)
    write_fake_dataset(root / "line", per_group=9, seed=2)
    return root


def pretrained(folder: Path, kind: str) -> Path:
    work = folder / "pretrained" / kind
    if not (work / WEIGHTS).is_file():
        fit(semi_fake.pretraining(folder / "abpt", kind), work, folder / "cache")
    return work


@pytest.mark.parametrize("kind", semi_fake.KINDS)
def test_a_stopped_fine_tuning_goes_on_to_the_same_bits(kind: str, folder: Path, tmp_path: Path) -> None:
    start = pretrained(folder, kind)
    job = semi_fake.finetuning(folder / "line", kind, start, EPOCHS)
    straight = fit(job, tmp_path / "straight", folder / "cache")
    assert straight.resumed_epochs == 0

    def stop(row: dict[str, object]) -> None:
        if row["epoch"] == 2:
            raise Stopped

    with pytest.raises(Stopped):
        fit(job, tmp_path / "stopped", folder / "cache", on_epoch=stop)
    resumed = fit(job, tmp_path / "stopped", folder / "cache")
    assert resumed.resumed_epochs == 1
    assert_same_tensors(tmp_path / "straight", tmp_path / "stopped", STATE_FILE, WEIGHTS)
    first = straight.history[0]
    assert {"pseudo_precision", "pseudo_recall", "disagreement", "val_iou_defect"} <= first.keys()
    assert (tmp_path / "stopped/second" / WEIGHTS).is_file() == (kind == "cps")


def test_the_unlabelled_stream_changes_what_is_learnt(folder: Path, tmp_path: Path) -> None:
    start = pretrained(folder, "uamt")
    plain = semi_fake.finetuning(folder / "line", "plain", start, EPOCHS)
    job = semi_fake.finetuning(folder / "line", "uamt", start, EPOCHS)
    assert plain.seen_unlabelled == () and job.seen_unlabelled == semi_fake.UNLABELLED
    assert plain.identity() != job.identity()
    fit(plain, tmp_path / "plain", folder / "cache")
    fit(job, tmp_path / "uamt", folder / "cache")
    one, other = (load_file(tmp_path / name / WEIGHTS) for name in ("plain", "uamt"))
    assert any(not torch.equal(value, other[key]) for key, value in one.items())


def test_a_method_without_unlabelled_images_says_so(folder: Path, tmp_path: Path) -> None:
    job = semi_fake.finetuning(folder / "line", "cps", pretrained(folder, "cps"), EPOCHS)
    bare = type(job)(**{**vars(job), "unlabelled": ()})
    with pytest.raises(ValueError, match=r"'cps' learns from unlabelled images and there are none.*labels"):
        fit(bare, tmp_path / "work", folder / "cache")
    few = type(job)(**{**vars(job), "labelled": (0, 1, 2)})
    with pytest.raises(ValueError, match=r"has 3 samples, fewer than train.batch_size 4"):
        fit(few, tmp_path / "work", folder / "cache")


@pytest.mark.parametrize("kind", semi_fake.KINDS)
def test_every_method_trains_in_bfloat16(kind: str, folder: Path, tmp_path: Path) -> None:
    job = semi_fake.finetuning(folder / "line", kind, pretrained(folder, kind), 1, precision="bf16")
    (row,) = fit(job, tmp_path / "work", folder / "cache").history
    assert all(math.isfinite(value) for name, value in row.items() if name.startswith("loss"))


def test_two_processes_share_both_streams(folder: Path, tmp_path: Path) -> None:
    kinds = ("uamt", "uaps")
    arguments = [folder / "line", tmp_path, *(pretrained(folder, kind) for kind in kinds)]
    child = subprocess.run(
        [sys.executable, "-m", "tests.integration.semi_fake", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert child.returncode == 0, child.stderr
    epochs = [line for line in child.stdout.splitlines() if line.startswith("epoch 1/1 ")]
    # Printed by the first process only.
    assert len(epochs) == 2 and all("pseudo_recall=" in line for line in epochs)
    assert all((tmp_path / kind / WEIGHTS).is_file() for kind in kinds)


def test_killed_at_any_moment_it_ends_with_the_same_bits(folder: Path, tmp_path: Path) -> None:
    arguments = (folder / "line", "cps", pretrained(folder, "cps"), 6)
    fit(semi_fake.finetuning(*arguments), tmp_path / "straight", folder / "cache")
    child = Child(semi_fake.finetuning, arguments, tmp_path / "killed")
    assert child.rows.poll(240)
    while not (tmp_path / "killed" / STATE_FILE).is_file():
        assert child.process.is_alive()
        time.sleep(0.01)
    child.kill()
    resumed, _ = Child(semi_fake.finetuning, arguments, tmp_path / "killed").finish()
    assert resumed >= 1
    assert_same_tensors(tmp_path / "straight", tmp_path / "killed", WEIGHTS, f"second/{WEIGHTS}")
