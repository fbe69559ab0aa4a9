"""Alignments, and resampling an image and its mask by one into the reference's frame."""

from __future__ import annotations

from typing import Literal, NamedTuple

import cv2
import numpy as np

from cadnet.types import IGNORE_INDEX

Method = Literal["off", "identity", "translation", "affine", "homography", "features"]
"""Origin of a matrix: no alignment wanted ("off"), the pair was aligned already ("identity"), correlation of
the pixels under that motion model, or matched features refined by it."""


class Alignment(NamedTuple):
    """How an image is aligned with its reference.

    ``matrix``: float64 (3, 3), maps reference pixel coordinates (x, y, 1) to image coordinates.
    ``residual``: pixels of the reference by which the aligned pair is still apart, as measured on textured
    patches; the reference's diagonal where too little texture allows no measurement.
    ``confidence``: correlation of the aligned pair in 0..1, the median over textured patches.
    ``shift``: pixels by which the matrix moves the corner of the reference that it moves farthest.
    ``accepted``: residual, confidence and shift are within the limits of the parameters. With the model "off"
    only sizes must agree: the user states that the pair is aligned.
    """

    matrix: np.ndarray
    method: Method
    residual: float
    confidence: float
    shift: float
    accepted: bool


class Aligned(NamedTuple):
    """An image in its reference's frame.

    (H, W) is the reference's size. ``outside``: bool (H, W), True where the photograph shows nothing;
    ``image``: uint8 (H, W, 3), the reference's pixels there; ``mask``: uint8 (H, W), 255 there, or None.
    """

    image: np.ndarray
    mask: np.ndarray | None
    outside: np.ndarray


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
