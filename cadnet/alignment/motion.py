"""Candidate motions: phase correlation over a fan of rotations, matched features, ECC from coarse to fine."""

from __future__ import annotations

from typing import Literal, NamedTuple

import cv2
import numpy as np

from cadnet.alignment.levels import Level
from cadnet.alignment.quality import as_bytes

Model = Literal["translation", "affine", "homography"]

_STEP = 2.0
"""Degrees between tried rotations; half of it is a pixel at the coarse level's border, in reach of ECC."""
_MAX_ROTATION = 12.0
"""Degrees; farther rotations are left to features."""
_PEAKS = 4
"""Highest peaks of phase correlation whose pixels are compared."""
_MIN_OVERLAP = 0.3
"""Share of the reference that an image must cover to be compared with it."""
_DISTINCT = 2.0
"""Pixels of the coarse level by which two starts must differ to be both worth a refinement."""
_ITERATIONS = (12, 3, 1)
"""ECC iterations of the coarse, the next and every further level: each starts where the last one ended."""
_MIN_DEPTH = 0.2
"""Smallest perspective depth of a corner; flat products stay far above."""
_MIN_DETERMINANT = 0.01
"""Share to which an area may shrink."""
_MOTIONS = {
    "translation": cv2.MOTION_TRANSLATION,
    "affine": cv2.MOTION_AFFINE,
    "homography": cv2.MOTION_HOMOGRAPHY,
}


class Start(NamedTuple):
    """A first guess: level motion (3, 3) and the correlation it gives."""

    matrix: np.ndarray
    correlation: float


def search(level: Level, model: Model, max_shift: float) -> list[Start]:
    """Find up to two starts on the coarse level, best first; the identity when nothing correlates.

    For each rotation that moves no corner by more than ``max_shift`` (full pixels) the translation is the
    peak of the phase correlation (Kuglin and Hines, 1975); correlation of the pixels ranks the best peaks.
    """
    height, width = level.reference.shape
    centre = (width - 1) / 2, (height - 1) / 2
    reach = max_shift / level.pixel
    radius = float(np.hypot(*centre))
    most = 0.0 if model == "translation" else min(_MAX_ROTATION, np.degrees(reach / max(radius, 1.0)))
    count = int(np.ceil(most / _STEP))
    peaks = []
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    for angle in np.arange(-count, count + 1) * _STEP:
        rotation = np.vstack([cv2.getRotationMatrix2D(centre, float(angle), 1.0), [0, 0, 1]])
        translation, response = _translation(level, rotation, window)
        matrix = rotation @ translation
        if np.hypot(*(matrix @ [*centre, 1.0])[:2] - np.array(centre)) <= reach + _DISTINCT:
            peaks.append((response, matrix))
    peaks.sort(key=lambda peak: -peak[0])
    motions = [np.eye(3), *(matrix for _, matrix in peaks[:_PEAKS])]
    starts = sorted((Start(m, _correlation(level, m)) for m in motions), key=lambda start: -start.correlation)
    others = [start for start in starts if _apart(start, starts[0], level) > _DISTINCT]
    return [starts[0], *others[:1]]


def refine(
    level: Level, matrix: np.ndarray, model: Model, step: int, unchanged: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """Refine a level motion by ECC (Evangelidis and Psarakis, 2008).

    ``step`` counts levels from the coarse one; ``unchanged``: uint8 of the size of the level's image, 0
    where pixels are not to be used. Returns the motion and its correlation, or ``matrix`` and -1 where ECC
    diverges.
    """
    # Perspective is below a pixel on the coarse level and would only follow the noise there.
    motion = _MOTIONS["affine" if model == "homography" and step == 0 else model]
    rows = 3 if motion == cv2.MOTION_HOMOGRAPHY else 2
    count = _ITERATIONS[min(step, len(_ITERATIONS) - 1)]
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, count, 1e-5)
    if unchanged is None:
        unchanged = np.ones(level.image.shape, np.uint8)
    start = np.ascontiguousarray(matrix[:rows], np.float32)
    try:
        correlation, found = cv2.findTransformECC(
            level.reference, level.image, start, motion, criteria, unchanged, 3
        )
    except cv2.error:
        return matrix, -1.0
    full = (np.vstack([found, [0, 0, 1]]) if rows == 2 else found).astype(np.float64)
    if not np.isfinite(correlation) or not is_plausible(full, level.reference.shape):
        return matrix, -1.0
    return full, float(correlation)


