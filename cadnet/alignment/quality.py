"""How well a pair is aligned, measured on textured patches outside large changes."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

from cadnet.alignment.levels import COARSE_SIDE, LIGHT_SIGMA, Level, enlarged

_SMOOTH = 1.5
"""Pixels (sigma) over which noise is averaged before pictures are compared."""
_STRIDE = 4
"""Every how many pixels exposures are compared."""
_OUTLIER = 5.0
"""Robust standard deviations by which a changed pixel differs."""
_MIN_DIFFERENCE = 15.0
"""Grey levels below which nothing counts as changed."""
_WIDTH = 9
"""Pixels that a change must measure across: displaced edges are thinner and must stay, to be seen."""
_MARGIN = 15
"""Side in pixels of the square by which changes are widened."""
_MAX_CHANGED = 1 / 3
"""Share of the overlap that may have changed; with more, the pair is misaligned or not one product."""


class Settled(NamedTuple):
    """An aligned pair, both in the reference's frame and compared where ``usable`` (bool, H, W) only."""

    level: Level
    usable: np.ndarray


def settle(level: Level, matrix: np.ndarray) -> Settled | None:
    """Align a level by the full-size motion ``matrix`` and leave large changes out.

    They are excluded also when slow changes of brightness are removed. None
    when more than a third has changed.
    """
    warped, inside = level.warped(level.to_level(matrix), grey=True)
    usable = inside & ~_changed(level.grey_reference, warped, inside)
    if usable.sum() <= (1 - _MAX_CHANGED) * inside.sum():
        return None
    reference, image = (_without_light(grey, usable) for grey in (level.grey_reference, warped))
    scale = level.reference_scale
    return Settled(Level(reference, image, level.grey_reference, warped, scale, scale), usable)


def _changed(reference: np.ndarray, image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    a, b = (cv2.GaussianBlur(picture, (0, 0), _SMOOTH) for picture in (reference, image))
    thin = (slice(None, None, _STRIDE), slice(None, None, _STRIDE))
    x, y = a[thin][inside[thin]], b[thin][inside[thin]]
    if not x.size:
        return np.zeros(inside.shape, bool)
    gain, offset, limit = 1.0, 0.0, np.inf
    kept = np.ones(x.shape, bool)
    for _ in range(3):
        # Exposure: the line through the grey levels of what has not changed.
        centred = x[kept] - x[kept].mean()
        variance = float(centred @ centred)
        gain = float(centred @ y[kept]) / variance if variance else 1.0
        difference = y - gain * x
        offset = float(np.median(difference[kept]))
        distance = np.abs(difference - offset)
        limit = max(_OUTLIER * 1.4826 * float(np.median(distance[kept])), _MIN_DIFFERENCE)
        kept = distance <= limit
    difference = np.abs(b - gain * a - offset)
    flagged = (inside & (difference > limit)).view(np.uint8)
    wide = cv2.morphologyEx(flagged, cv2.MORPH_OPEN, np.ones((_WIDTH, _WIDTH), np.uint8))
    return cv2.dilate(wide, np.ones((_MARGIN, _MARGIN), np.uint8)).astype(bool)


def _without_light(grey: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """The picture less its slow part, which is averaged over usable pixels only; zero elsewhere."""
    factor = min(1.0, COARSE_SIDE / max(grey.shape))
    size = max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor))
    weight = usable.astype(np.float32)
    total, covered = (
        cv2.GaussianBlur(cv2.resize(values, size, interpolation=cv2.INTER_AREA), (0, 0), LIGHT_SIGMA)
        for values in (grey * weight, weight)
    )
    return (grey - enlarged(total / np.maximum(covered, 1e-3), grey)) * weight


_CELLS = 7
"""Patches along each side: in each cell the best textured place is followed."""
_WINDOW = 31
"""Side in level pixels of a patch."""
_MIN_PATCHES = 6
"""With fewer, an affine misalignment cannot be distinguished from noise."""
_PERCENTILE = 80
"""Of the local displacements: a defect on one patch of five does not count as misalignment."""
_SAME = 0.5
"""Correlation of a followed patch with its reference below which it shows something else."""
_MAX_LOST = 1 / 3
"""Share of patches that may show something else; with more, the pair is taken to be misaligned there."""
_CONTRAST = 40.0
"""Grey levels per standard deviation of the pictures in which patches are followed."""
_MIN_CONTRAST = 1.0
"""Grey levels (standard deviation) below which a picture counts as blank."""
_MIN_TEXTURE = 0.05
"""Smaller eigenvalue of a patch's gradients, as a share of the upper quartile of all patches."""


class Quality(NamedTuple):
    """``residual`` in full pixels of the reference (None: too little texture); ``confidence`` in 0..1."""

    residual: float | None
    confidence: float


