"""CL and BCL against values worked out by hand (margins 0.3 and 2.2)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cadnet.losses.contrastive import balance_factors, contrastive_loss

DISTANCE = torch.tensor([[[[0.1, 0.5], [1.0, 3.0]]]])
MASK = torch.tensor([[[0, 0], [1, 2]]])
"""Hinges: 0, 0.2 (background), 1.2 (class 1), 0 (class 2)."""


def factors(*pixels: int) -> Tensor:
    return torch.tensor(balance_factors(pixels))


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ((7,), (1.0,)),
        ((10, 30), (4.0, 4 / 3)),
        ((1, 2, 3, 4, 5, 6), (21.0, 10.5, 7.0, 5.25, 4.2, 3.5)),
        ((5,) * 15, (15.0,) * 15),
        ((10, 0, 30), (4.0, 1.0, 4 / 3)),
        ((0, 0), (1.0, 1.0)),
    ],
)
def test_balance_factors(pixels: tuple[int, ...], expected: tuple[float, ...]) -> None:
    assert balance_factors(pixels) == pytest.approx(expected)


def test_balance_factors_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="empty"):
        balance_factors(())
    with pytest.raises(ValueError, match=r"negative, got \[3, -1\]"):
        balance_factors((3, -1))


def test_plain_and_balanced_values() -> None:
    assert contrastive_loss(DISTANCE, MASK).item() == pytest.approx((0.2 + 1.2) / 4)
    assert contrastive_loss(DISTANCE, MASK, factors(10, 30)).item() == pytest.approx((0.2 + 4 * 1.2) / 4)


def test_one_class_is_never_reweighted() -> None:
    mask = MASK.clamp(max=1)
    plain = contrastive_loss(DISTANCE, mask)
    assert contrastive_loss(DISTANCE, mask, factors(123)).item() == plain.item()


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ((1, 2, 3, 4, 5, 6), (21 + 10.5 + 7 + 5.25 + 4.2 + 3.5) / 6),
        ((9,) * 15, 15.0),
    ],
)
def test_many_classes(pixels: tuple[int, ...], expected: float) -> None:
    classes = len(pixels)
    mask = torch.arange(1, classes + 1).view(1, 1, classes)
    distance = torch.full((1, 1, 1, classes), 1.2)  # a hinge of 1 everywhere
    assert contrastive_loss(distance, mask, factors(*pixels)).item() == pytest.approx(expected)
    assert contrastive_loss(distance, mask).item() == pytest.approx(1.0)


def test_an_all_clean_batch() -> None:
    clean = torch.zeros_like(MASK)
    hinges = 0.2 + 0.7 + 2.7
    for weights in (None, factors(10, 30)):
        assert contrastive_loss(DISTANCE, clean, weights).item() == pytest.approx(hinges / 4)


def test_ignored_pixels_neither_cost_nor_count() -> None:
    mask = torch.tensor([[[0, 255], [1, 2]]])
    assert contrastive_loss(DISTANCE, mask).item() == pytest.approx(1.2 / 3)
    assert contrastive_loss(DISTANCE, mask, factors(10, 30)).item() == pytest.approx(4 * 1.2 / 3)


@pytest.mark.parametrize("normalisation", ["pixel", "class"])
@pytest.mark.parametrize("weights", [None, factors(10, 30)])
def test_an_all_ignored_batch_is_zero_with_zero_gradient(normalisation: str, weights: Tensor | None) -> None:
    distance = DISTANCE.clone().requires_grad_()
    loss = contrastive_loss(distance, torch.full_like(MASK, 255), weights, normalisation=normalisation)
    loss.backward()
    assert loss.item() == 0
    assert not distance.grad.any()


def test_the_distance_is_resized_to_the_label() -> None:
    distance = torch.tensor([0.0, 4.0]).view(1, 1, 1, 2)  # resized to 0, 1, 3, 4
    mask = torch.tensor([[[0, 0, 1, 1]]])
    assert contrastive_loss(distance, mask).item() == pytest.approx(0.7 / 4)


def test_gradient_signs_and_sizes() -> None:
    distance = DISTANCE.clone().requires_grad_()
    contrastive_loss(distance, MASK, factors(10, 30)).backward()
    # Background above its margin is pulled down, a defect below its margin pushed up by B_1; the rest stays.
    expected = torch.tensor([[[[0.0, 1.0], [-4.0, 0.0]]]]) / 4
    torch.testing.assert_close(distance.grad, expected)


def test_other_margins() -> None:
    loss = contrastive_loss(DISTANCE, MASK, margin_ok=0.0, margin_ng=4.0)
    assert loss.item() == pytest.approx((0.1 + 0.5 + 3.0 + 1.0) / 4)


def test_class_normalisation_averages_the_labels_that_occur() -> None:
    plain = contrastive_loss(DISTANCE, MASK, normalisation="class")
    assert plain.item() == pytest.approx((0.1 + 0.6) / 2)  # unchanged, changed
    balanced = contrastive_loss(DISTANCE, MASK, factors(10, 30, 5), normalisation="class")
    assert balanced.item() == pytest.approx((0.1 + 1.2 + 0.0) / 3)  # background, 1, 2; class 3 is absent
    with_ignored = torch.tensor([[[0, 255], [1, 2]]])
    ignored = contrastive_loss(DISTANCE, with_ignored, factors(10, 30), normalisation="class")
    assert ignored.item() == pytest.approx((0.0 + 1.2 + 0.0) / 3)


def test_half_precision_is_lifted_to_float32() -> None:
    loss = contrastive_loss(DISTANCE.bfloat16(), MASK)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.35, abs=0.01)
