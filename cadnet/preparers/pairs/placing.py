"""Bringing a photograph into its reference's frame."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cadnet.config import RegistrationParams
from cadnet.registration import align, register


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
    found = register(image, reference, params)
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
