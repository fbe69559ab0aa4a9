from pathlib import Path

import pandas as pd
import pytest

from cadnet.datasets import manifest
from cadnet.datasets.manifest import DatasetError, open_dataset
from cadnet.files import file_digest
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


def test_digest_takes_recorded_hashes_and_reads_no_image(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = open_dataset(root).digest
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    write_checksums(root, {name: file_digest(root / name) for name in names})
    assert open_dataset(root).digest == read, "recorded or read, a digest is the same"

    def refuse(path: Path) -> str:
        assert path.suffix != ".png"
        return file_digest(path)

    monkeypatch.setattr(manifest, "file_digest", refuse)
    assert open_dataset(root).digest == read
    write_checksums(root, dict.fromkeys(names, "0" * 64))
    assert open_dataset(root).digest != read
    rewrite(root, lambda table: table.assign(subset="other"))
    assert open_dataset(root).digest != read


def test_a_file_that_is_not_recorded_is_read(root: Path) -> None:
    before = open_dataset(root).digest
    write_checksums(root, {"images/01-001.png": file_digest(root / "images/01-001.png")})
    assert open_dataset(root).digest == before
    (root / "images/01-000.png").write_bytes((root / "images/01-001.png").read_bytes())
    assert open_dataset(root).digest != before


@pytest.mark.parametrize("text", ["path,sha\na,b\n", b"\xff\xfe".decode("latin-1")])
def test_damaged_checksums_are_refused(root: Path, text: str) -> None:
    (root / "checksums.csv").write_text(text + "x,y\n", "latin-1")
    with pytest.raises(ValueError, match=r"checksums\.csv is damaged"):
        _ = open_dataset(root).digest


def write_checksums(root: Path, digests: dict[str, str]) -> None:
    lines = ["path,sha256", *(f"{name},{digest}" for name, digest in digests.items())]
    (root / "checksums.csv").write_text("\n".join(lines) + "\n", "utf-8")


def test_missing_folder_names_the_fix(tmp_path: Path) -> None:
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
        (lambda t: t.assign(group="01"), r"groups \['01'\] are in several splits"),
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
