"""How much a defect stands out from its reference, measured on the pixels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import cv2
import numpy as np

from cadnet.types import IGNORE_INDEX


def defect_contrast(
    images: np.ndarray, references: np.ndarray, reference_index: np.ndarray, masks: np.ndarray
) -> np.ndarray:
    """Contrast of the defects of each image, float64 (N,) in grey levels (-255 to 255).

    The mean absolute difference to the reference over the defect pixels and the three channels, minus the
    same over the background pixels: what brightness, noise or misalignment change everywhere is no contrast.
    Near 0, or below, a defect is not told apart by its pixels' values. NaN where an image has no defect
    pixels or no background; ignored pixels count for neither.

    Args:
        images: uint8 (N, 3, H, W).
        references: uint8 (R, 3, H, W).
        reference_index: int (N,), the row of ``references`` that belongs to each image.
        masks: uint8 (N, H, W), 0 background, 1..K defects, 255 ignored.

    Raises:
        ValueError: the shapes do not fit together.
    """
    if (
        images.shape[0] != len(masks)
        or images.shape[2:] != masks.shape[1:]
        or len(reference_index) != len(masks)
    ):
        raise ValueError(
            f"images {images.shape}, masks {masks.shape} and {len(reference_index)} references do not fit"
        )
    return np.array(
        [_contrast(images[i], references[reference_index[i]], masks[i]) for i in range(len(masks))],
        dtype=np.float64,
    )


def contrast_edges(contrast: np.ndarray, bins: int) -> tuple[float, ...]:
    """Edges of ``bins`` equally filled bins of what is not NaN, to a tenth of a grey level.

    Fewer than ``bins`` - 1 edges where values are alike; none when nothing is defined.
    """
    known = contrast[np.isfinite(contrast)]
    if not len(known):
        return ()
    edges = np.quantile(known, np.arange(1, bins) / bins)
    return tuple(float(edge) for edge in np.unique(edges.round(1)))


def contrast_names(edges: Sequence[float]) -> tuple[str, ...]:
    """Names of the bins up to the first edge, between two, and above the last: one more than edges."""
    if not edges:
        return ("any",)
    between = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges)]
    return (f"up to {edges[0]:g}", *between, f"above {edges[-1]:g}")


def _contrast(image: np.ndarray, reference: np.ndarray, mask: np.ndarray) -> float:
    marked = np.flatnonzero(mask)
    labels = mask.reshape(-1)[marked]
    defect = labels != IGNORE_INDEX
    background = mask.size - len(marked)
    if not defect.any() or background == 0:
        return float("nan")
    pixels, clean = (np.asarray(array).reshape(3, -1) for array in (image, reference))
    # The whole in one pass without an array of differences; defects are few, so the rest is what is left.
    total = cv2.norm(pixels, clean, cv2.NORM_L1)
    apart = cv2.absdiff(pixels[:, marked], clean[:, marked])
    inside = float(apart[:, defect].mean())
    return inside - (total - float(apart.sum(dtype=np.int64))) / (3 * background)
