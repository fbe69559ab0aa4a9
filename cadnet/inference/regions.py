"""From probabilities to defects."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from cadnet.inference.prediction import Defect


def decide(maps: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Return labels, uint8 (H, W), and the probability of any defect, float32 (H, W) in 0..1.

    A pixel is a defect where that probability exceeds ``threshold``, and then of the likeliest class, of
    equally likely ones the first.

    Args:
        maps: float32 (K, H, W), the probability of each defect class.
        threshold: in (0, 1).
    """
    probability = np.clip(maps.sum(axis=0), 0, 1)
    labels = np.where(probability > threshold, maps.argmax(axis=0) + 1, 0).astype(np.uint8)
    return labels, probability


def find_defects(
    labels: np.ndarray, probability: np.ndarray, class_names: Sequence[str]
) -> tuple[Defect, ...]:
    """Return the connected pieces of each class, corners touching included, largest first.

    Args:
        labels: uint8 (H, W) in 0..K.
        probability: float32 (H, W) of any defect.
        class_names: of the classes 1..K.
    """
    found = []
    for label, name in enumerate(class_names, start=1):
        mask = (labels == label).view(np.uint8)
        if not mask.any():
            continue
        count, pieces, stats, centroids = cv2.connectedComponentsWithStats(mask, connectivity=8)
        inside = pieces > 0
        total = np.bincount(pieces[inside], weights=probability[inside], minlength=count)
        for piece in range(1, count):
            x, y, width, height, area = (int(value) for value in stats[piece])
            centroid = float(centroids[piece][0]), float(centroids[piece][1])
            box = x, y, x + width, y + height
            found.append(Defect(name, box, area, float(total[piece] / area), centroid))
    return tuple(sorted(found, key=lambda defect: (-defect.area, defect.box, defect.class_name)))
