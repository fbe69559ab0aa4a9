"""The same metrics on parts of the split: per pattern, board or category, by defect size and contrast."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd

from cadnet.evaluation.counts import Counts
from cadnet.evaluation.metrics import (
    ImageLevelMetrics,
    SegmentationMetrics,
    image_level_metrics,
    segmentation_metrics,
)
from cadnet.types import IGNORE_INDEX


def defect_contrast(
    images: np.ndarray, references: np.ndarray, reference_index: np.ndarray, masks: np.ndarray
) -> np.ndarray:
    """Return the contrast of the defects of each image, float64 (N,) in grey levels (-255 to 255).

    The mean absolute difference to the reference over the defect pixels and the three channels, minus the
    same over the background pixels: global changes by brightness, noise or misalignment are no contrast.
    Near 0, or below, pixel values do not distinguish a defect. NaN where an image has no defect
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
    """Return the edges of ``bins`` equally filled bins without NaN, rounded to a tenth of a grey level.

    Fewer than ``bins`` - 1 edges where values are equal; none when all are NaN.
    """
    known = contrast[np.isfinite(contrast)]
    if not len(known):
        return ()
    edges = np.quantile(known, np.arange(1, bins) / bins)
    return tuple(float(edge) for edge in np.unique(edges.round(1)))


def contrast_names(edges: Sequence[float]) -> tuple[str, ...]:
    """Return the names of the bins below, between and above the edges: one more than edges."""
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
    # The total in one pass without an array of differences; defects are few, the background is the rest.
    total = cv2.norm(pixels, clean, cv2.NORM_L1)
    apart = cv2.absdiff(pixels[:, marked], clean[:, marked])
    inside = float(apart[:, defect].mean())
    return inside - (total - float(apart.sum(dtype=np.int64))) / (3 * background)


SLICE_COLUMNS = ("group", "subset", "has_defect")
"""Manifest columns that are sliced by when they hold more than one value."""
MOST_SLICES = 40
"""Columns of more values than this are not sliced by: single photographs are no slices."""


@dataclass(frozen=True)
class Slice:
    """The metrics of the images for which ``by`` is ``name``."""

    by: str
    name: str
    metrics: SegmentationMetrics
    image_level: ImageLevelMetrics


def all_slices(
    counts: Counts,
    manifest: pd.DataFrame,
    defect_sizes: Sequence[float],
    min_pixels: int = 1,
    *,
    contrast: np.ndarray | None = None,
    contrast_edges: Sequence[float] = (),
) -> tuple[Slice, ...]:
    """Slice by every column of :data:`SLICE_COLUMNS` that varies, then by defect size and contrast.

    Args:
        counts: of the scored images; ``counts.index`` are row numbers of ``manifest``.
        manifest: the split's manifest, one row per image.
        defect_sizes: upper edges of the size classes, as fractions of the image (:class:`EvaluateParams`).
        min_pixels: predicted defect pixels from which an image is judged defective.
        contrast: of each row of ``manifest``, grey levels, NaN for none; None leaves contrast out.
        contrast_edges: upper edges of the contrast classes, grey levels.

    Raises:
        ValueError: ``manifest`` has no such rows, or the edges do not ascend.
    """
    rows = scored_rows(counts, manifest)
    parts = [
        part
        for column in SLICE_COLUMNS
        if column in rows and 1 < rows[column].nunique(dropna=False) <= MOST_SLICES
        for part in slice_by_column(counts, rows, column, min_pixels)
    ]
    parts += slice_by_edges(counts, "defect size", defect_fraction(counts), defect_sizes, min_pixels)
    if contrast is not None:
        parts += slice_by_contrast(counts, contrast[counts.index], contrast_edges, min_pixels)
    return tuple(parts)


def scored_rows(counts: Counts, manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the manifest's rows of the scored images, in the order of ``counts.index``.

    Raises:
        ValueError: an index is no row of ``manifest``: counts and manifest belong to different splits.
    """
    if counts.num_images and int(counts.index.max()) >= len(manifest):
        raise ValueError(
            f"image {int(counts.index.max())} was scored, but the manifest has {len(manifest)} rows; "
            "pass the manifest of the split that was evaluated"
        )
    return manifest.iloc[counts.index]


def defect_fraction(counts: Counts) -> np.ndarray:
    """Return the fraction of each image's scored pixels that is truly defective, float64 (N,) in [0, 1]."""
    totals = counts.confusion.sum((1, 2))
    return counts.confusion[:, 1:].sum((1, 2)) / np.maximum(totals, 1)


def slice_by_column(counts: Counts, rows: pd.DataFrame, column: str, min_pixels: int = 1) -> list[Slice]:
    """Return one slice per value of ``rows[column]``, sorted by name."""
    values = rows[column].astype(str).to_numpy()
    return [
        _slice(counts, column, str(name), values == name, min_pixels)
        for name in np.unique(values.astype(str))
    ]


def slice_by_edges(
    counts: Counts, by: str, values: np.ndarray, edges: Sequence[float], min_pixels: int = 1
) -> list[Slice]:
    """Slices of ``values`` (N,) in (0, first edge], (first, second], ..., above the last, but no empty ones.

    Values of 0 (images without a defect) belong to no slice. Names are percentages.

    Raises:
        ValueError: the edges do not ascend or are not positive.
    """
    bounds = [0.0, *edges, np.inf]
    if any(low >= high for low, high in itertools.pairwise(bounds)):
        raise ValueError(f"edges must be positive and ascend, got {tuple(edges)}")
    named = ((name, (values > low) & (values <= high)) for name, low, high in _ranges(bounds))
    return [_slice(counts, by, name, keep, min_pixels) for name, keep in named if keep.any()]


def slice_by_contrast(
    counts: Counts, values: np.ndarray, edges: Sequence[float], min_pixels: int = 1
) -> list[Slice]:
    """Slices of ``values`` (N,), grey levels, up to and including each edge, but no empty ones; NaN in none.

    Raises:
        ValueError: the edges do not ascend.
    """
    if any(low >= high for low, high in itertools.pairwise(edges)):
        raise ValueError(f"edges must ascend, got {tuple(edges)}")
    bin_index = np.where(np.isfinite(values), np.searchsorted(edges, values), -1)
    return [
        _slice(counts, "defect contrast", name, bin_index == number, min_pixels)
        for number, name in enumerate(contrast_names(edges))
        if (bin_index == number).any()
    ]


def _ranges(bounds: Sequence[float]) -> Iterator[tuple[str, float, float]]:
    for low, high in itertools.pairwise(bounds):
        if low == 0:
            name = f"up to {100 * high:g} %" if np.isfinite(high) else "any"
        else:
            name = f"{100 * low:g} to {100 * high:g} %" if np.isfinite(high) else f"above {100 * low:g} %"
        yield name, low, high


def _slice(counts: Counts, by: str, name: str, keep: np.ndarray, min_pixels: int) -> Slice:
    part = counts.subset(counts.index[keep])
    return Slice(by, name, segmentation_metrics(part), image_level_metrics(part, min_pixels))
