"""What a model says of clean pairs that differ by less than a defect."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from cadnet.config.operate import BehaviourParams
from cadnet.evaluation.gate import IDENTICAL
from cadnet.images import read_image
from cadnet.inference.predictor import Predictor

SEED = 0
"""Of the noise: the same for every model."""
MOST = 32
"""References that are looked at, evenly chosen where there are more."""


def disturbances(image: np.ndarray, params: BehaviourParams) -> Iterator[tuple[str, np.ndarray]]:
    """Yield a clean image, uint8 RGB (H, W, 3), as it is and disturbed, each with a name.

    Shifted images repeat their last row or column, as if the scene went on.
    """
    yield IDENTICAL, image
    for name, amount in (("brighter", params.brightness), ("darker", -params.brightness)):
        yield name, _bytes(image + np.float32(amount))
    noise = np.random.default_rng(SEED).normal(0, params.noise, image.shape)
    yield "noisy", _bytes(image + noise)
    if params.shift:
        steps = params.shift
        moves = {"up": (-steps, 0), "down": (steps, 0), "left": (0, -steps), "right": (0, steps)}
        for side, (down, right) in moves.items():
            yield f"moved {side}", _moved(image, down, right)


def false_shares(predictor: Predictor, params: BehaviourParams) -> dict[str, float]:
    """Return by disturbance the largest share of a reference's pixels that is called defective, in [0, 1].

    References of the product, :data:`MOST` at most, are compared with themselves, disturbed; nothing in them
    is a defect. Empty for a product without references.
    """
    worst: dict[str, float] = {}
    references = predictor.product.references
    chosen = np.linspace(0, len(references) - 1, min(MOST, len(references))).round().astype(int)
    for reference in (references[number] for number in chosen):
        clean = read_image(predictor.product.folder / reference.file)
        for name, image in disturbances(clean, params):
            share = predictor.predict(image, reference.name).defect_pixels / (clean.shape[0] * clean.shape[1])
            worst[name] = max(worst.get(name, 0.0), share)
    return worst


def _bytes(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)


def _moved(image: np.ndarray, down: float, right: float) -> np.ndarray:
    motion = np.array([[1, 0, right], [0, 1, down]], np.float64)
    size = image.shape[1], image.shape[0]
    return cv2.warpAffine(image, motion, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
