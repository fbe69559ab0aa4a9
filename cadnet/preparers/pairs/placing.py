"""Bringing a photograph into its reference's frame."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

from cadnet.config import RegistrationParams
from cadnet.registration import Registration, align, register

ESTIMATE_SIDE = 1536
"""Longest side in pixels at which the motion is estimated; it is carried over to larger photographs."""


class Placed(NamedTuple):
    """``image`` uint8 (H, W, 3) and ``mask`` uint8 (H, W) of the reference's size; manifest ``columns``."""

    image: np.ndarray
    mask: np.ndarray
    columns: dict[str, Any]


def place(image: np.ndarray, mask: np.ndarray, reference: np.ndarray, params: RegistrationParams) -> Placed:
    """Register a photograph and its mask to the reference and resample them.

    When the registration is not accepted they stay where they are: ``registered`` is False, and where the
    sizes differ the photograph is cut, or completed by the reference's pixels with 255 in the mask. With the
    model "off" nothing is done.
    """
    if params.model == "off":
        return Placed(image, mask, {})
    found = _estimate(image, reference, params)
    columns = {
        "registered": found.accepted,
        "registration": found.method,
        "residual": round(found.residual, 3),
        "confidence": round(found.confidence, 4),
    }
    if not found.accepted:
        if image.shape == reference.shape:
            return Placed(image, mask, columns)
        found = found._replace(matrix=np.eye(3))
    aligned = align(image, mask, reference, found)
    assert aligned.mask is not None
    return Placed(aligned.image, aligned.mask, columns)


def _estimate(image: np.ndarray, reference: np.ndarray, params: RegistrationParams) -> Registration:
    """Register on reduced copies where the pair is large; residual and matrix are of the full size."""
    factor = ESTIMATE_SIDE / max(*image.shape[:2], *reference.shape[:2])
    if factor >= 1:
        return register(image, reference, params)
    small_image, small_reference = (_reduce(picture, factor) for picture in (image, reference))
    limits = {"max_shift": params.max_shift * factor, "max_residual": params.max_residual * factor}
    found = register(small_image, small_reference, params.model_copy(update=limits))
    if np.array_equal(found.matrix, np.eye(3)) and image.shape == reference.shape:
        return found._replace(residual=found.residual / factor)
    matrix = (
        np.linalg.inv(_reduction(image, small_image)) @ found.matrix @ _reduction(reference, small_reference)
    )
    return found._replace(
        matrix=matrix / matrix[2, 2], residual=found.residual / factor, shift=found.shift / factor
    )


def _reduce(picture: np.ndarray, factor: float) -> np.ndarray:
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _reduction(picture: np.ndarray, small: np.ndarray) -> np.ndarray:
    """Matrix (3, 3) from pixel coordinates of a picture to those of its reduced copy; 0 is the first pixel's
    centre in both."""
    x, y = small.shape[1] / picture.shape[1], small.shape[0] / picture.shape[0]
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
