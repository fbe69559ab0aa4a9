"""The overall change sigma of Eq. 1: brightness, contrast, RGB deviation and ISO noise (paper Table 1)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cadnet.config import ScreenParams
from cadnet.synthesis.defects import pick

NOISE_STEPS = 127 / 4
"""Levels of a noise tile per standard deviation; four standard deviations fill a signed byte."""


@dataclass(frozen=True)
class ScreenEffects:
    """Effects of one image; the defaults change nothing."""

    brightness: float = 0.0
    contrast: float = 1.0
    iso_noise: float = 0.0
    deviation: tuple[float, float, float] = (0.0, 0.0, 0.0)


def sample_effects(params: ScreenParams, rng: np.random.Generator) -> ScreenEffects:
    """Sample the effects of one image: each of the four occurs with ``params.probability``.

    A deviation raises or lowers some of the three channels by one amount; a shift that all three share is
    brightness and is sampled again.
    """
    happens = rng.random(4) < params.probability
    brightness, contrast = pick(params.brightness, rng), pick(params.contrast, rng)
    iso_noise, amount = pick(params.iso_noise, rng), pick(params.rgb_deviation, rng)
    signs = rng.integers(-1, 2, size=3)
    while signs.min() == signs.max():
        signs = rng.integers(-1, 2, size=3)
    return ScreenEffects(
        brightness if happens[0] else 0.0,
        contrast if happens[1] else 1.0,
        iso_noise if happens[2] else 0.0,
        (signs[0] * amount, signs[1] * amount, signs[2] * amount) if happens[3] else (0.0, 0.0, 0.0),
    )


class NoiseTile:
    """Sensor noise sampled once; images take a random window of it, flipped, transposed and scaled.

    Sampling 786,432 normal numbers costs 7 ms per 512 px image, a window of the tile 1 ms. Two thirds
    of the variance is shared by the channels (luminance), the rest is colour noise.
    """

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self._size = size
        side = size + size // 2
        self._tile = np.empty((side, side, 3), np.int8)
        for row in range(side):
            shared = rng.standard_normal((side, 1), np.float32)
            own = rng.standard_normal((side, 3), np.float32)
            normal = np.float32(np.sqrt(2 / 3)) * shared + np.float32(np.sqrt(1 / 3)) * own
            self._tile[row] = np.clip(np.rint(normal * NOISE_STEPS), -127, 127)

    def window(self, sigma: float, rng: np.random.Generator) -> np.ndarray:
        """Return int16 noise (size, size, 3) of standard deviation ``sigma`` grey levels."""
        free = self._tile.shape[0] - self._size
        top, left = rng.integers(free + 1, size=2)
        window = self._tile[top : top + self._size, left : left + self._size]
        flip, transpose = int(rng.integers(4)), bool(rng.integers(2))
        window = window[:: -1 if flip & 1 else 1, :: -1 if flip & 2 else 1]
        if transpose:
            window = window.transpose(1, 0, 2)
        levels = np.arange(256).astype(np.uint8).view(np.int8).astype(np.float32)
        table = np.rint(levels * np.float32(sigma / NOISE_STEPS)).astype(np.int16)
        return cv2.LUT(np.ascontiguousarray(window).view(np.uint8), table)


def apply_effects(
    image: np.ndarray, effects: ScreenEffects, noise: NoiseTile, noise_sigma: float, rng: np.random.Generator
) -> np.ndarray:
    """Return ``contrast * image + brightness + deviation + noise``, rounded and clipped, uint8 (S, S, 3).

    Contrast scales grey levels from black, as alpha does in the usual alpha-beta form. ``noise_sigma`` is the
    standard deviation in grey levels of ISO noise at 100 %. Returns a new array.
    """
    out = image
    offsets = effects.brightness + np.asarray(effects.deviation)
    if effects.contrast != 1.0 or offsets.any():
        levels = np.arange(256)[:, None] * effects.contrast + offsets
        table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
        out = cv2.LUT(out, table[None])
    if effects.iso_noise > 0:
        out = cv2.add(out, noise.window(effects.iso_noise * noise_sigma, rng), dtype=cv2.CV_8U)
    return image.copy() if out is image else out
