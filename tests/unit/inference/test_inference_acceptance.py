"""Clean pairs that differ by less than a defect, and what a model calls defective in them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from inference_fakes import Known, texture

from cadnet.config.operate import BehaviourParams
from cadnet.datasets.cache import DecodedSplit
from cadnet.inference import Predictor, Product
from cadnet.inference.acceptance import IDENTICAL, disturbances, false_fractions, planted_found
from cadnet.types import SegOutput

NAMES = [
    "identical", "brighter", "darker", "noisy", "moved up", "moved down", "moved left", "moved right",
]  # fmt: skip


def test_each_disturbance_is_what_its_name_says() -> None:
    image = texture(40, 50)
    made = dict(disturbances(image, BehaviourParams(brightness=6.0, noise=4.0, shift=2)))
    assert list(made) == NAMES and all(one.shape == image.shape for one in made.values())
    assert np.array_equal(made[IDENTICAL], image)
    inner = (image > 10) & (image < 245)
    assert set((made["brighter"].astype(int) - image)[inner]) == {6}
    assert set((made["darker"].astype(int) - image)[inner]) == {-6}
    difference = (made["noisy"].astype(float) - image)[inner]
    assert difference.std() == pytest.approx(4.0, rel=0.1) and abs(difference.mean()) < 0.3
    assert np.array_equal(made["moved down"][2:], image[:-2])
    assert np.array_equal(made["moved down"][0], image[0])
    assert np.array_equal(made["moved up"][:-2], image[2:])
    assert np.array_equal(made["moved right"][:, 2:], image[:, :-2])
    assert np.array_equal(made["moved left"][:, :-2], image[:, 2:])
    again = dict(disturbances(image, BehaviourParams(brightness=6.0, noise=4.0, shift=2)))
    assert np.array_equal(again["noisy"], made["noisy"])
    assert len(dict(disturbances(image, BehaviourParams(shift=0)))) == 4


def test_the_share_that_is_called_defective_is_measured(product: Product) -> None:
    # The known network's probability is the red that was added, 255 being 1: 200 levels are above a half.
    predictor = Predictor(product, network=Known())
    strong = false_fractions(predictor, BehaviourParams(brightness=200.0, noise=0.0, shift=0))
    assert list(strong) == NAMES[:4]
    assert strong[IDENTICAL] == strong["noisy"] == strong["darker"] == 0.0 and strong["brighter"] > 0
    weak = false_fractions(predictor, BehaviourParams(brightness=6.0, noise=0.0, shift=0))
    assert weak["brighter"] == 0.0


def split(*added: int) -> DecodedSplit:
    """Pairs of 40 x 48 pixels, a corner of 6 x 6 with so much red added each, ignored pixels beside it."""
    clean = texture(40, 48)
    images, masks = np.stack([clean] * len(added)), np.zeros((len(added), 40, 48), np.uint8)
    for image, mask, red in zip(images, masks, added, strict=True):
        image[:6, :6, 0] += np.uint8(red)
        image[:6, 6:12, 0] += np.uint8(145)
        mask[:6, :6] = red > 0
        mask[:6, 6:12] = 255
    planes = images.transpose(0, 3, 1, 2)
    index = np.zeros(len(added), np.int64)
    return DecodedSplit(planes, masks, clean.transpose(2, 0, 1)[None], index, pd.DataFrame())


class Blind(Known):
    """Marks nothing."""

    def forward(self, image: torch.Tensor, *_: object, **__: object) -> SegOutput:
        logits = torch.zeros(len(image), 3, *image.shape[2:])
        logits[:, 0] = 9.0
        return SegOutput(logits)


def test_planted_defects_are_found_elsewhere_or_not(product: Product) -> None:
    predictor = Predictor(product, network=Known())
    assert planted_found(predictor, split(145, 0)) == 1.0
    # 50 of 255 is less than the threshold; an image without a defect has none to plant.
    assert planted_found(predictor, split(145, 50, 0)) == 0.5
    assert planted_found(predictor, split(0)) is None
    assert planted_found(Predictor(product, network=Blind()), split(145, 50)) == 0.0
    # Of 36 pixels, so that it need not be judged defective.
    assert planted_found(Predictor(product, network=Known(), min_pixels=37), split(145)) is None
