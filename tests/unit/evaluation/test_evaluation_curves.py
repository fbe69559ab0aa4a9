"""Curves against scikit-learn on binned scores, and the threshold chosen by them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve
from torch import Tensor, nn

from cadnet.evaluation.counts import CountAccumulator, Counts, score_thresholds
from cadnet.evaluation.curves import LOWEST, best_threshold, curve, curves
from cadnet.evaluation.evaluate import AnyDefect, Thresholded
from cadnet.types import SegOutput


def binned(seed: int, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, bin numbers of their scores, and the histogram of both."""
    rng = np.random.default_rng(seed)
    labels = rng.random(3000) < 0.2
    score = np.clip(rng.beta(2, 5, labels.size) + 0.3 * labels, 0, 1)
    place = np.minimum((score * bins).astype(int), bins - 1)
    histogram = np.stack([np.bincount(place[labels == side], minlength=bins) for side in (False, True)])
    return labels, place, histogram


@pytest.mark.parametrize("bins", [2, 16, 100])
def test_agrees_with_scikit_learn_on_binned_scores(bins: int) -> None:
    labels, place, histogram = binned(bins, bins)
    result = curve(histogram)
    assert result.average_precision == pytest.approx(average_precision_score(labels, place))
    precision, recall, numbers = precision_recall_curve(labels, place)
    wanted = {int(n): (p, r) for n, p, r in zip(numbers, precision, recall, strict=False)}
    kept = [int(np.argmin(abs(score_thresholds(bins) - threshold))) for threshold in result.thresholds]
    assert kept[0] == 0 and (len(kept) > 0.5 * bins)
    for point, number in enumerate(kept):
        if number in wanted:
            assert (result.precision[point], result.recall[point]) == pytest.approx(wanted[number])
    scores = [f1_score(labels, place >= i) for i in range(bins)]
    assert result.fscore == pytest.approx([scores[number] for number in kept])
    assert result.best_threshold == score_thresholds(bins)[int(np.argmax(scores))]
    assert result.best_fscore == pytest.approx(max(scores))


def test_thresholds_are_dense_where_networks_are_sure() -> None:
    thresholds = score_thresholds(1000)
    assert thresholds[0] == 0 and thresholds[500] == 0.5 and (np.diff(thresholds) > 0).all()
    assert np.diff(thresholds).max() < 0.0081
    assert ((thresholds > 0.99) & (thresholds < 1)).sum() > 350


