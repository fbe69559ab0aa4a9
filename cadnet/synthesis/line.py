"""Line defects: a line across the whole screen in each of K areas (paper, section on SynLCD)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cadnet.config import LineParams, Range
from cadnet.synthesis.blend import Canvas, choose_color, fuse_strip, line_profile

COLOR_ROWS = 4
"""Every fourth pixel along a line is looked at to choose its colour."""


@dataclass(frozen=True)
class LineDefect:
    """A line as drawn: ``start`` and ``width`` are pixels across the screen, before the blur."""

    vertical: bool
    start: int
    width: int
    opacity: float
    color: tuple[int, int, int]


def pick(values: Range, rng: np.random.Generator) -> float:
    """Draw one of the values of a range, each equally likely."""
    return values.value(int(rng.integers(values.count)))


def draw_lines(canvas: Canvas, label: int, params: LineParams, rng: np.random.Generator) -> list[LineDefect]:
    """Draw the lines of one sample on ``canvas`` as class ``label`` and return them.

    K is drawn from ``params.areas``; every area's line is vertical or horizontal at random, and the areas of
    one direction are equal parts of the screen, so that lines of one direction never overlap.
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
            lines.append(_draw_line(canvas, label, direction, start, width, pick(params.opacity, rng), rng))
    return lines


def _draw_line(
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
