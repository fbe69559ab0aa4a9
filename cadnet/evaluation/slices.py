"""The same metrics on parts of the split: per pattern, board or category, by defect size and contrast."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cadnet.evaluation.contrast import contrast_names
from cadnet.evaluation.counts import Counts
from cadnet.evaluation.metrics import (
    ImageLevelMetrics,
    SegmentationMetrics,
    image_level_metrics,
    segmentation_metrics,
)

SLICE_COLUMNS = ("group", "subset", "has_defect")
"""Manifest columns that are sliced by when they hold more than one value."""
MOST_SLICES = 40
"""Columns of more values than this are not sliced by: photographs one by one are no parts to compare."""


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
        counts: what was scored; ``counts.index`` are row numbers of ``manifest``.
        manifest: the split's manifest, one row per image.
        defect_sizes: upper edges of the size classes, as shares of the image (:class:`EvaluateParams`).
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
    parts += slice_by_edges(counts, "defect size", defect_share(counts), defect_sizes, min_pixels)
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


def defect_share(counts: Counts) -> np.ndarray:
    """Share of each image's scored pixels that is truly defective, float64 (N,) in [0, 1]."""
    totals = counts.confusion.sum((1, 2))
    return counts.confusion[:, 1:].sum((1, 2)) / np.maximum(totals, 1)


def slice_by_column(counts: Counts, rows: pd.DataFrame, column: str, min_pixels: int = 1) -> list[Slice]:
    """One slice per value of ``rows[column]``, sorted by name."""
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
    place = np.where(np.isfinite(values), np.searchsorted(edges, values), -1)
    return [
        _slice(counts, "defect contrast", name, place == number, min_pixels)
        for number, name in enumerate(contrast_names(edges))
        if (place == number).any()
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
