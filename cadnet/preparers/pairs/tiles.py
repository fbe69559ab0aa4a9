"""Cutting photographs into tiles of one size."""

from __future__ import annotations

import cv2
import numpy as np


def starts(length: int, size: int, overlap: float) -> list[int]:
    """Return where tiles of ``size`` begin that cover ``length`` pixels, neighbours sharing at least
    ``overlap`` of a tile; the last is moved inside. A length within one tile gives [0]."""
    step = max(1, int(size * (1 - overlap)))
    last = max(0, length - size)
    return sorted({min(place, last) for place in range(0, last + step, step)})


def grid(width: int, height: int, size: int, overlap: float) -> list[tuple[str, int, int]]:
    """Return suffix, x and y of each tile, row by row; the suffix is empty where there is but one."""
    ys, xs = starts(height, size, overlap), starts(width, size, overlap)
    if len(ys) == len(xs) == 1:
        return [("", 0, 0)]
    return [(f"-r{row:02d}c{column:02d}", x, y) for row, y in enumerate(ys) for column, x in enumerate(xs)]


def padded(image: np.ndarray, size: int, value: int | None = None) -> np.ndarray:
    """Return ``image`` (H, W) or (H, W, 3), enlarged to the right and below to ``size`` where it is smaller.

    Added pixels are ``value``, or for None repeat the edge.
    """
    below, right = (max(0, size - side) for side in image.shape[:2])
    if not below and not right:
        return image
    if value is None:
        return cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)
    return cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT, value=value)


def reduced(image: np.ndarray, scale: float) -> np.ndarray:
    """Return a uint8 RGB image (H, W, 3) reduced by area."""
    return _resized(image, scale, cv2.INTER_AREA)


def reduced_mask(mask: np.ndarray, scale: float) -> np.ndarray:
    """Return a mask (H, W) reduced by nearest neighbour, taken at pixel centres as the image is."""
    return _resized(mask, scale, cv2.INTER_NEAREST_EXACT)


def reduced_size(width: int, height: int, scale: float) -> tuple[int, int]:
    """Return width and height of what :func:`reduced` gives."""
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resized(image: np.ndarray, scale: float, method: int) -> np.ndarray:
    size = reduced_size(image.shape[1], image.shape[0], scale)
    if size == (image.shape[1], image.shape[0]):
        return image
    return cv2.resize(image, size, interpolation=method)
