"""Defects that a window shows too little of."""

from __future__ import annotations

import cv2
import numpy as np

from cadnet.types import BACKGROUND, IGNORE_INDEX

LEAST_SHOWN = 0.1
"""Share of a defect below which what a window shows of it is ignored: nobody could tell its class."""


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

    def cut(self, x: int, y: int, size: int) -> np.ndarray:
        """Return the labels of the square of ``size`` pixels at (x, y), slivers of regions as 255."""
        place = (slice(y, y + size), slice(x, x + size))
        numbers = self._number[place]
        shown = np.bincount(numbers.ravel(), minlength=len(self._areas))
        slivers = (shown > 0) & (shown < LEAST_SHOWN * self._areas)
        slivers[0] = False
        labels = self._mask[place].copy()
        labels[slivers[numbers]] = IGNORE_INDEX
        return labels
