"""An aligned pair without its large changes, such as the empty corners of a rotated photograph."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from cadnet.alignment.levels import COARSE_SIDE, LIGHT_SIGMA, Level, enlarged

_SMOOTH = 1.5
"""Pixels (sigma) over which noise is averaged before pictures are compared."""
_STRIDE = 4
"""Every how many pixels exposures are compared."""
_OUTLIER = 5.0
"""Robust standard deviations by which a changed pixel differs."""
_MIN_DIFFERENCE = 15.0
"""Grey levels below which nothing counts as changed."""
_WIDTH = 9
"""Pixels that a change must measure across: displaced edges are thinner and must stay, to be seen."""
_MARGIN = 15
"""Side in pixels of the square by which changes are widened."""
_MAX_CHANGED = 1 / 3
"""Share of the overlap that may have changed; with more, the pair is misaligned or not one product."""


class Settled(NamedTuple):
    """An aligned pair, both in the reference's frame and compared where ``usable`` (bool, H, W) only."""

    level: Level
    usable: np.ndarray


def settle(level: Level, matrix: np.ndarray) -> Settled | None:
    """Align a level by the full-size motion ``matrix`` and leave large changes out.

    They neither take part nor shine into their surroundings when slow changes of brightness are removed. None
    when more than a third has changed.
    """
    warped, inside = level.warped(level.to_level(matrix), grey=True)
    usable = inside & ~_changed(level.grey_reference, warped, inside)
    if usable.sum() <= (1 - _MAX_CHANGED) * inside.sum():
        return None
    reference, image = (_without_light(grey, usable) for grey in (level.grey_reference, warped))
    scale = level.reference_scale
    return Settled(Level(reference, image, level.grey_reference, warped, scale, scale), usable)


def _changed(reference: np.ndarray, image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    a, b = (cv2.GaussianBlur(picture, (0, 0), _SMOOTH) for picture in (reference, image))
    thin = (slice(None, None, _STRIDE), slice(None, None, _STRIDE))
    x, y = a[thin][inside[thin]], b[thin][inside[thin]]
    if not x.size:
        return np.zeros(inside.shape, bool)
    gain, offset, limit = 1.0, 0.0, np.inf
    kept = np.ones(x.shape, bool)
    for _ in range(3):
        # Exposure: the line through the grey levels of what has not changed.
        centred = x[kept] - x[kept].mean()
        variance = float(centred @ centred)
        gain = float(centred @ y[kept]) / variance if variance else 1.0
        difference = y - gain * x
        offset = float(np.median(difference[kept]))
        distance = np.abs(difference - offset)
        limit = max(_OUTLIER * 1.4826 * float(np.median(distance[kept])), _MIN_DIFFERENCE)
        kept = distance <= limit
    difference = np.abs(b - gain * a - offset)
    flagged = (inside & (difference > limit)).view(np.uint8)
    wide = cv2.morphologyEx(flagged, cv2.MORPH_OPEN, np.ones((_WIDTH, _WIDTH), np.uint8))
    return cv2.dilate(wide, np.ones((_MARGIN, _MARGIN), np.uint8)).astype(bool)


def _without_light(grey: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """The picture less its slow part, which is averaged over usable pixels only; zero elsewhere."""
    factor = min(1.0, COARSE_SIDE / max(grey.shape))
    size = max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor))
    weight = usable.astype(np.float32)
    total, share = (
        cv2.GaussianBlur(cv2.resize(values, size, interpolation=cv2.INTER_AREA), (0, 0), LIGHT_SIGMA)
        for values in (grey * weight, weight)
    )
    return (grey - enlarged(total / np.maximum(share, 1e-3), grey)) * weight
