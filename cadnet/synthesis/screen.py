"""The overall change sigma of Eq. 1 (paper Table 1, Fig. 5 e, f), and the frame around a display."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import cv2
import numpy as np

from cadnet.config import ScreenParams
from cadnet.synthesis.blend import REFERENCE_SIZE
from cadnet.synthesis.defects import pick

MOST_BEND = 1.5
"""Periods of a texture by which a lens bends it, at most, between the screen's middle and its sides."""


@dataclass(frozen=True)
class Texture:
    """A display's grid as a camera sees it: red, green and blue stripes, a third of a pitch apart, and rows.

    ``depth``: fraction of the brightness that is missing at the darkest; ``pitch``: pixels of the picture;
    ``tilt``: radians; ``start``: phases of columns and rows in periods; ``bend``: see :data:`MOST_BEND`.
    """

    depth: float
    pitch: float
    tilt: float
    start: tuple[float, float]
    bend: float


@dataclass(frozen=True)
class ScreenEffects:
    """Effects of one image; the defaults change nothing."""

    brightness: float = 0.0
    contrast: float = 1.0
    iso_noise: float = 0.0
    deviation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gamma: float = 1.0
    texture: Texture | None = None


def sample_effects(params: ScreenParams, rng: np.random.Generator) -> ScreenEffects:
    """Sample the effects of one image: each of the six occurs with ``params.probability``.

    A deviation raises or lowers some of the three channels by one amount; a shift that all three share is
    brightness and is sampled again.
    """
    happens = rng.random(6) < params.probability
    brightness, contrast = pick(params.brightness, rng), pick(params.contrast, rng)
    iso_noise, amount = pick(params.iso_noise, rng), pick(params.rgb_deviation, rng)
    signs = rng.integers(-1, 2, size=3)
    while signs.min() == signs.max():
        signs = rng.integers(-1, 2, size=3)
    gamma, depth, pitch = pick(params.gamma, rng), pick(params.texture, rng), pick(params.pitch, rng)
    tilt = np.radians(pick(params.tilt, rng))
    columns, rows, bend = rng.random(3)
    texture = Texture(depth, pitch, tilt, (columns, rows), MOST_BEND * (2 * bend - 1))
    return ScreenEffects(
        brightness if happens[0] else 0.0,
        contrast if happens[1] else 1.0,
        iso_noise if happens[2] else 0.0,
        (signs[0] * amount, signs[1] * amount, signs[2] * amount) if happens[3] else (0.0, 0.0, 0.0),
        gamma if happens[4] else 1.0,
        texture if happens[5] else None,
    )


def apply_effects(
    image: np.ndarray, effects: ScreenEffects, noise_sigma: float, rng: np.random.Generator
) -> np.ndarray:
    """Return ``contrast * texture * image ** gamma + brightness + deviation + noise``, uint8 (S, S, 3).

    The power is of grey levels in 0..1. Contrast scales grey levels from black, as alpha does in the usual
    alpha-beta form. ``noise_sigma`` is the standard deviation in grey levels of ISO noise at 100 %. Each step
    is rounded and clipped. Returns a new array.
    """
    levels = np.arange(256)
    tone = np.rint(255 * (levels / 255) ** effects.gamma).astype(np.uint8)
    offsets = effects.brightness + np.asarray(effects.deviation)
    gain = np.clip(np.rint(levels[:, None] * effects.contrast + offsets), 0, 255).astype(np.uint8)
    if effects.texture is None:
        out = cv2.LUT(image, gain[tone][None])
    else:
        out = cv2.multiply(cv2.LUT(image, tone), _texture(effects.texture, len(image)), scale=1 / 255)
        out = cv2.LUT(out, gain[None])
    if effects.iso_noise > 0:
        out = cv2.add(out, _noise(len(image), effects.iso_noise * noise_sigma, rng), dtype=cv2.CV_8U)
    return np.asarray(out)


def _texture(texture: Texture, size: int) -> np.ndarray:
    """Brightness of a screen's pixels, uint8 (size, size, 3), 255 being all of it.

    The camera takes one sample per pixel of the picture, so that a pitch below two of them turns into moire.
    Phases are kept in 1/256 of a period, in bytes whose overflow is the period.
    """
    along = np.arange(size) - (size - 1) / 2
    curve = texture.bend * (along / along[-1]) ** 2
    right = along * np.cos(texture.tilt) / texture.pitch
    down = along * np.sin(texture.tilt) / texture.pitch

    def bytes_of(periods: np.ndarray) -> np.ndarray:
        return np.floor(256 * (periods % 1)).astype(np.uint8).ravel()

    # Channels lie side by side, so that sums run along whole rows.
    stripes = bytes_of((right + curve + texture.start[0])[:, None] + np.arange(3) / 3)
    columns = bytes_of(down + curve)[:, None] + stripes
    rows = bytes_of(right + curve + texture.start[1])[:, None] + np.repeat(bytes_of(curve - down), 3)
    wave = 127.5 * (1 - texture.depth * (0.5 + 0.5 * np.cos(2 * np.pi * np.arange(256) / 256)))
    # A half rounded down and a half rounded up together reach 255.
    lower, upper = np.floor(wave + 0.25).astype(np.uint8), np.ceil(wave - 0.25).astype(np.uint8)
    return cv2.add(cv2.LUT(columns, lower), cv2.LUT(rows, upper)).reshape(size, size, 3)


@lru_cache(maxsize=1)
def _quantiles() -> np.ndarray:
    """The normal distribution as 256 equally likely values of mean 0 and deviation 1."""
    values = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)])
    return values / values.std()


def _noise(size: int, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Sensor noise of standard deviation ``sigma`` grey levels, int16 (size, size, 3), drawn for each sample.

    Two thirds of the variance is shared by the channels (luminance), the rest is colour noise. Random bytes
    through a table of quantiles take a quarter of the time that normal numbers take.
    """
    drawn = np.frombuffer(rng.bytes(4 * size * size), np.uint8).reshape(4, size, size)
    shared, own = (np.rint(_quantiles() * sigma * np.sqrt(part)).astype(np.int16) for part in (2 / 3, 1 / 3))
    luminance = cv2.LUT(drawn[0], shared)
    return np.asarray(cv2.merge([cv2.add(luminance, cv2.LUT(channel, own)) for channel in drawn[1:]]))


def frame(
    pattern: np.ndarray, params: ScreenParams, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Fit ``pattern``, uint8 RGB (S, S, 3), into a display with a sampled bezel and rounded corners.

    Returns the pattern at its place, its outermost pixels repeated below the bezel, and what bezel and
    corners hide, bool (S, S).
    """
    size = len(pattern)
    bezel, radius = (pick(values, rng) * size / REFERENCE_SIZE for values in (params.bezel, params.corner))
    edge = min(round(bezel), (size - 1) // 2)
    if edge:
        inner = cv2.resize(pattern, (size - 2 * edge, size - 2 * edge), interpolation=cv2.INTER_AREA)
        pattern = cv2.copyMakeBorder(inner, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
    # Distances from the middle beyond which a corner's arc, and the bezel, begin.
    distance = np.abs(np.arange(size) - (size - 1) / 2)
    beyond = np.maximum(distance - (size / 2 - edge - radius), 0) ** 2
    bezel_begins = distance > size / 2 - edge
    hidden = bezel_begins[:, None] | bezel_begins | (beyond[:, None] + beyond > radius**2)
    return pattern, hidden
