"""Motion from matched features, for pairs that lie too far apart for correlation."""

from __future__ import annotations

import cv2
import numpy as np

from cadnet.alignment.correlate import is_plausible
from cadnet.alignment.levels import Level
from cadnet.alignment.quality import as_bytes

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