def measure(level: Level, matrix: np.ndarray, usable: np.ndarray | None = None) -> Quality:
    """Measure what remains between the pair after the full-size motion ``matrix``.

    ``usable``: bool of the level's reference, False where pixels are not compared.

    Residual: patches are followed from the reference to the aligned image (Lucas and Kanade); it is the 80th
    percentile of their displacements, or the displacement of a corner by the affine motion that explains them
    best where that is larger. Patches that are found nowhere are defects and left out while they are few;
    otherwise they count as far away. Confidence: median over the patches of the zero-mean normalised
    correlation, which neither brightness nor contrast nor a defect changes.
    """
    warped, inside = level.warped(level.to_level(matrix))
    inside = inside if usable is None else inside & usable
    reference, image = as_bytes(level.reference, inside), as_bytes(warped, inside)
    points = _textured_points(reference, inside)
    if len(points) < _MIN_PATCHES or not image.any():
        return Quality(None, 0.0)
    correlation = _local_correlation(reference, image)[points[:, 1], points[:, 0]]
    moved, same = _followed(reference, image, points)
    distance = np.linalg.norm(moved, axis=1)
    if (~same).mean() <= _MAX_LOST:
        points, moved, distance = points[same], moved[same], distance[same]
    typical = float(np.percentile(distance, _PERCENTILE))
    largest = max(typical, _corner_motion(points, moved, reference.shape))
    return Quality(largest * level.pixel, float(np.clip(np.median(correlation), 0, 1)))


def as_bytes(picture: np.ndarray, inside: np.ndarray | None = None) -> np.ndarray:
    """A level's picture at a fixed contrast as uint8; all zero when it shows nothing where ``inside``."""
    mask = None if inside is None else inside.view(np.uint8)
    mean, deviation = (float(value.item()) for value in cv2.meanStdDev(picture, mask=mask))
    if deviation < _MIN_CONTRAST:
        return np.zeros(picture.shape, np.uint8)
    gain = _CONTRAST / deviation
    return np.clip(picture * gain + (128 - mean * gain), 0, 255).astype(np.uint8)


def _followed(reference: np.ndarray, image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Displacements (N, 2) of patches, and whether each shows the same thing there (bool, N)."""
    start = points.astype(np.float32).reshape(-1, 1, 2)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 0.01)
    found, status, _ = cv2.calcOpticalFlowPyrLK(
        reference, image, start, start.copy(), winSize=(_WINDOW, _WINDOW), maxLevel=1, criteria=criteria
    )
    moved = (found - start).reshape(-1, 2).astype(np.float64)
    same = (status.ravel() > 0) & (np.linalg.norm(moved, axis=1) <= _WINDOW)
    # Patches that moved by less than a pixel count as found.
    for index in np.flatnonzero(same & (np.linalg.norm(moved, axis=1) > 1)):
        before = cv2.getRectSubPix(reference, (_WINDOW, _WINDOW), start[index, 0].tolist())
        after = cv2.getRectSubPix(image, (_WINDOW, _WINDOW), found[index, 0].tolist())
        same[index] = cv2.matchTemplate(before, after, cv2.TM_CCOEFF_NORMED)[0, 0] >= _SAME
    moved[~same] = _WINDOW / np.sqrt(2)
    return moved, same


def _textured_points(picture: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Whole (x, y) of the best textured patch in each cell, int (N, 2), weak and uncovered ones left out."""
    texture = cv2.boxFilter(cv2.cornerMinEigenVal(picture, 3), -1, (_WINDOW // 2, _WINDOW // 2))
    # A patch needs all its pixels within both pictures.
    covered = cv2.erode(
        inside.view(np.uint8),
        np.ones((_WINDOW, _WINDOW), np.uint8),
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    texture = np.where(covered > 0, texture, 0)
    rows = np.linspace(0, picture.shape[0], _CELLS + 1).astype(int)
    columns = np.linspace(0, picture.shape[1], _CELLS + 1).astype(int)
    points, strengths = [], []
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            cell = texture[top:bottom, left:right]
            if cell.size and cell.max() > 0:
                y, x = np.unravel_index(int(cell.argmax()), cell.shape)
                points.append((left + int(x), top + int(y)))
                strengths.append(float(cell[y, x]))
    if not points:
        return np.empty((0, 2), int)
    strong = np.array(strengths) >= _MIN_TEXTURE * np.percentile(strengths, 75)
    return np.array(points)[strong]


def _local_correlation(reference: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Zero-mean normalised correlation of the patch around each pixel, float32 (H, W) in -1..1."""
    a, b = reference.astype(np.float32), image.astype(np.float32)
    mean_a, mean_b = _mean(a), _mean(b)
    variance = (_mean(a * a) - mean_a**2).clip(0) * (_mean(b * b) - mean_b**2).clip(0)
    # One grey level of variance: a flat patch correlates with nothing.
    return (_mean(a * b) - mean_a * mean_b) / np.sqrt(variance + 1)


def _mean(values: np.ndarray) -> np.ndarray:
    return cv2.boxFilter(values, -1, (_WINDOW, _WINDOW))


def _corner_motion(points: np.ndarray, moved: np.ndarray, shape: tuple[int, ...]) -> float:
    """Largest displacement in a corner by the affine motion fitted to ``moved``, outliers weighted down."""
    if len(points) < _MIN_PATCHES:
        return float(_WINDOW)
    height, width = shape
    half = np.array([width, height]) / 2
    design = np.column_stack([(points - half) / half, np.ones(len(points))])
    weights = np.ones(len(points))
    for _ in range(5):
        fit, *_rest = np.linalg.lstsq(design * weights[:, None], moved * weights[:, None], rcond=1e-6)
        error = np.linalg.norm(moved - design @ fit, axis=1)
        # Cauchy weights on the scale of the median error.
        weights = 1 / np.sqrt(1 + (error / (2.5 * np.median(error) + 1e-3)) ** 2)
    corners = np.array([[-1, -1, 1], [1, -1, 1], [-1, 1, 1], [1, 1, 1]])
    return float(np.linalg.norm(corners @ fit, axis=1).max())
