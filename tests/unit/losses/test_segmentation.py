"""Cross-entropy and Dice against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from cadnet.losses.segmentation import cross_entropy, dice_loss


@pytest.mark.parametrize("classes", [1, 2, 6, 15])
def test_cross_entropy_of_no_opinion(classes: int) -> None:
    mask = torch.arange(classes + 1).view(1, 1, -1)
    logits = torch.zeros(1, classes + 1, 1, classes + 1)
    assert cross_entropy(logits, mask).item() == pytest.approx(math.log(classes + 1))


def test_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[2.0, 1.0, 5.0], [0.0, 3.0, -5.0]]).view(1, 2, 1, 3)
    right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    assert cross_entropy(logits, torch.tensor([[[0, 1, 255]]])).item() == pytest.approx(right)
    assert cross_entropy(logits, torch.tensor([[[0, 0, 255]]])).item() == pytest.approx((right + wrong) / 2)


@pytest.mark.parametrize("loss", [cross_entropy, dice_loss])
def test_an_all_ignored_batch_is_zero_with_zero_gradient(loss) -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    value = loss(logits, torch.full((2, 4, 4), 255))
    value.backward()
    assert value.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("loss", [cross_entropy, dice_loss])
def test_ignored_pixels_do_not_matter(loss) -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 2, 4)
    mask = torch.tensor([[[0, 1, 255, 255], [2, 0, 255, 255]]])
    alone = loss(logits[..., :2], mask[..., :2])
    assert loss(logits, mask).item() == pytest.approx(alone.item())


def test_dice_by_hand() -> None:
    mask = torch.tensor([[[0, 0, 0, 1]]])
    # p = 1/2 everywhere: background 2 * 1.5 / (2 + 3), defect 2 * 0.5 / (2 + 1).
    even = dice_loss(torch.zeros(1, 2, 1, 4), mask)
    assert even.item() == pytest.approx(1 - (0.6 + 1 / 3) / 2)
    sure = torch.zeros(1, 2, 1, 4)
    sure[:, 0, :, :3] = sure[:, 1, :, 3:] = 50
    assert dice_loss(sure, mask).item() == pytest.approx(0, abs=1e-6)


def test_dice_of_an_absent_class_costs_a_constant() -> None:
    logits = torch.zeros(1, 2, 1, 4)
    logits[:, 0] = 50
    assert dice_loss(logits, torch.zeros(1, 1, 4, dtype=torch.long)).item() == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("loss", [cross_entropy, dice_loss])
def test_half_precision_is_lifted_to_float32(loss) -> None:
    logits = torch.randn(1, 3, 4, 4).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss(logits, torch.zeros(1, 4, 4, dtype=torch.long)).dtype == torch.float32
