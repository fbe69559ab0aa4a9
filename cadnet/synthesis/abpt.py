"""Abnormal points: clusters of edge points of a thresholded clean screen (paper, "Synthetic LCD defect dataset")."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cadnet.config import AbptParams
from cadnet.synthesis.blend import TAIL, choose_color, fuse_region
from cadnet.synthesis.line import REFERENCE_SIZE, pick

SAMPLED_POINTS = 1000
"""Edge points that K-means works on; more would change nothing but the time."""
KMEANS_STEPS = 8
SUBPIXEL = 4
"""Fractional bits of the coordinates that dots are drawn with."""


@dataclass(frozen=True)
class AbptDefect:
    """An abnormal-point defect as drawn: ``points`` (n, 2) are x, y of its dots, ``diameter`` their pixels."""

    points: np.ndarray
    diameter: float
    opacity: float
    color: tuple[int, int, int]


def edge_points(image: np.ndarray, threshold: float) -> np.ndarray:
    """Return the edge points of the segmentation ``grey > threshold`` as int32 (n, 2) x, y in row order.

    A point is a bright pixel with a dark one among its eight neighbours; the screen's frame is no edge.
    """
    bright = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) > threshold).astype(np.uint8)
    edges = cv2.morphologyEx(bright, cv2.MORPH_ERODE, np.ones((3, 3), np.uint8)) != bright
    rows, columns = np.nonzero(edges)
    return np.stack((columns, rows), axis=1).astype(np.int32)


class EdgePoints:
    """Edge points of the clean patterns for every threshold, found once each."""

    def __init__(self, patterns: dict[str, np.ndarray], params: AbptParams) -> None:
        self._patterns = patterns
        self._range = params.grey_threshold
        self._found: dict[tuple[str, int], np.ndarray] = {}

    def draw(self, pattern: str, rng: np.random.Generator) -> np.ndarray:
        """Return the edge points of ``pattern`` at a random threshold, or at the next one that has any.

        Raises:
            ValueError: the pattern has no edge at any threshold.
        """
        first = int(rng.integers(self._range.count))
        for i in range(self._range.count):
            index = (first + i) % self._range.count
            key = (pattern, index)
            if key not in self._found:
                self._found[key] = edge_points(self._patterns[pattern], self._range.value(index))
            if len(self._found[key]):
                return self._found[key]
        raise ValueError(
            f"pattern {pattern} has no edges at any grey threshold from {self._range.low} to {self._range.high}, "
            "so no abnormal points can be drawn; widen abpt.grey_threshold or use subset line"
        )


def kmeans(points: np.ndarray, clusters: int, rng: np.random.Generator) -> np.ndarray:
    """Assign ``points`` (n, 2) to at most ``clusters`` clusters by Lloyd's K-means; returns int (n,) labels.

    Ours because the one of OpenCV draws from a process-wide random state.
    """
    count = min(clusters, len(points))
    data = points.astype(np.float32)
    centres = data[rng.permutation(len(data))[:count]]
    labels = np.zeros(len(data), np.intp)
    for _ in range(KMEANS_STEPS):
        # |p - c|^2 without |p|^2, which is the same for every centre.
        labels = (
            (centres**2).sum(axis=1) - 2 * (data[:, :1] * centres[:, 0] + data[:, 1:] * centres[:, 1])
        ).argmin(axis=1)
        sizes = np.bincount(labels, minlength=count)
        sums = np.stack([np.bincount(labels, data[:, axis], count) for axis in (0, 1)], axis=1)
        moved = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres).astype(np.float32)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return labels


def draw_abpt(
    image: np.ndarray,
    labels: np.ndarray,
    label: int,
    edges: np.ndarray,
    params: AbptParams,
    blur: float,
    min_change: int,
    rng: np.random.Generator,
) -> list[AbptDefect]:
    """Draw abnormal points on ``image`` and write ``label`` into ``labels`` where they lie, both in place.

    ``image``: uint8 RGB (S, S, 3); ``labels``: uint8 (S, S); ``edges``: (n, 2) x, y, n > 0. The edge points are
    clustered with a random K; some clusters become defects, each a few neighbouring points of the cluster drawn as dots
    of one random colour, scale and opacity. Returns the defects.
    """
    scale = image.shape[0] / REFERENCE_SIZE
    if len(edges) > SAMPLED_POINTS:
        edges = edges[rng.integers(len(edges), size=SAMPLED_POINTS)]
    cluster = kmeans(edges, int(pick(params.clusters, rng)), rng)
    filled = np.unique(cluster)
    defects = []
    for chosen in rng.permutation(filled)[: int(pick(params.defects, rng))]:
        members = edges[cluster == chosen]
        seed = members[int(rng.integers(len(members)))]
        near = np.argsort(((members - seed) ** 2).sum(axis=1), kind="stable")
        points = members[near[: int(pick(params.points, rng))]]
        diameter = params.diameter * pick(params.scale, rng) * scale
        opacity = pick(params.opacity, rng)
        color = _draw_points(image, labels, label, points, diameter, opacity, blur * scale, min_change, rng)
        defects.append(AbptDefect(points, diameter, opacity, color))
    return defects


def _draw_points(
    image: np.ndarray,
    labels: np.ndarray,
    label: int,
    points: np.ndarray,
    diameter: float,
    opacity: float,
    sigma: float,
    min_change: int,
    rng: np.random.Generator,
) -> tuple[int, int, int]:
    size = image.shape[0]
    margin = int(np.ceil(0.65 * diameter + 3 * sigma)) + 3
    left, top = points.min(axis=0) - margin
    right, bottom = points.max(axis=0) + margin + 1
    alpha = _dots(points - (left, top), diameter, (int(bottom - top), int(right - left)), sigma, rng)
    inside = alpha >= TAIL
    rows, columns = np.arange(top, bottom), np.arange(left, right)
    # Beyond the screen's edge the outermost pixels repeat.
    piece = image[np.clip(rows, 0, size - 1)[:, None], np.clip(columns, 0, size - 1)]
    color = choose_color(piece, alpha >= 0.5, opacity, min_change, rng)
    piece[inside] = fuse_region(piece, alpha, inside, opacity, color)
    row_low, column_low = max(top, 0), max(left, 0)
    row_high, column_high = min(bottom, size), min(right, size)
    cut = np.s_[row_low - top : row_high - top, column_low - left : column_high - left]
    image[row_low:row_high, column_low:column_high] = piece[cut]
    labels[row_low:row_high, column_low:column_high][inside[cut]] = label
    return color


def _dots(
    points: np.ndarray, diameter: float, shape: tuple[int, int], sigma: float, rng: np.random.Generator
) -> np.ndarray:
    """Opacity of slightly irregular dots after a Gaussian blur, float32 with peak 1; zero on the frame."""
    canvas = np.zeros(shape, np.uint8)
    stretch = rng.uniform(0.7, 1.3, size=(len(points), 2))
    turn = rng.uniform(0, 180, size=len(points))
    unit = 1 << SUBPIXEL
    for (x, y), (wide, tall), angle in zip(points, stretch, turn, strict=True):
        axes = (
            max(unit // 2, round(wide * diameter / 2 * unit)),
            max(unit // 2, round(tall * diameter / 2 * unit)),
        )
        cv2.ellipse(
            canvas,
            (int(x) * unit, int(y) * unit),
            axes,
            angle,
            0,
            360,
            255,
            cv2.FILLED,
            cv2.LINE_AA,
            SUBPIXEL,
        )
    alpha = cv2.GaussianBlur(canvas.astype(np.float32), (0, 0), max(sigma, 0.1))
    alpha /= alpha.max()
    alpha[[0, -1]] = 0
    alpha[:, [0, -1]] = 0
    return alpha
