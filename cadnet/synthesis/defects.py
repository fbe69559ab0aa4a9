"""Defects of a screen: the paper's lines and clusters of abnormal points (ABPT), Mura and single pixels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from cadnet.config import AbptParams, LineParams, MuraParams, PixelParams, Range
from cadnet.synthesis.blend import (
    TAIL,
    Canvas,
    choose_color,
    fuse_region,
    fuse_strip,
    largest_change,
    line_profile,
)

COLOR_ROWS = 4
"""Stride in pixels along a line at which its colour is chosen."""


@dataclass(frozen=True)
class LineDefect:
    """A rendered line: ``start`` and ``width`` are pixels across the screen, before the blur."""

    vertical: bool
    start: int
    width: int
    opacity: float
    color: tuple[int, int, int]


def pick(values: Range, rng: np.random.Generator) -> float:
    """Sample one of the values of a range, each equally likely."""
    return values.value(int(rng.integers(values.count)))


def render_lines(
    canvas: Canvas, label: int, params: LineParams, rng: np.random.Generator
) -> list[LineDefect]:
    """Render the lines of one sample on ``canvas`` as class ``label`` and return them.

    K is sampled from ``params.areas``; every area's line is vertical or horizontal at random, and the areas
    of one direction are equal parts of the screen, so that lines of one direction never overlap.
    """
    size = canvas.size
    vertical = rng.random(params.areas[int(rng.integers(len(params.areas)))]) < 0.5
    lines = []
    for direction in (True, False):
        count = int((vertical == direction).sum())
        edges = [round(size * i / count) for i in range(count + 1)] if count else []
        for low, high in pairwise(edges):
            if high == low:  # more areas than pixels
                continue
            width = min(max(1, round(pick(params.width, rng) * canvas.scale)), high - low)
            start = low + int(rng.integers(high - low - width + 1))
            lines.append(_render_line(canvas, label, direction, start, width, pick(params.opacity, rng), rng))
    return lines


def _render_line(
    canvas: Canvas,
    label: int,
    vertical: bool,
    start: int,
    width: int,
    opacity: float,
    rng: np.random.Generator,
) -> LineDefect:
    # Views in which the line runs down the first axis.
    image = canvas.image if vertical else canvas.image.transpose(1, 0, 2)
    labels = canvas.labels if vertical else canvas.labels.T
    profile = line_profile(width, canvas.sigma)
    margin = (len(profile) - width) // 2
    columns = np.arange(start - margin, start - margin + len(profile))
    # Beyond the screen's edge the outermost column repeats.
    strip = image[:, np.clip(columns, 0, canvas.size - 1)]
    covered = strip[::COLOR_ROWS, margin:-margin].reshape(-1, 3)
    color = choose_color(covered, opacity, canvas.min_change, rng)
    fused = fuse_strip(strip, profile, opacity, color)
    inner = columns[1:-1]
    seen = (inner >= 0) & (inner < canvas.size)
    image[:, inner[seen]] = fused[:, seen]
    labels[:, inner[seen]] = label
    return LineDefect(vertical, start, width, opacity, color)


SAMPLED_POINTS = 1000
"""Edge points given to K-means; more would only cost time."""
KMEANS_STEPS = 8
RIM = 1.7
"""Standard deviations of the blur by which a dot grows on each side, until ``TAIL`` of its peak."""
GAP = 2.0
"""Pixels of a 512 px screen that stay between two dots of one cluster."""
LEAST_APART = 4.0
"""Pixels between two dots on any screen: the smallest has three, since its rim is smoothed."""
LEAST_STRETCH, MOST_STRETCH = 0.7, 1.3
"""Axes of a dot, which is an ellipse, as fractions of its diameter."""
SUBPIXEL = 4
"""Fractional bits of the coordinates of dots."""


@dataclass(frozen=True)
class AbptDefect:
    """Rendered abnormal points: ``points`` (n, 2) are x, y of the dots, ``diameter`` their pixels."""

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
    """Edge points of the clean patterns for every threshold, each found once."""

    def __init__(self, patterns: dict[str, np.ndarray], params: AbptParams) -> None:
        self._patterns = patterns
        self._range = params.grey_threshold
        self._found: dict[tuple[str, int], np.ndarray] = {}

    def sample(self, pattern: str, rng: np.random.Generator) -> np.ndarray:
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
            f"pattern {pattern} has no edges at any grey threshold from {self._range.low:g} to "
            f"{self._range.high:g}, so no abnormal points can be generated; widen abpt.grey_threshold or use "
            "subset line"
        )


def kmeans(points: np.ndarray, clusters: int, rng: np.random.Generator) -> np.ndarray:
    """Assign ``points`` (n, 2) to at most ``clusters`` clusters by Lloyd's K-means; returns int (n,) labels.

    Not OpenCV's, which uses a process-wide random state.
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


