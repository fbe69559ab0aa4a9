"""Pixel masks of defects from their boxes and the difference to the clean board."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from cadnet.preparers.pku_pcb.layout import Box

MARGIN = 6
"""Pixels by which a defect may reach over its box."""
CONTRAST = 0.5
"""Fraction of its contrast that a defect's pixels reach: a blurred step has its edge at half its height."""
MOST_LEVEL = 40.0
"""Grey levels that always are a difference, so that a highlight does not hide the rest of its defect."""
KEPT_FRACTION = 0.15
"""Parts smaller than this fraction of the largest are no part of the defect."""
LEAST_COVERAGE, MOST_COVERAGE = 0.01, 0.9
"""Fractions of its box that a defect covers; others are not believed. The boxes of thin shorts hold 2.5 %."""
LEAST_PIXELS = 6
"""Fewer are a speck."""
PATCH = 64
"""Side in pixels of the patches that noise is measured on."""
PATCHES = 8
"""Patches along each axis."""
STEEPNESS = (0.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""Lower ends of the classes of edge steepness, in grey levels per pixel."""
LEAST_SD = 1.0
"""Grey levels below which no noise is believed: an exact copy would make every rounding a defect."""
_MAD = 1.4826
_MIN_PIXELS = 200
_THIN = (slice(None, None, 2), slice(None, None, 2))
"""Every other pixel of a patch: after blurring, neighbours are nearly equal."""


class Defect(NamedTuple):
    """One defect: its box, its mask and how that was found.

    ``mask`` is bool (h, w), ``window`` its slices (rows, columns) in the photograph. ``method`` is
    "difference" or "box" (filled). ``coverage``: fraction of the box; ``threshold`` in grey levels.
    """

    box: Box
    window: tuple[slice, slice]
    mask: np.ndarray
    method: str
    coverage: float
    threshold: float


class NoiseModel(NamedTuple):
    """Difference between a photograph and its board where there is no defect.

    ``gain`` and ``offset`` (3,): photograph = gain * board + offset in each channel; ``sd`` (steps, 3):
    robust standard deviation in grey levels of what is left after slight blurring, for each class of
    :data:`STEEPNESS`. Edges are noisier than flat areas the more the pair is misaligned.
    """

    gain: np.ndarray
    offset: np.ndarray
    sd: np.ndarray


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
        numbers[defect.window][defect.mask] = index
    return numbers


def _find(
    image: np.ndarray, board: np.ndarray, box: Box, noise: NoiseModel, threshold: float, closing: int
) -> Defect:
    top, left = max(box.y0 - MARGIN, 0), max(box.x0 - MARGIN, 0)
    bottom, right = min(box.y1 + MARGIN, image.shape[0]), min(box.x1 + MARGIN, image.shape[1])
    window = (slice(top, bottom), slice(left, right))
    inside = (slice(box.y0 - top, box.y1 - top), slice(box.x0 - left, box.x1 - left))
    deviations, levels = compare(image[window], board[window], noise)
    loud = deviations >= threshold
    level = _level(levels[inside][loud[inside]])
    mask = _shape(loud & (levels >= level), inside, closing)
    coverage = float(mask[inside].sum()) / box.area
    method = "difference"
    if not LEAST_COVERAGE <= coverage <= MOST_COVERAGE:
        mask = np.zeros_like(mask)
        mask[inside] = True
        method, coverage = "box", 1.0
    return Defect(box, window, mask, method, coverage, max(level, threshold * float(noise.sd[0].max())))


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
    # Parts only in the margin belong to something else.
    touching = np.bincount(parts[inside].ravel(), minlength=count) > 0
    areas[~touching] = 0
    areas[0] = 0
    kept = areas >= max(LEAST_PIXELS, KEPT_FRACTION * areas.max(initial=0))
    return kept[parts]


def measure_noise(image: np.ndarray, board: np.ndarray, boxes: Sequence[Box]) -> NoiseModel:
    """Estimate the noise of a photograph from patches that no box touches.

    Args:
        image, board: uint8 RGB (H, W, 3), aligned.
        boxes: where defects are; left out.
    """
    pairs = [(image[patch], board[patch]) for patch in _patches(image.shape, boxes)]
    gain, offset = _tone(pairs)
    differences, steps = [], []
    for patch, clean in pairs:
        differences.append(_difference(patch, clean, gain, offset)[_THIN].reshape(-1, 3))
        steps.append(_steepness(clean)[_THIN].ravel())
    left, step_of = np.concatenate(differences), np.concatenate(steps)
    sd = np.full((len(STEEPNESS), 3), LEAST_SD, np.float32)
    for step in range(len(STEEPNESS)):
        members = left[step_of == step]
        if len(members) >= _MIN_PIXELS:
            sd[step] = _MAD * np.median(np.abs(members), axis=0)
    # Steeper edges are never taken for quieter; this also fills the classes with too few pixels.
    return NoiseModel(gain, offset, np.maximum.accumulate(np.maximum(sd, LEAST_SD), axis=0))


def compare(image: np.ndarray, board: np.ndarray, noise: NoiseModel) -> tuple[np.ndarray, np.ndarray]:
    """Return the difference of two uint8 RGB crops (H, W, 3) as two float32 arrays (H, W).

    The first is in robust standard deviations, the second in grey levels; each is that of the channel which
    differs most.
    """
    difference = np.abs(_difference(image, board, noise.gain, noise.offset))
    deviations = difference / noise.sd[_steepness(board)]
    return deviations.max(axis=2), difference.max(axis=2)


def _patches(shape: tuple[int, ...], boxes: Sequence[Box]) -> list[tuple[slice, slice]]:
    """Slices of patches on a regular grid, without those that touch a box; all of them if none is left."""
    side_y, side_x = (min(PATCH, side) for side in shape[:2])
    rows = np.unique(np.linspace(0, shape[0] - side_y, PATCHES).astype(int))
    columns = np.unique(np.linspace(0, shape[1] - side_x, PATCHES).astype(int))
    corners = [(int(y), int(x)) for y in rows for x in columns]
    free = [
        (y, x)
        for y, x in corners
        if not any(b.x0 < x + side_x and x < b.x1 and b.y0 < y + side_y and y < b.y1 for b in boxes)
    ]
    return [(slice(y, y + side_y), slice(x, x + side_x)) for y, x in free or corners]


def _tone(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Gain and offset of each channel: a line through the median difference of each eighth of the tones."""
    images, boards = (np.concatenate([pair[k][_THIN].reshape(-1, 3) for pair in pairs]) for k in (0, 1))
    gain, offset = np.ones(3, np.float32), np.zeros(3, np.float32)
    for channel in range(3):
        seen, clean = images[:, channel].astype(np.int16), boards[:, channel]
        groups = [(clean // 32) == eighth for eighth in range(8)]
        groups = [group for group in groups if group.sum() >= _MIN_PIXELS]
        if not groups:
            continue
        tones = [float(np.mean(clean[group])) for group in groups]
        shifts = [float(np.median(seen[group] - clean[group])) for group in groups]
        if len(groups) < 2:
            offset[channel] = shifts[0]
            continue
        weights = np.sqrt([group.sum() for group in groups])
        slope, offset[channel] = np.polyfit(tones, shifts, 1, w=weights)
        gain[channel] = 1 + slope
    return gain, offset


def _difference(image: np.ndarray, board: np.ndarray, gain: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Signed, slightly blurred difference, float32 (H, W, 3)."""
    difference = image.astype(np.float32) - (board.astype(np.float32) * gain + offset)
    # 3 x 3 halves the noise of single pixels and moves no edge by more than half a pixel.
    return cv2.GaussianBlur(difference, (3, 3), 0)


def _steepness(board: np.ndarray) -> np.ndarray:
    """Index into :data:`STEEPNESS` of each pixel, (H, W): the steepest channel in its 3 x 3 neighbourhood."""
    blurred = cv2.GaussianBlur(board, (3, 3), 0)
    dx, dy = (cv2.Sobel(blurred, cv2.CV_32F, *order, ksize=3, scale=1 / 8) for order in ((1, 0), (0, 1)))
    steepest = np.maximum(np.abs(dx), np.abs(dy)).max(axis=2)
    steepest = cv2.dilate(steepest, np.ones((3, 3), np.uint8))
    return np.searchsorted(STEEPNESS, steepest, side="right") - 1
