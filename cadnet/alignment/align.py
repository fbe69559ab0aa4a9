"""Resampling an image and its mask into the reference's frame."""

from __future__ import annotations

import cv2
import numpy as np

from cadnet.alignment.result import Aligned, Alignment
from cadnet.types import IGNORE_INDEX


def align(image: np.ndarray, mask: np.ndarray | None, reference: np.ndarray, alignment: Alignment) -> Aligned:
    """Bring an image and its mask onto the reference by ``alignment.matrix``.

    Args:
        image: uint8 RGB (h, w, 3).
        mask: uint8 labels (h, w), or None.
        reference: uint8 RGB (H, W, 3).
        alignment: result for this pair, accepted or not.

    Colours are interpolated bicubically, labels keep their values (nearest neighbour). The identity and
    shifts by whole pixels change no value.

    Raises:
        ValueError: shapes or types are not as above.
    """
    check_picture("image", image)
    check_picture("reference", reference)
    if mask is not None and (mask.dtype != np.uint8 or mask.shape != image.shape[:2]):
        raise ValueError(
            f"mask has shape {mask.shape} and type {mask.dtype}, the image {image.shape}; "
            "give a uint8 mask of the image's height and width"
        )
    height, width = reference.shape[:2]
    matrix = alignment.matrix
    if image.shape == reference.shape and np.array_equal(matrix, np.eye(3)):
        kept = None if mask is None else mask.copy()
        return Aligned(image.copy(), kept, np.zeros((height, width), bool))
    nearest = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    size = (width, height)
    inside = cv2.warpPerspective(np.ones(image.shape[:2], np.uint8), matrix, size, flags=nearest)
    outside = inside == 0
    # Replicated so that pixels at the border are not mixed with black.
    warped = cv2.warpPerspective(
        image, matrix, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    warped[outside] = reference[outside]
    if mask is not None:
        mask = cv2.warpPerspective(
            mask, matrix, size, flags=nearest, borderMode=cv2.BORDER_CONSTANT, borderValue=IGNORE_INDEX
        )
        mask[outside] = IGNORE_INDEX
    return Aligned(warped, mask, outside)


def check_picture(name: str, picture: np.ndarray) -> None:
    """Raise ValueError unless ``picture`` is uint8 (H, W, 3) with at least one pixel."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
        raise ValueError(
            f"{name} has shape {picture.shape} and type {picture.dtype}; give uint8 RGB (H, W, 3), "
            "as cadnet.images.read_image does"
        )