def render_abpt(
    canvas: Canvas, label: int, edges: np.ndarray, params: AbptParams, rng: np.random.Generator
) -> list[AbptDefect]:
    """Render the abnormal points of one sample on ``canvas`` as class ``label`` and return them.

    ``edges``: (n, 2) x, y, n > 0. The edge points are clustered with a random K; some clusters become
    defects, each with dots of one random colour, scale and opacity that are spread over its cluster and do
    not touch. A dot that changes nothing is no defect.
    """
    if len(edges) > SAMPLED_POINTS:
        edges = edges[rng.integers(len(edges), size=SAMPLED_POINTS)]
    cluster = kmeans(edges, int(pick(params.clusters, rng)), rng)
    defects = []
    for chosen in rng.permutation(np.unique(cluster))[: int(pick(params.defects, rng))]:
        diameter = params.diameter * pick(params.scale, rng) * canvas.scale
        opacity = pick(params.opacity, rng)
        apart = MOST_STRETCH * diameter + 2 * RIM * canvas.sigma + GAP * canvas.scale
        points = _scatter(
            edges[cluster == chosen], int(pick(params.points, rng)), max(apart, LEAST_APART), rng
        )
        color = _render_points(canvas, label, points, diameter, opacity, rng)
        defects.append(AbptDefect(points, diameter, opacity, color))
    return defects


def _scatter(points: np.ndarray, count: int, apart: float, rng: np.random.Generator) -> np.ndarray:
    """Sample up to ``count`` of ``points`` (n, 2) that are at least ``apart`` from each other."""
    left = points[rng.permutation(len(points))]
    chosen: list[np.ndarray] = []
    while len(left) and len(chosen) < count:
        chosen.append(left[0])
        left = left[((left - left[0]) ** 2).sum(axis=1) >= apart**2]
    return np.stack(chosen)


def _render_points(
    canvas: Canvas,
    label: int,
    points: np.ndarray,
    diameter: float,
    opacity: float,
    rng: np.random.Generator,
) -> tuple[int, int, int]:
    size = canvas.size
    margin = int(np.ceil(MOST_STRETCH * diameter / 2 + 3 * canvas.sigma)) + 3
    left, top = (int(low) for low in points.min(axis=0) - margin)
    right, bottom = (int(high) for high in points.max(axis=0) + margin + 1)
    alpha = _dots(points - (left, top), diameter, (bottom - top, right - left), canvas.sigma, rng)
    inside = alpha >= TAIL
    # Beyond the screen's edge the outermost pixels repeat.
    rows, columns = np.clip(np.arange(top, bottom), 0, size - 1), np.clip(np.arange(left, right), 0, size - 1)
    piece = canvas.image[rows].take(columns, axis=1)
    color = choose_color(piece[alpha >= 0.5], opacity, canvas.min_change, rng)
    before = piece.copy()
    piece[inside] = fuse_region(piece, alpha, inside, opacity, color)
    count, dots = cv2.connectedComponents(inside.view(np.uint8), connectivity=8)
    shows = np.zeros(count, bool)
    shows[dots[largest_change(piece, before) >= canvas.min_change]] = True
    inside &= shows[dots]
    piece[~inside] = before[~inside]
    seen = np.s_[max(top, 0) : min(bottom, size), max(left, 0) : min(right, size)]
    cut = np.s_[max(-top, 0) : min(bottom, size) - top, max(-left, 0) : min(right, size) - left]
    canvas.image[seen] = piece[cut]
    canvas.labels[seen][inside[cut]] = label
    return color


