"""A threshold chosen on validation images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cadnet.evaluation.counts import CountAccumulator, Counts
from cadnet.evaluation.curves import LOWEST, best_threshold
from cadnet.evaluation.evaluate import AnyDefect, Thresholded
from cadnet.types import SegOutput


def counts(negatives: list[int], positives: list[int]) -> Counts:
    confusion = np.zeros((1, 2, 2), np.int64)
    return Counts(np.zeros(1, np.int64), confusion, np.array([[negatives, positives]], np.int64))


def test_the_threshold_with_the_highest_iou_is_chosen() -> None:
    # Above 0.75: tp 4, fp 0, fn 6 -> IoU .4; above 0.5: tp 9, fp 1, fn 1 -> 9/11; above .25: tp 10, fp 21.
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
    chosen = best_threshold(score(network, 100))
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
