"""Images and label masks at another size, or scaled down by a factor."""

from __future__ import annotations

import cv2
import numpy as np


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """Resize a uint8 image (H, W, 3) to (size, size, 3): by area when it shrinks, else cubic."""
    if image.shape[:2] == (size, size):
        return image
    shrinks = image.shape[0] * image.shape[1] > size * size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Resize a uint8 label mask (H, W) to (size, size) by nearest neighbour, which makes no new labels."""
    if mask.shape == (size, size):
        return mask
    # The exact variant takes pixel centres, as the image's resizing does; the plain one is off by half one.
    return cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)


def scaled_size(width: int, height: int, scale: float) -> tuple[int, int]:
    """Return width and height in pixels after scaling by ``scale`` in (0, 1]."""
    return max(1, round(width * scale)), max(1, round(height * scale))


def scale_image(image: np.ndarray, scale: float) -> np.ndarray:
    """Return a uint8 RGB image (H, W, 3) scaled down by area."""
    return _scaled(image, scale, cv2.INTER_AREA)


def scale_mask(mask: np.ndarray, scale: float) -> np.ndarray:
    """Return a label mask (H, W) scaled down by nearest neighbour, taken at pixel centres as the image is."""
    return _scaled(mask, scale, cv2.INTER_NEAREST_EXACT)


def _scaled(image: np.ndarray, scale: float, method: int) -> np.ndarray:
    size = scaled_size(image.shape[1], image.shape[0], scale)
    if size == (image.shape[1], image.shape[0]):
        return image
    return cv2.resize(image, size, interpolation=method)
