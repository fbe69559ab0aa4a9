from pathlib import Path

import numpy as np
import pytest

from cadnet.datasets.cache import decode_split
from cadnet.datasets.manifest import DatasetError, open_dataset
from cadnet.files import file_digest
from cadnet.images import read_image, read_mask, write_png
from tests.fakes import write_fake_dataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_fake_dataset(tmp_path / "fake")


def test_arrays_equal_the_files(root: Path, tmp_path: Path) -> None:
    dataset = open_dataset(root)
    decoded = decode_split(dataset, "train", tmp_path / "cache")
    assert decoded.images.shape == (12, 3, 32, 32)
    assert decoded.references.shape == (2, 3, 32, 32)
    for row, record in dataset.split("train").iterrows():
        image = read_image(root / record["image"]).transpose(2, 0, 1)
        reference = read_image(root / record["reference"]).transpose(2, 0, 1)
        assert np.array_equal(decoded.images[row], image)
        assert np.array_equal(decoded.masks[row], read_mask(root / record["mask"], 2))
        assert np.array_equal(decoded.references[decoded.reference_index[row]], reference)


def test_second_call_reads_the_cache_and_changed_data_makes_a_new_one(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    decode_split(open_dataset(root), "val", cache)
    (folder,) = cache.iterdir()
    stamp = (folder / "images.npy").stat().st_mtime_ns
    decode_split(open_dataset(root), "val", cache)
    assert (folder / "images.npy").stat().st_mtime_ns == stamp
    write_png(root / "images" / "03-000.png", np.full((32, 32, 3), 9, np.uint8))
    assert (decode_split(open_dataset(root), "val", cache).images[0] == 9).all()


def test_unusable_files_are_listed_together_and_nothing_is_left(root: Path, tmp_path: Path) -> None:
    cut = root / "images" / "01-000.png"
    cut.write_bytes(cut.read_bytes()[:-20])
    write_png(root / "masks" / "01-001.png", np.full((32, 32), 7, np.uint8))
    write_png(root / "masks" / "02-001.png", np.zeros((16, 16), np.uint8))
    with pytest.raises(DatasetError, match="3 files") as caught:
        decode_split(open_dataset(root), "train", tmp_path / "cache")
    text = str(caught.value)
    assert "01-000.png is cut short" in text
    assert "01-001.png holds values [7]" in text
    assert "02-001.png is 16 x 16, not 32 x 32" in text
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_that_is_not_as_recorded_is_refused(root: Path, tmp_path: Path) -> None:
    names = ("images/01-000.png", "masks/01-000.png")
    lines = [f"{name},{file_digest(root / name)}" for name in names]
    (root / "checksums.csv").write_text("\n".join(["path,sha256", *lines]) + "\n")
    decode_split(open_dataset(root), "train", tmp_path / "cache")
    write_png(root / "masks/01-000.png", np.zeros((32, 32), np.uint8))
    # The digest is that of the recorded data, which are in the cache already.
    assert decode_split(open_dataset(root), "train", tmp_path / "cache").masks[0].any()
    with pytest.raises(DatasetError, match=r"1 files .*\n.*01-000\.png is not as checksums\.csv records it"):
        decode_split(open_dataset(root), "train", tmp_path / "other")


def test_masks_of_0_and_255_are_not_mistaken_for_classes(root: Path, tmp_path: Path) -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[3:5] = 255
    write_png(root / "masks" / "01-000.png", mask)
    decoded = decode_split(open_dataset(root), "train", tmp_path / "cache")
    assert set(np.unique(decoded.masks[0])) == {0, 255}
