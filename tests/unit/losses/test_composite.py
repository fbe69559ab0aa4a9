"""The sum of the losses and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch

from cadnet.config import MethodParams, Recipe
from cadnet.losses.composite import CompositeLoss, build_loss
from cadnet.types import Auxiliary, SegOutput

DISTANCE = torch.tensor([[[[0.1, 0.5], [1.0, 3.0]]]])
MASK = torch.tensor([[[0, 0], [1, 2]]])
CE, CL, BCL = math.log(3), 0.35, 1.25
"""Of zero logits and of the distance above with pixel counts 10 and 30; see test_contrastive.py."""


def output(**changes: object) -> SegOutput:
    return SegOutput(torch.zeros(1, 3, 2, 2, requires_grad=True), DISTANCE.clone().requires_grad_())._replace(
        **changes
    )


@pytest.mark.parametrize(("kind", "contrastive"), [("ce+cl", CL), ("ce+bcl", BCL)])
def test_total_and_parts(kind: str, contrastive: float) -> None:
    given = output()
    values = CompositeLoss(kind, 0.05, (10, 30))(given, MASK)
    assert values.keys() == {"loss", "ce", "contrastive"}
    assert values["ce"].item() == pytest.approx(CE)
    assert values["contrastive"].item() == pytest.approx(contrastive)
    assert values["loss"].item() == pytest.approx(CE + 0.05 * contrastive)
    assert [values[k].requires_grad for k in ("loss", "ce", "contrastive")] == [True, False, False]
    values["loss"].backward()
    assert given.logits.grad.abs().sum() > 0
    assert given.distance.grad.abs().sum() > 0


def test_cross_entropy_alone_needs_no_distance() -> None:
    values = CompositeLoss("ce")(output(distance=None), MASK)
    assert values.keys() == {"loss", "ce"}
    assert values["loss"].item() == pytest.approx(CE)


def test_a_contrastive_loss_needs_a_distance() -> None:
    with pytest.raises(ValueError, match="only Siamese networks give; use loss: ce or model: cadnet"):
        CompositeLoss("ce+cl", 0.1)(output(distance=None), MASK)


def test_all_ignored_is_zero() -> None:
    values = CompositeLoss("ce+bcl", 0.05, (10, 30))(output(), torch.full_like(MASK, 255))
    assert {name: value.item() for name, value in values.items()} == {"loss": 0, "ce": 0, "contrastive": 0}


def test_built_from_params() -> None:
    recipe = Recipe(optimizer="adamw", lr=0.1, weight_decay=0.0, schedule="constant")
    method = MethodParams(
        title="t", model="cadnet", family="f", recipe=recipe, loss="ce+bcl", contrastive_weight=0.05
    )
    values = build_loss(method, (10, 30))(output(), MASK)
    assert values["loss"].item() == pytest.approx(CE + 0.05 * BCL)


def test_margins_and_normalisation_are_passed_on() -> None:
    loss = CompositeLoss("ce+cl", 1.0, margin_ok=0.0, margin_ng=4.0)
    assert loss(output(), MASK)["contrastive"].item() == pytest.approx((0.1 + 0.5 + 3 + 1) / 4)
    loss = CompositeLoss("ce+cl", 1.0, normalisation="class")
    assert loss(output(), MASK)["contrastive"].item() == pytest.approx(0.35)
    loss = CompositeLoss("ce+bcl", 1.0, (10, 30), normalisation="class")
    assert loss(output(), MASK)["contrastive"].item() == pytest.approx(1.3 / 3)


def test_factors_move_but_are_no_weights() -> None:
    loss = CompositeLoss("ce+bcl", 0.05, (10, 30))
    assert loss.state_dict() == {}
    assert loss.to("meta").factors.device.type == "meta"


def test_half_precision_gives_float32() -> None:
    given = SegOutput(torch.zeros(1, 3, 2, 2).bfloat16(), DISTANCE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = CompositeLoss("ce+bcl", 0.05, (10, 30))(given, MASK)
    assert {value.dtype for value in values.values()} == {torch.float32}
    assert values["loss"].item() == pytest.approx(CE + 0.05 * BCL)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("bcl", {}, "unknown loss 'bcl'"),
        ("ce+bcl", {}, "class_pixels is empty"),
        ("ce+cl", {"contrastive_weight": -1.0}, "must not be negative"),
        ("ce+cl", {"margin_ok": 3.0}, "margins must satisfy"),
        ("ce+cl", {"normalisation": "image"}, "unknown normalisation 'image'"),
    ],
)
def test_mistakes_are_explained(kind: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CompositeLoss(kind, **options)


def test_auxiliary_logits_add_their_weighted_cross_entropy_at_the_masks_size() -> None:
    # Uniform logits cost ln 3 each, whatever their size: ln 3 * (1 + 0.4 + 2).
    main = torch.zeros(1, 3, 4, 4)
    extra = (Auxiliary(torch.zeros(1, 3, 2, 2), 0.4), Auxiliary(torch.zeros(1, 3, 4, 4), 2.0))
    parts = CompositeLoss("ce")(SegOutput(main, None, extra), torch.ones(1, 4, 4, dtype=torch.int64))
    assert parts["loss"].item() == pytest.approx(3.4 * math.log(3))
    assert parts["auxiliary"].item() == pytest.approx(2.4 * math.log(3))
    assert parts["ce"].item() == pytest.approx(math.log(3))
