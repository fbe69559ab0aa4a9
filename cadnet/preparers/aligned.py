"""Alignment of one pair, as the preparers record it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cadnet.alignment import Alignment, align, estimate_alignment
from cadnet.config import AlignmentParams
from cadnet.writing.units import shown


class AlignedPair(NamedTuple):
    """``image`` uint8 (H, W, 3) and ``mask`` uint8 (H, W) of the reference's size; manifest ``columns``."""

    image: np.ndarray
    mask: np.ndarray
    columns: dict[str, Any]


def align_pair(
    image: np.ndarray, mask: np.ndarray, reference: np.ndarray, params: AlignmentParams
) -> AlignedPair:
    """Align an image, uint8 RGB (H, W, 3), and its mask, uint8 (H, W), to the reference and resample them.

    When the alignment is not accepted they stay as they are: ``aligned`` is False, and where the
    sizes differ the image is cut, or completed by the reference's pixels with 255 in the mask. With the model
    "off" nothing is done, and there are no columns.
    """
    if params.model == "off":
        return AlignedPair(image, mask, {})
    found = estimate_alignment(image, reference, params)
    columns = alignment_columns(found)
    if not found.accepted:
        if image.shape == reference.shape:
            return AlignedPair(image, mask, columns)
        found = found._replace(matrix=np.eye(3))
    aligned = align(image, mask, reference, found)
    assert aligned.mask is not None
    return AlignedPair(aligned.image, aligned.mask, columns)


def alignment_columns(found: Alignment | None) -> dict[str, Any]:
    """Return the manifest columns ``aligned, alignment, residual, confidence``; none for None."""
    if found is None:
        return {}
    return {
        "aligned": found.accepted,
        "alignment": found.method,
        "residual": round(found.residual, 3),
        "confidence": round(found.confidence, 4),
    }


def failures_note(rows: list[dict[str, Any]]) -> list[str]:
    """Return a sentence that lists the samples whose alignment was not accepted; none when all were."""
    failed = [str(row["sample_id"]) for row in rows if row.get("aligned") is False]
    if not failed:
        return []
    names = shown(failed, 20)
    return [f"{len(failed)} of {len(rows)} samples could not be aligned and are kept as they are: {names}"]