def _dots(
    points: np.ndarray, diameter: float, shape: tuple[int, int], sigma: float, rng: np.random.Generator
) -> np.ndarray:
    """Opacity of slightly irregular dots after a Gaussian blur, float32 with peak 1; zero on the frame."""
    canvas = np.zeros(shape, np.uint8)
    stretch = rng.uniform(LEAST_STRETCH, MOST_STRETCH, size=(len(points), 2))
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
    blurred = cv2.GaussianBlur(canvas.astype(np.float32), (0, 0), max(sigma, 0.1))
    alpha = np.asarray(blurred / blurred.max(), np.float32)
    alpha[[0, -1]] = 0
    alpha[:, [0, -1]] = 0
    return alpha


@dataclass(frozen=True)
class MuraDefect:
    """A rendered blotch: its middle (x, y), diameter in pixels and change in grey levels."""

    middle: tuple[int, int]
    diameter: float
    change: float


def render_mura(canvas: Canvas, label: int, params: MuraParams, rng: np.random.Generator) -> list[MuraDefect]:
    """Render the blotches of one sample on ``canvas`` as class ``label`` and return them.

    A blotch is an ellipse with an uneven outline, brighter or darker by ``change`` in its middle and by
    nothing at the outline. Where all of them together change less than ``canvas.min_change`` is no label.
    """
    size = canvas.size
    blotches, added = [], np.zeros((size, size), np.int16)
    for _ in range(int(pick(params.blotches, rng))):
        diameter = pick(params.diameter, rng) * canvas.scale
        change = pick(params.strength, rng) * (1 if rng.random() < 0.5 else -1)
        middle = (int(rng.integers(size)), int(rng.integers(size)))
        reach = int(np.ceil(MOST_STRETCH * 1.2 * diameter / 2)) + 1
        rows = np.arange(max(0, middle[1] - reach), min(size, middle[1] + reach + 1))
        columns = np.arange(max(0, middle[0] - reach), min(size, middle[0] + reach + 1))
        x, y = np.meshgrid(columns - middle[0], rows - middle[1])
        turn, *phases = rng.uniform(0, 2 * np.pi, size=3)
        wide, tall = rng.uniform(LEAST_STRETCH, MOST_STRETCH, size=2) * diameter / 2
        along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        angle = np.arctan2(across, along)
        outline = 1 + 0.12 * np.sin(2 * angle + phases[0]) + 0.08 * np.sin(3 * angle + phases[1])
        radius = np.minimum(np.hypot(along / wide, across / tall) / outline, 1)
        profile = np.cos(np.pi / 2 * radius) ** 2
        place = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        # Brighter than white and darker than black do not show.
        if canvas.image[place][profile >= 0.5].mean() * np.sign(change) > 127.5 * np.sign(change):
            change = -change
        added[place] += np.rint(change * profile).astype(np.int16)
        blotches.append(MuraDefect(middle, diameter, change))
    canvas.image[:] = np.clip(canvas.image + added[..., None], 0, 255)
    canvas.labels[np.abs(added) >= canvas.min_change] = label
    return blotches


@dataclass(frozen=True)
class PixelDefect:
    """A rendered square: its upper left corner (x, y), and ``side`` in pixels."""

    corner: tuple[int, int]
    side: int
    opacity: float
    color: tuple[int, int, int]


def render_pixels(
    canvas: Canvas, label: int, params: PixelParams, rng: np.random.Generator
) -> list[PixelDefect]:
    """Render single dead or stuck pixels on ``canvas`` as class ``label`` and return them."""
    defects = []
    for _ in range(int(pick(params.count, rng))):
        side = min(max(1, round(pick(params.side, rng) * canvas.scale)), canvas.size)
        opacity = pick(params.opacity, rng)
        left, top = (int(v) for v in rng.integers(canvas.size - side + 1, size=2))
        square = np.s_[top : top + side, left : left + side]
        before = canvas.image[square].copy()
        color = choose_color(before.reshape(-1, 3), opacity, canvas.min_change, rng)
        canvas.image[square] = np.rint(before + opacity * (np.asarray(color) - before.astype(np.float32)))
        if largest_change(canvas.image[square], before).max() < canvas.min_change:
            canvas.image[square] = before
            continue
        canvas.labels[square] = label
        defects.append(PixelDefect((left, top), side, opacity, color))
    return defects
