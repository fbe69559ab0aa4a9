"""Counting: hand-made truth tables, and agreement with scikit-learn and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix
from torchmetrics.classification import MulticlassConfusionMatrix

from cadnet.evaluation import counts as counts_module
from cadnet.evaluation.counts import CountAccumulator, CountError, score_thresholds
from cadnet.types import IGNORE_INDEX


def one_hot_scores(prediction: torch.Tensor, channels: int) -> torch.Tensor:
    """Probabilities (B, channels, H, W) that are certain of ``prediction`` (B, H, W)."""
    return torch.nn.functional.one_hot(prediction, channels).movedim(-1, 1).float()


def random_case(
    seed: int, images: int, num_classes: int, size: int = 17
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn((images, num_classes + 1, size, size), generator=generator)
    mask = torch.randint(0, num_classes + 1, (images, size, size), generator=generator)
    mask[torch.rand(mask.shape, generator=generator) < 0.1] = IGNORE_INDEX
    return scores, mask


def test_hand_computed_confusion() -> None:
    truth = torch.tensor([[[0, 0, 1], [1, 2, 255]], [[0, 0, 0], [0, 0, 0]]])
    prediction = torch.tensor([[[0, 1, 1], [2, 2, 1]], [[0, 0, 0], [0, 0, 2]]])
    accumulator = CountAccumulator(2, "cpu", bins=4)
    accumulator.update(one_hot_scores(prediction, 3), truth, torch.tensor([7, 3]), probabilities=True)
    counts = accumulator.compute()

    # Rows are sorted by index; the pixel that is 255 in the truth is nowhere.
    assert counts.index.tolist() == [3, 7]
    assert counts.confusion[1].tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert counts.confusion[0].tolist() == [[5, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert counts.pooled.sum() == 11
    # Class 1: 9 other pixels, one of them scored 1; 2 own pixels, one scored 0 and one scored 1.
    assert counts.histograms[0].tolist() == [[8, 0, 0, 1], [1, 0, 0, 1]]
    assert counts.confusion.dtype == counts.histograms.dtype == np.int64


@pytest.mark.parametrize("num_classes", [1, 2, 6, 15])
def test_agrees_with_scikit_learn_and_torchmetrics(num_classes: int) -> None:
    scores, mask = random_case(num_classes, images=5, num_classes=num_classes)
    accumulator = CountAccumulator(num_classes, "cpu", bins=10)
    for start in range(0, 5, 2):
        part = slice(start, start + 2)
        accumulator.update(scores[part], mask[part], torch.arange(5)[part])
    counts = accumulator.compute()

    prediction, labels = scores.argmax(1), range(num_classes + 1)
    for image in range(5):
        keep = mask[image] != IGNORE_INDEX
        expected = confusion_matrix(mask[image][keep], prediction[image][keep], labels=labels)
        np.testing.assert_array_equal(counts.confusion[image], expected)
    metric = MulticlassConfusionMatrix(num_classes + 1, ignore_index=IGNORE_INDEX)
    np.testing.assert_array_equal(counts.pooled, metric(prediction, mask).numpy())


def test_histograms_are_numpy_histograms_of_the_softmax() -> None:
    scores, mask = random_case(0, images=3, num_classes=2)
    accumulator = CountAccumulator(2, "cpu", bins=16)
    accumulator.update(scores, mask, torch.arange(3))
    probability, keep = scores.softmax(1), mask != IGNORE_INDEX
    histograms = accumulator.compute().histograms
    for k in (1, 2):
        for positive in (0, 1):
            values = probability[:, k][keep & ((mask == k) == bool(positive))]
            expected = np.histogram(values, bins=[*score_thresholds(16), 1.0])[0]
            np.testing.assert_array_equal(histograms[k - 1, positive], expected)


def test_probability_one_falls_into_the_last_bin() -> None:
    scores = torch.zeros(1, 2, 1, 2)
    scores[:, 1] = torch.tensor([1.0, 0.0])
    accumulator = CountAccumulator(1, "cpu", bins=3)
    accumulator.update(scores, torch.ones(1, 1, 2, dtype=torch.int64), torch.tensor([0]), probabilities=True)
    assert accumulator.compute().histograms.tolist() == [[[0, 0, 0], [1, 0, 1]]]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_counting_in_blocks_changes_nothing(layout: torch.memory_format, monkeypatch) -> None:
    scores, mask = random_case(7, images=3, num_classes=4)
    scores, index = scores.round().contiguous(memory_format=layout), torch.arange(3)  # rounded: many ties
    whole, parts = CountAccumulator(4, "cpu"), CountAccumulator(4, "cpu")
    whole.update(scores, mask, index)
    monkeypatch.setattr(counts_module, "_BLOCK", 5 * 17 * 4)  # 4 of 17 rows
    parts.update(scores, mask, index)
    for name in ("index", "confusion", "histograms"):
        np.testing.assert_array_equal(getattr(parts.compute(), name), getattr(whole.compute(), name))
    # Of equal scores the lowest class is the prediction, as in argmax.
    keep, labels = mask != IGNORE_INDEX, range(5)
    expected = confusion_matrix(mask[keep], scores.argmax(1)[keep], labels=labels)
    np.testing.assert_array_equal(parts.compute().pooled, expected)


def test_padding_is_not_counted() -> None:
    scores, mask = random_case(2, images=3, num_classes=1)
    padded, plain = CountAccumulator(1, "cpu", bins=8), CountAccumulator(1, "cpu", bins=8)
    padded.update(scores, mask, torch.tensor([0, 1, -1]))
    plain.update(scores[:2], mask[:2], torch.tensor([0, 1]))
    for name in ("index", "confusion", "histograms"):
        np.testing.assert_array_equal(getattr(padded.compute(), name), getattr(plain.compute(), name))


def test_subset_keeps_the_named_images() -> None:
    scores, mask = random_case(3, images=4, num_classes=2)
    accumulator = CountAccumulator(2, "cpu", bins=8)
    accumulator.update(scores, mask, torch.tensor([10, 20, 30, 40]))
    counts = accumulator.compute()
    part = counts.subset(np.array([40, 20]))
    assert part.index.tolist() == [20, 40]
    np.testing.assert_array_equal(part.confusion, counts.confusion[[1, 3]])
    assert part.histograms.shape == (2, 2, 0)


@pytest.mark.parametrize("batches", [0, 1])
def test_nothing_counted_gives_empty_counts(batches: int) -> None:
    accumulator = CountAccumulator(3, "cpu", bins=5)
    for _ in range(batches):
        accumulator.update(torch.zeros(0, 4, 2, 2), torch.zeros(0, 2, 2).long(), torch.zeros(0).long())
    counts = accumulator.compute()
    assert counts.num_images == 0
    assert counts.confusion.shape == (0, 4, 4)
    assert counts.histograms.sum() == 0


def test_bfloat16_logits_are_counted_in_float32() -> None:
    scores, mask = random_case(4, images=2, num_classes=2)
    half, full = CountAccumulator(2, "cpu"), CountAccumulator(2, "cpu")
    half.update(scores.bfloat16(), mask, torch.arange(2))
    full.update(scores.bfloat16().float(), mask, torch.arange(2))
    np.testing.assert_array_equal(half.compute().histograms, full.compute().histograms)


@pytest.mark.parametrize("value", [3, 254, 256, -1, 2**32])
def test_wrong_mask_value_is_named(value: int) -> None:
    accumulator = CountAccumulator(2, "cpu")
    masks = torch.stack([torch.full((2, 2), value), torch.full((2, 2), -7)])
    accumulator.update(torch.zeros(2, 3, 2, 2), masks, torch.tensor([0, -1]))  # the second is padding
    with pytest.raises(CountError, match=r"4 mask pixels are neither 0\.\.2 nor 255"):
        accumulator.compute()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_diverged_network_is_named(value: float) -> None:
    scores = torch.zeros(1, 3, 2, 2)
    scores[0, 1, 0, 0] = value
    accumulator = CountAccumulator(2, "cpu")
    accumulator.update(scores, torch.zeros(1, 2, 2, dtype=torch.int64), torch.tensor([0]))
    with pytest.raises(CountError, match="training diverged"):
        accumulator.compute()


def test_an_image_counted_twice_is_an_error() -> None:
    scores, mask = random_case(5, images=2, num_classes=1)
    accumulator = CountAccumulator(1, "cpu")
    accumulator.update(scores, mask, torch.tensor([6, 6]))
    with pytest.raises(CountError, match="row 6"):
        accumulator.compute()


def test_misfits_are_refused() -> None:
    accumulator = CountAccumulator(2, "cpu")
    mask, index = torch.zeros(1, 2, 2, dtype=torch.int64), torch.tensor([0])
    with pytest.raises(ValueError, match="expected scores"):
        accumulator.update(torch.zeros(1, 2, 2, 2), mask, index)
    with pytest.raises(ValueError, match="different devices"):
        accumulator.update(torch.zeros(1, 3, 2, 2, device="meta"), mask, index)
    with pytest.raises(ValueError, match="num_classes must be at least 1"):
        CountAccumulator(0, "cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_counts_equal_cpu_counts_and_never_wait_for_the_device() -> None:
    scores, mask = random_case(6, images=4, num_classes=15, size=64)
    cpu, gpu = CountAccumulator(15, "cpu"), CountAccumulator(15, "cuda")
    cpu.update(scores, mask, torch.arange(4))
    batch = (scores.cuda(), mask.cuda(), torch.arange(4, device="cuda"))
    torch.cuda.set_sync_debug_mode("error")
    try:
        gpu.update(*batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    np.testing.assert_array_equal(gpu.compute().confusion, cpu.compute().confusion)
    # exp() differs in the last bit between devices, so a score may fall on the other side of a bin edge.
    assert np.abs(gpu.compute().histograms - cpu.compute().histograms).sum() <= 20
