from pathlib import Path

import pandas as pd
import pytest

from cadnet.datasets.manifest import DatasetError, open_dataset
from tests.fakes import write_fake_dataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_fake_dataset(tmp_path / "fake")


def rewrite(root: Path, change) -> None:
    table = pd.read_csv(root / "manifest.csv", dtype={"group": str})
    change(table).to_csv(root / "manifest.csv", index=False)


def test_reads_splits_classes_and_counts(root: Path) -> None:
    dataset = open_dataset(root)
    assert dataset.classes == ("line", "abpt")
    assert {split: len(dataset.split(split)) for split in ("train", "val", "test")} == {
        "train": 12,
        "val": 6,
        "test": 6,
    }
    # 4 of every 6 samples have a bar of 2 rows; the 6 x 6 square may cover a part of it.
    line, abpt = dataset.class_pixels("train")
    assert abpt == 8 * 36
    assert 8 * 2 * (32 - 6) <= line <= 8 * 2 * 32


def test_digest_changes_with_the_bytes_and_not_with_the_times(root: Path) -> None:
    before = open_dataset(root).digest
    image = root / "images" / "01-000.png"
    image.touch()
    assert open_dataset(root).digest == before
    data = bytearray(image.read_bytes())
    data[-1] ^= 1
    image.write_bytes(data)
    assert open_dataset(root).digest != before


def test_missing_folder_names_the_cure(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="dvc repro prepare"):
        open_dataset(tmp_path / "none")


def test_all_missing_files_are_named(root: Path) -> None:
    for name in ("images/01-000.png", "masks/02-001.png"):
        (root / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks 2 files.*images/01-000.png, masks/02-001.png"):
        open_dataset(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="n_abpt"), r"lacks the columns \['n_abpt'\]"),
        (lambda t: t.assign(split="training"), r"splits \['training'\]"),
        (lambda t: t.assign(sample_id="same"), r"duplicate sample ids"),
        (lambda t: t.assign(group="01"), r"groups \['01'\] lie in several splits"),
    ],
)
def test_wrong_tables_are_refused(root: Path, change, message: str) -> None:
    rewrite(root, change)
    with pytest.raises(DatasetError, match=message):
        open_dataset(root)


def test_empty_split_is_an_error(root: Path) -> None:
    rewrite(root, lambda t: t[t["split"] != "val"])
    with pytest.raises(DatasetError, match=r"no 'val' samples \(present: \['test', 'train'\]\)"):
        open_dataset(root).split("val")
