"""Registration of one pair, as the preparers record it."""

from __future__ import annotations

from typing import Any

import numpy as np

from cadnet.config import RegistrationParams
from cadnet.registration import align, register


def register_pair(
    image: np.ndarray, mask: np.ndarray, reference: np.ndarray, params: RegistrationParams
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Bring an image and its mask onto the reference, all of one size.

    Returns:
        image (H, W, 3), mask (H, W), and the manifest columns ``registered, registration, residual,
        confidence``. A pair whose registration is not accepted comes back as it was, with ``registered``
        False. With the model "off" there are no columns.
    """
    if params.model == "off":
        return image, mask, {}
    found = register(image, reference, params)
    columns = {
        "registered": found.accepted,
        "registration": found.method,
        "residual": round(found.residual, 3),
        "confidence": round(found.confidence, 4),
    }
    if not found.accepted:
        return image, mask, columns
    aligned = align(image, mask, reference, found)
    assert aligned.mask is not None
    return aligned.image, aligned.mask, columns


def failures_note(rows: list[dict[str, Any]]) -> list[str]:
    """Return a sentence that lists the samples whose registration was not accepted; none when all were."""
    failed = [str(row["sample_id"]) for row in rows if row.get("registered") is False]
    if not failed:
        return []
    shown = ", ".join(failed[:20]) + (f" and {len(failed) - 20} more" if len(failed) > 20 else "")
    return [f"{len(failed)} of {len(rows)} samples could not be registered and are kept as they are: {shown}"]