def is_plausible(matrix: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether a motion keeps all of a picture (H, W) in front of the camera and the right way round."""
    height, width = shape
    corners = np.array([[0, 0, 1], [width - 1, 0, 1], [0, height - 1, 1], [width - 1, height - 1, 1]])
    if not np.isfinite(matrix).all():
        return False
    return bool((corners @ matrix[2] > _MIN_DEPTH).all() and np.linalg.det(matrix) > _MIN_DETERMINANT)


def _translation(level: Level, rotation: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, float]:
    """The translation (3, 3) that follows ``rotation``, in level pixels of the reference, and its peak."""
    height, width = level.reference.shape
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    rotated = cv2.warpAffine(level.image, rotation[:2], (width, height), flags=flags)
    # A copy because OpenCV applies the window to its arguments in place.
    (x, y), response = cv2.phaseCorrelate(level.reference.copy(), rotated, window)
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]]), response


def _correlation(level: Level, matrix: np.ndarray) -> float:
    """Zero-mean normalised correlation where the pair overlaps; -1 for too little overlap or no contrast."""
    warped, inside = level.warped(matrix)
    if inside.mean() < _MIN_OVERLAP:
        return -1.0
    a, b = level.reference[inside], warped[inside]
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else -1.0


def _apart(start: Start, other: Start, level: Level) -> float:
    """Largest distance in level pixels between where two starts put the corners."""
    return displacement(start.matrix, other.matrix, level.reference.shape)


def displacement(matrix: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """Largest distance in pixels between where two motions put the corners of a picture (H, W)."""
    height, width = shape
    corners = np.array([[[0, 0]], [[width - 1, 0]], [[0, height - 1]], [[width - 1, height - 1]]], np.float64)
    moved = cv2.perspectiveTransform(corners, matrix) - cv2.perspectiveTransform(corners, other)
    return float(np.linalg.norm(moved, axis=2).max())


_RATIO = 0.8
"""Lowe's ratio: the best match must be this much closer than the next one."""
_MIN_INLIERS = 12
"""Fewer agree by chance on repetitive products."""
_FEATURES = 1500


def match(level: Level) -> np.ndarray | None:
    """Estimate the affine motion (3, 3) between the pictures of a level, at any rotation and scale.

    SIFT, mutual ratio test and MAGSAC++ (Barath et al., 2020). None when too few features agree.
    """
    detector = cv2.SIFT.create(nfeatures=_FEATURES)
    points_a, descriptors_a = detector.detectAndCompute(as_bytes(level.reference), None)
    points_b, descriptors_b = detector.detectAndCompute(as_bytes(level.image), None)
    if descriptors_a is None or descriptors_b is None or min(len(points_a), len(points_b)) < _MIN_INLIERS:
        return None
    # Square roots of normalised histograms: compares them as Hellinger does, at no cost (RootSIFT).
    a, b = (np.sqrt(d / np.maximum(d.sum(1, keepdims=True), 1e-6)) for d in (descriptors_a, descriptors_b))
    pairs = [
        (first.queryIdx, first.trainIdx)
        for first, second in cv2.BFMatcher(cv2.NORM_L2).knnMatch(a, b, k=2)
        if first.distance < _RATIO * second.distance
    ]
    if len(pairs) < _MIN_INLIERS:
        return None
    source = np.array([points_a[i].pt for i, _ in pairs], np.float32)
    target = np.array([points_b[j].pt for _, j in pairs], np.float32)
    found, inliers = cv2.estimateAffine2D(source, target, method=cv2.USAC_MAGSAC, ransacReprojThreshold=2.0)
    if found is None or int(inliers.sum()) < _MIN_INLIERS:
        return None
    matrix = np.vstack([found, [0, 0, 1]])
    return matrix if is_plausible(matrix, level.reference.shape) else None