def test_the_curve_of_a_sure_network_begins_at_low_recall() -> None:
    """With equal steps of probability it began where all scores above 0.99 had been counted."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(1, 128, 128, generator=generator) < 0.2
    score = torch.randn(1, 128, 128, generator=generator) + 8 * mask.float() - 1
    accumulator = CountAccumulator(1, "cpu", 1000)
    accumulator.update(torch.stack((torch.zeros_like(score), score), 1), mask.long(), torch.zeros(1).long())
    (line,) = curves(accumulator.compute().histograms)
    assert (torch.sigmoid(score[mask]) > 0.99).float().mean() > 0.98
    recall = np.array(line.recall)
    assert recall[recall > 0].min() < 0.01 and np.abs(np.diff(recall)).max() < 0.05
    assert len(line.thresholds) < 700


def test_hand_computed_curve() -> None:
    result = curve(np.array([[6, 2, 0, 0], [0, 1, 0, 3]]))
    # The third threshold is the best of equal ones, the lowest, which misses least; the fourth is the last.
    assert result.thresholds == pytest.approx((0.0, 1 / (1 + np.exp(8)), 0.5, 1 / (1 + np.exp(-8))))
    assert result.precision == pytest.approx((4 / 12, 4 / 6, 1, 1))
    assert result.recall == pytest.approx((1, 1, 0.75, 0.75))
    assert result.fscore == pytest.approx((8 / 16, 8 / 10, 6 / 7, 6 / 7))
    assert result.average_precision == pytest.approx(0.75 * 1 + 0.25 * 4 / 6)
    assert result.best_threshold == 0.5
    assert (result.positives, result.negatives) == (4, 8)


def test_no_prediction_above_a_threshold_has_precision_one() -> None:
    result = curve(np.array([[5, 0, 0], [0, 5, 0]]))
    assert (result.precision[2], result.recall[2], result.fscore[2]) == (1.0, 0.0, 0.0)


def test_without_positives_there_is_no_curve() -> None:
    result = curve(np.array([[5, 1], [0, 0]]))
    assert (result.thresholds, result.precision, result.recall, result.fscore) == ((), (), (), ())
    assert result.average_precision is result.best_threshold is result.best_fscore is None
    assert result.negatives == 6


def test_without_negatives_precision_is_one_everywhere() -> None:
    result = curve(np.array([[0, 0], [3, 1]]))
    assert result.precision == (1.0, 1.0)
    assert result.average_precision == pytest.approx(1.0)
    assert (result.best_threshold, result.best_fscore) == (0.0, 1.0)


def test_shapes_are_checked_and_no_bins_mean_no_curves() -> None:
    assert curves(np.zeros((3, 2, 0), np.int64)) == ()
    assert len(curves(np.ones((3, 2, 5), np.int64))) == 3
    with pytest.raises(ValueError, match="expected a histogram"):
        curve(np.zeros((2, 0), np.int64))


def counts(negatives: list[int], positives: list[int]) -> Counts:
    confusion = np.zeros((1, 2, 2), np.int64)
    return Counts(np.zeros(1, np.int64), confusion, np.array([[negatives, positives]], np.int64))


def test_the_threshold_with_the_highest_iou_is_chosen() -> None:
    # In the last bin: tp 4, fp 0, fn 6 -> IoU .4; above 0.5: tp 9, fp 1, fn 1 -> 9/11; below: tp 10, fp 21.
    assert best_threshold(counts([50, 20, 1, 0], [0, 1, 5, 4])) == 0.5
    # Everything a defect is best, yet a threshold of 0 would not look at the network at all.
    assert best_threshold(counts([0, 0], [5, 1])) == LOWEST


def test_where_nothing_can_be_chosen_it_is_a_half() -> None:
    assert best_threshold(counts([5, 3], [0, 0])) == 0.5
    with pytest.raises(ValueError, match="one class and score bins, got 1 classes and 0 bins"):
        best_threshold(counts([], []))


class Fixed(nn.Module):
    def __init__(self, probability: Tensor) -> None:
        super().__init__()
        self.logits = torch.stack((1 - probability, probability)).log()[None]

    def forward(self, image: Tensor, _reference: Tensor) -> SegOutput:
        return SegOutput(self.logits)


def test_pixels_above_the_threshold_are_defects() -> None:
    probability = torch.tensor([[0.1, 0.29, 0.31, 0.9]])
    image = torch.zeros(1, 3, 1, 4)
    output = Thresholded(Fixed(probability), 0.3)(image, image)
    assert output.logits.argmax(1).tolist() == [[[0, 0, 1, 1]]]
    plain = Thresholded(Fixed(probability), 0.5)(image, image).logits
    torch.testing.assert_close(plain, Fixed(probability).logits)
    for wrong in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            Thresholded(Fixed(probability), wrong)


def test_the_chosen_threshold_gives_what_the_curve_promised() -> None:
    generator = torch.Generator().manual_seed(0)
    probability = torch.rand(8, 8, generator=generator)
    mask = (torch.rand(1, 8, 8, generator=generator) < probability).long()
    image, index = torch.zeros(1, 3, 8, 8), torch.zeros(1, dtype=torch.long)

    def score(network: nn.Module, bins: int) -> Counts:
        accumulator = CountAccumulator(1, "cpu", bins)
        accumulator.update(network(image, image).logits, mask, index)
        return accumulator.compute()

    def iou(found: Counts) -> float:
        pooled = found.pooled
        return pooled[1, 1] / (pooled[1].sum() + pooled[0, 1])

    network = Fixed(probability)
    chosen = best_threshold(score(network, 10_000))
    best = iou(score(Thresholded(network, chosen), 0))
    assert all(best >= iou(score(Thresholded(network, t / 100), 0)) - 1e-9 for t in range(1, 100))


class Several(nn.Module):
    """Always gives the probabilities it was given, (K+1,)."""

    def __init__(self, probabilities: list[float]) -> None:
        super().__init__()
        self.logits = torch.tensor(probabilities).log().view(1, -1, 1, 1)

    def forward(self, image: Tensor, _reference: Tensor) -> SegOutput:
        return SegOutput(self.logits)


def test_the_probability_of_any_defect_is_the_sum() -> None:
    image = torch.zeros(1, 3, 1, 1)
    output = AnyDefect(Several([0.4, 0.35, 0.25]))(image, image)
    assert output.logits.shape == (1, 2, 1, 1)
    torch.testing.assert_close(output.logits.softmax(1).flatten(), torch.tensor([0.4, 0.6]))
