"""Samples of the overlay sheet, chosen by a rule instead of by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cadnet.evaluation.counts import Counts
from cadnet.evaluation.metrics import iou_array

RULE = (
    "For each defect class, the images holding it are ranked by that class's IoU, averaged over all methods "
    "shown; the median, the worst, the best and the quartiles are taken in turn; the last slot goes to the "
    "clean image with most falsely marked pixels."
)
"""Printed under every sheet."""

QUANTILES = {"median": 0.5, "worst": 0.0, "best": 1.0, "lower quartile": 0.25, "upper quartile": 0.75}
"""Quantiles of the ranking by ascending IoU, in the order they are taken."""


@dataclass(frozen=True)
class Selection:
    """One chosen image: its row in the manifest and why it was chosen (for example ``line: median``)."""

    index: int
    reason: str


def select_samples(
    counts: Mapping[str, Counts], class_names: Sequence[str], limit: int
) -> tuple[Selection, ...]:
    """Choose at most ``limit`` images by :data:`RULE`; equal values fall to the lower row.

    Args:
        counts: per method, over the same images, so that no method's own view decides.
        class_names: the defect classes 1..K.
        limit: images wanted, at least 1; fewer when the split has fewer.

    Raises:
        ValueError: no methods, or methods that scored different images.
    """
    if not counts or len({part.index.tobytes() for part in counts.values()}) > 1:
        raise ValueError("samples can only be chosen from methods that scored the same images")
    first = next(iter(counts.values()))
    present = first.confusion.sum(2)[:, 1:] > 0
    iou = np.mean([iou_array(part.confusion)[:, 1:] for part in counts.values()], axis=0)
    ranked = [_ranking(iou[:, k], present[:, k]) for k in range(first.num_classes)]

    wanted = [
        (rows, quantile, f"{name}: {rank}")
        for rank, quantile in QUANTILES.items()
        for name, rows in zip(class_names, ranked, strict=True)
    ]
    false = np.mean([part.confusion[:, 0, 1:].sum(1) for part in counts.values()], axis=0)
    clean = _ranking(-false, ~present.any(1))
    wanted.insert(max(limit - 1, 1), (clean, 0.0, "clean: most false alarms"))

    chosen: dict[int, str] = {}
    for rows, quantile, reason in wanted:
        free = [row for row in rows if row not in chosen]
        if free and len(chosen) < limit:
            chosen[free[int(quantile * (len(free) - 1))]] = reason
    return tuple(Selection(int(first.index[row]), reason) for row, reason in chosen.items())


def _ranking(values: np.ndarray, keep: np.ndarray) -> list[int]:
    """Row numbers where ``keep``, by ascending value, ties by row."""
    rows = np.flatnonzero(keep)
    return [int(row) for row in rows[np.argsort(values[rows], kind="stable")]]
