"""Label masks: colours of classes, and what a window shows of a defect."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from cadnet.types import BACKGROUND, IGNORE_INDEX

LEAST_SHOWN = 0.1
"""Fraction of a defect below which what a window shows of it is ignored: it could not be recognised."""

# Okabe and Ito's colours, which people with any colour vision distinguish; black is the background's.
_SAFE = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0),
    (204, 121, 167),
)  # fmt: skip
_GOLDEN = 0.618034


def palette(count: int) -> tuple[tuple[int, int, int], ...]:
    """Return ``count`` RGB colours: the colour-blind safe ones first, then hues by the golden angle."""
    more = []
    for index in range(count - len(_SAFE)):
        hue, light = (0.05 + index * _GOLDEN) % 1, (0.35, 0.65)[index % 2]
        red, green, blue = colorsys.hls_to_rgb(hue, light, 0.75)
        more.append((round(red * 255), round(green * 255), round(blue * 255)))
    return (*_SAFE[:count], *more)


def is_defective(labels: np.ndarray) -> bool:
    """Whether a label mask has a pixel of any defect class."""
    return bool(((labels != BACKGROUND) & (labels != IGNORE_INDEX)).any())


class Regions:
    """The connected regions of a label mask, uint8 (H, W); neighbours touch at corners too."""

    def __init__(self, mask: np.ndarray) -> None:
        self._mask = mask
        self._number = np.zeros(mask.shape, np.int32)
        total = 0
        for label in np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist():
            if label in (BACKGROUND, IGNORE_INDEX):
                continue
            count, parts = cv2.connectedComponents((mask == label).view(np.uint8), connectivity=8)
            self._number += np.where(parts > 0, parts + total, 0).astype(np.int32)
            total += count - 1
        self._areas = np.bincount(self._number.ravel(), minlength=total + 1)

    def cut(self, places: Sequence[tuple[int, int]], size: int) -> list[np.ndarray]:
        """Return the labels of the squares of ``size`` pixels at ``places`` (x, y), slivers as 255.

        A region of which no square shows ``LEAST_SHOWN`` counts as large as what the best one shows.
        """
        windows = [(slice(y, y + size), slice(x, x + size)) for x, y in places]
        parts = (self._number[window].ravel() for window in windows)
        shown = np.array([np.bincount(part, minlength=len(self._areas)) for part in parts])
        best = shown.max(axis=0)
        slivers = shown < LEAST_SHOWN * np.where(best < LEAST_SHOWN * self._areas, best, self._areas)
        slivers[:, 0] = False
        cuts = []
        for window, sliver in zip(windows, slivers, strict=True):
            labels = self._mask[window].copy()
            labels[sliver[self._number[window]]] = IGNORE_INDEX
            cuts.append(labels)
        return cuts
