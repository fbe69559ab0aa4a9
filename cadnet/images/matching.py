"""How much an image looks like a reference, for choosing the reference it is compared with.

Both measures look at copies of 64 x 64 pixels. Preparing ranks the references of one product by
:func:`nearest`; prediction, which must refuse an image of another product, by :func:`difference`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

_SIDE = 64
"""Pixels of the small copies that are compared."""
_BLUR = 1.5
"""Standard deviation in their pixels."""
_REACH = 6
"""Their pixels, a tenth of the picture's side, by which a photograph may be shifted."""


class Nearest(NamedTuple):
    """``position`` among the candidates, and the distance 0..2 of the chosen one."""

    position: int
    distance: float


class Appearance(NamedTuple):
    """An image reduced to what is compared.

    ``colours``: smoothed RGB, float32 (64, 64, 3) in 0..255; ``structure``: see :func:`signature`.
    """

    colours: np.ndarray
    structure: np.ndarray


def signature(image: np.ndarray) -> np.ndarray:
    """Return a small blurred grey copy, float32 (64, 64) with mean 0 and norm 1 (0 for a blank picture).

    Args:
        image: uint8 RGB (H, W, 3).
    """
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    grey: np.ndarray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey = cv2.GaussianBlur(grey, (0, 0), _BLUR, borderType=cv2.BORDER_REPLICATE)
    grey -= grey.mean()
    norm = float(np.linalg.norm(grey))
    # A blank picture's rounding noise is no pattern.
    return grey / np.float32(norm) if norm > 1.0 else np.zeros((_SIDE, _SIDE), np.float32)


def nearest(image: np.ndarray, candidates: Sequence[np.ndarray]) -> Nearest:
    """Return which signature is closest to that of the image; the first of equals wins.

    Brightness, contrast and small shifts do not count: the distance of two vectors of norm 1 follows from
    their correlation, which is taken at the best shift.

    Args:
        image: float32 (64, 64), see :func:`signature`.
        candidates: signatures, at least one.
    """
    spectrum = np.fft.rfft2(image)
    distances = []
    for other in candidates:
        correlation = np.fft.irfft2(spectrum * np.conj(np.fft.rfft2(other)), s=other.shape)
        best = float(np.roll(correlation, (_REACH, _REACH), (0, 1))[: 2 * _REACH + 1, : 2 * _REACH + 1].max())
        distances.append(round(float(np.sqrt(max(0.0, 2 - 2 * best))), 4))
    position = int(np.argmin(distances))
    return Nearest(position, distances[position])


def appearance(image: np.ndarray) -> Appearance:
    """Reduce an image, uint8 RGB (H, W, 3), to what :func:`difference` compares."""
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    colours = cv2.GaussianBlur(small.astype(np.float32), (0, 0), _BLUR, borderType=cv2.BORDER_REPLICATE)
    return Appearance(colours, signature(small))


def difference(image: Appearance, reference: Appearance) -> float:
    """Return by how many grey levels two images differ as wholes; 0 is equal.

    The mean absolute difference of the colours, times the distance of the structures (0 equal, 1 unrelated),
    to which brightness, contrast and small shifts do not count. So another exposure of one product gives
    little, as does a flat product with a defect; another product gives much. Blank images have no structure
    and count as unrelated.
    """
    levels = float(np.abs(image.colours - reference.colours).mean())
    return levels * nearest(image.structure, [reference.structure]).distance / math.sqrt(2)
