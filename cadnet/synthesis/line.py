"""Line defects: one line across the whole screen in each of K areas (paper, "Synthetic LCD defect dataset")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cadnet.config import LineParams, Range
from cadnet.synthesis.blend import choose_color, fuse_strip, line_profile

REFERENCE_SIZE = 512
"""Screen side in pixels for which widths, diameters and blurs are given."""


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


def draw_lines(
    image: np.ndarray,
    labels: np.ndarray,
    label: int,
    params: LineParams,
    blur: float,
    min_change: int,
    rng: np.random.Generator,
) -> list[LineDefect]:
    """Draw lines on ``image`` and write ``label`` into ``labels`` where they lie, both in place.

    ``image``: uint8 RGB (S, S, 3); ``labels``: uint8 (S, S). K is drawn from ``params.areas``; every area's line
    is vertical or horizontal at random, and the areas of one direction are equal parts of the screen, so that lines of
    one direction never overlap. ``blur`` is the standard deviation in pixels of a 512 px screen. Returns the lines.
    """
    size = image.shape[0]
    scale = size / REFERENCE_SIZE
    vertical = rng.random(params.areas[int(rng.integers(len(params.areas)))]) < 0.5
    lines = []
    for direction in (True, False):
        count = int((vertical == direction).sum())
        edges = [round(size * i / count) for i in range(count + 1)] if count else []
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            if high <= low:
                continue
            width = min(max(1, round(pick(params.width, rng) * scale)), high - low)
            start = low + int(rng.integers(high - low - width + 1))
            opacity = pick(params.opacity, rng)
            lines.append(
                _draw_line(
                    image, labels, label, direction, start, width, opacity, blur * scale, min_change, rng
                )
            )
    return lines


def _draw_line(
    image: np.ndarray,
    labels: np.ndarray,
    label: int,
    vertical: bool,
    start: int,
    width: int,
    opacity: float,
    sigma: float,
    min_change: int,
    rng: np.random.Generator,
) -> LineDefect:
    # Views in which the line runs down the first axis.
    along = image if vertical else image.transpose(1, 0, 2)
    along_labels = labels if vertical else labels.T
    profile = line_profile(width, sigma)
    margin = (len(profile) - width) // 2
    columns = np.arange(start - margin, start - margin + len(profile))
    # Beyond the screen's edge the outermost column repeats.
    strip = along[:, np.clip(columns, 0, image.shape[0] - 1)]
    color = choose_color(
        strip[:, margin:-margin], np.ones((len(strip), width), bool), opacity, min_change, rng
    )
    fused = fuse_strip(strip, profile, opacity, color)
    inner = columns[1:-1]
    seen = (inner >= 0) & (inner < image.shape[0])
    along[:, inner[seen]] = fused[:, seen]
    along_labels[:, inner[seen]] = label
    return LineDefect(vertical, start, width, opacity, color)
