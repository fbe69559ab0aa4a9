"""Pixel masks of defects from their boxes and the clean board."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from cadnet.preparers.pku_pcb.annotations import Box
from cadnet.preparers.pku_pcb.difference import NoiseModel, compare, measure_noise

MARGIN = 6
"""Pixels by which a defect may reach over its box."""
CONTRAST = 0.5
"""Share of its own contrast that a defect's pixels reach: a blurred step has its edge at half its height."""
MOST_LEVEL = 40.0
"""Grey levels that always are a difference, so that a highlight does not hide the rest of its defect."""
KEPT_SHARE = 0.15
"""Parts smaller than this share of the largest are no part of the defect."""
LEAST_COVERAGE, MOST_COVERAGE = 0.01, 0.9
"""Shares of its box that a defect covers; others are not believed. The boxes of thin shorts hold 2.5 %."""
LEAST_PIXELS = 6
"""Fewer are a speck."""


class Defect(NamedTuple):
    """One defect: its box, where its mask lies, and how the mask was found.

    ``mask`` is bool, ``place`` its slices (rows, columns) in the photograph. ``method`` is "difference" or
    "box" (filled). ``coverage``: share of the box; ``threshold`` in grey levels.
    """

    box: Box
    place: tuple[slice, slice]
    mask: np.ndarray
    method: str
    coverage: float
    threshold: float


def find_defects(
    image: np.ndarray, board: np.ndarray, boxes: Sequence[Box], threshold: float, closing: int
) -> list[Defect]:
    """Derive the mask of each box.

    A pixel is defective where it differs from the board by ``threshold`` robust standard deviations of this
    photograph's noise, and by half of the defect's own contrast. Small gaps are closed, enclosed holes
    filled, specks dropped. Where nothing plausible is left the box itself is the mask.

    Args:
        image, board: uint8 RGB (H, W, 3), aligned.
        boxes: inside the image.
        threshold: in robust standard deviations.
        closing: side in pixels of the closing square.
    """
    noise = measure_noise(image, board, boxes)
    return [_find(image, board, box, noise, threshold, closing) for box in boxes]


def number(shape: tuple[int, int], defects: Sequence[Defect]) -> np.ndarray:
    """Return the numbers 1.. of the defects that a photograph's pixels belong to, uint8 (H, W), 0 for none.

    Where defects overlap the smaller one is seen, or of equal ones the later.
    """
    numbers = np.zeros(shape, np.uint8)
    order = sorted(enumerate(defects, start=1), key=lambda item: (-int(item[1].mask.sum()), item[0]))
    for index, defect in order:
        numbers[defect.place][defect.mask] = index
    return numbers


def _find(
    image: np.ndarray, board: np.ndarray, box: Box, noise: NoiseModel, threshold: float, closing: int
) -> Defect:
    top, left = max(box.y0 - MARGIN, 0), max(box.x0 - MARGIN, 0)
    bottom, right = min(box.y1 + MARGIN, image.shape[0]), min(box.x1 + MARGIN, image.shape[1])
    place = (slice(top, bottom), slice(left, right))
    inside = (slice(box.y0 - top, box.y1 - top), slice(box.x0 - left, box.x1 - left))
    deviations, levels = compare(image[place], board[place], noise)
    loud = deviations >= threshold
    level = _level(levels[inside][loud[inside]])
    mask = _shape(loud & (levels >= level), inside, closing)
    coverage = float(mask[inside].sum()) / box.area
    method = "difference"
    if not LEAST_COVERAGE <= coverage <= MOST_COVERAGE:
        mask = np.zeros_like(mask)
        mask[inside] = True
        method, coverage = "box", 1.0
    return Defect(box, place, mask, method, coverage, max(level, threshold * float(noise.sd[0].max())))


def _level(levels: np.ndarray) -> float:
    """Grey levels a defect's pixels reach, from those of its box that are not noise."""
    if levels.size < LEAST_PIXELS:
        return 0.0
    return min(CONTRAST * float(np.percentile(levels, 90)), MOST_LEVEL)


def _shape(seen: np.ndarray, inside: tuple[slice, slice], closing: int) -> np.ndarray:
    """Close gaps, fill holes, and keep the parts that belong to the defect of the box ``inside``."""
    padded = np.pad(seen.astype(np.uint8), closing)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((closing, closing), np.uint8))
    outlines, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(closed, outlines, -1, 1, cv2.FILLED)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(
        closed[closing:-closing, closing:-closing], connectivity=8
    )
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    # Parts that only lie in the margin belong to something else.
    touching = np.bincount(parts[inside].ravel(), minlength=count) > 0
    areas[~touching] = 0
    areas[0] = 0
    kept = areas >= max(LEAST_PIXELS, KEPT_SHARE * areas.max(initial=0))
    return kept[parts]
