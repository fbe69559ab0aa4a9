"""Bringing pictures to the size at which a dataset stores them."""

from __future__ import annotations

import cv2
import numpy as np


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """Resize a uint8 image (H, W, 3) to (size, size, 3): by area when it shrinks, else cubic."""
    if image.shape[:2] == (size, size):
        return image
    shrinks = image.shape[0] * image.shape[1] > size * size
    way = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(image, (size, size), interpolation=way)


def resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Resize a uint8 label mask (H, W) to (size, size) by nearest neighbour, which makes no new labels."""
    if mask.shape == (size, size):
        return mask
    # The exact variant takes pixel centres, as the image's resizing does; the plain one is off by half one.
    return cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
