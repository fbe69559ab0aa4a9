"""Labelled and unlabelled streams: what they draw, and that no pass repeats another's augmentation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cadnet.datasets.augment import Augmentation
from cadnet.datasets.cache import decode_split
from cadnet.datasets.device import DevicePairs, TrainBatches
from cadnet.datasets.manifest import MERGED_CLASS, open_dataset
from cadnet.semi.jobs import SemiBatches
from cadnet.types import IGNORE_INDEX
from tests.fakes import write_fake_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("streams")


@pytest.fixture(scope="module")
def pairs(folder: Path) -> DevicePairs:
    dataset = open_dataset(write_fake_dataset(folder / "fake"))
    return DevicePairs(decode_split(dataset, "train", folder / "cache"))


def stream(pairs: DevicePairs, rows: list[int], steps: int, seed: int = 0) -> TrainBatches:
    return TrainBatches(pairs, Augmentation(32), 2, seed, rows=torch.tensor(rows), steps=steps)


def test_few_rows_are_drawn_over_and_over_each_pass_in_a_new_order(pairs: DevicePairs) -> None:
    batches = stream(pairs, [1, 4, 7, 9], steps=10)
    assert len(batches) == 10
    drawn = torch.cat([batch.index for batch in batches]).view(5, 4)
    assert all(sorted(one.tolist()) == [1, 4, 7, 9] for one in drawn)
    assert len({tuple(one.tolist()) for one in drawn}) > 1


def test_a_row_is_augmented_anew_in_every_pass(pairs: DevicePairs) -> None:
    images = [batch.image for batch in stream(pairs, [0, 1], steps=12)]
    distinct = {image.numpy().tobytes() for batch in images for image in batch}
    # Two pictures, each in up to four mirror images.
    assert 4 < len(distinct) <= 8


def test_an_epoch_repeats_itself_and_no_other(pairs: DevicePairs) -> None:
    batches = stream(pairs, [0, 1, 2, 3, 4], steps=6)

    def drawn(epoch: int) -> list[int]:
        batches.set_epoch(epoch)
        return torch.cat([batch.index for batch in batches]).tolist()

    assert drawn(1) == drawn(1) != drawn(2)


def test_ranks_share_each_batch(pairs: DevicePairs) -> None:
    rows = torch.tensor([0, 3, 5])
    parts = [TrainBatches(pairs, Augmentation(32), 2, 0, rank, 2, rows=rows, steps=3) for rank in (0, 1)]
    whole = TrainBatches(pairs, Augmentation(32), 2, 0, rows=rows, steps=3)
    for first, second, both in zip(*parts, whole, strict=True):
        assert torch.equal(torch.cat((first.index, second.index)), both.index)


def test_both_streams_go_in_step(pairs: DevicePairs) -> None:
    both = SemiBatches(stream(pairs, [0, 1, 2], 4), stream(pairs, [5, 6, 7, 8], 4, seed=9))
    both.set_epoch(3)
    assert both.labelled.epoch == both.unlabelled.epoch == 3 and len(both) == 4
    for batch in both:
        assert set(batch.labelled.index.tolist()) <= {0, 1, 2}
        assert set(batch.unlabelled.index.tolist()) <= {5, 6, 7, 8}
        assert batch.views.image is batch.unlabelled.image and not hasattr(batch.views, "mask")
    with pytest.raises(ValueError, match="4 labelled batches do not go with 5 unlabelled"):
        SemiBatches(stream(pairs, [0, 1], 4), stream(pairs, [2, 3], 5))


def test_fewer_labelled_samples_than_a_batch_are_refused(pairs: DevicePairs) -> None:
    with pytest.raises(ValueError, match=r"1 samples, fewer than train.batch_size 2.*semi.fractions"):
        stream(pairs, [3], steps=5)


def test_all_defects_can_be_one_class(folder: Path) -> None:
    dataset = open_dataset(write_fake_dataset(folder / "fake"))
    one = dataset.as_one_class()
    assert one.classes == (MERGED_CLASS,) and one.num_classes == 1 and one.mask_classes == 2
    assert one.class_pixels("train") == (sum(dataset.class_pixels("train")),)
    assert one.digest != dataset.digest and one.as_one_class().mask_classes == 2
    masks = decode_split(one, "test", folder / "cache").masks
    plain = decode_split(dataset, "test", folder / "cache").masks
    assert set(plain.ravel()) == {0, 1, 2} and set(masks.ravel()) == {0, 1}
    assert ((plain > 0) == (masks > 0)).all() and IGNORE_INDEX not in masks
