"""Where windows are cut: few, whole defects inside, not always in the middle."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

TRIES = 16
"""Places compared for one window by how much they lie outside of the photograph."""
CLEAN_TRIES = 200
"""Places tried for a window without defects."""
_REDUCTION = 8


class Rectangle(NamedTuple):
    """Pixels x0 <= x < x1, y0 <= y < y1."""

    x0: int
    y0: int
    x1: int
    y1: int

    def touches(self, x: int, y: int, side: int) -> bool:
        """Whether the square of ``side`` at (x, y) shows some of it."""
        return self.x0 < x + side and x < self.x1 and self.y0 < y + side and y < self.y1

    def within(self, x: int, y: int, side: int) -> bool:
        """Whether the square of ``side`` at (x, y) shows all of it."""
        return x <= self.x0 and self.x1 <= x + side and y <= self.y0 and self.y1 <= y + side


Span = tuple[int, int]
"""First and last possible coordinate."""


def cover(width: int, height: int, rectangles: Sequence[Rectangle], side: int) -> list[tuple[Span, Span]]:
    """Choose few windows of ``side`` pixels that show all rectangles wholly.

    Greedy: the next window is the one that shows most of the rectangles left (of equal ones the leftmost,
    then topmost). A rectangle larger than a window is shown in part, from its middle.

    Returns:
        for each window the spans of x and y in which it may be moved, inside the photograph as long as that
        is not smaller than a window.
    """
    last_x, last_y = max(width - side, 0), max(height - side, 0)
    left = [r for r in rectangles if r.x1 - r.x0 <= side and r.y1 - r.y0 <= side]
    large = [r for r in rectangles if r not in left]
    found: list[tuple[Span, Span]] = []
    while left:
        xs, ys = {min(r.x0, last_x) for r in left}, {min(r.y0, last_y) for r in left}
        _, x, y = min((-sum(r.within(x, y, side) for r in left), x, y) for x in xs for y in ys)
        shown = [r for r in left if r.within(x, y, side)]
        left = [r for r in left if r not in shown]
        found.append((_span(shown, 0, side, last_x), _span(shown, 1, side, last_y)))
    for r in large:
        x, y = ((start + end - side) // 2 for start, end in ((r.x0, r.x1), (r.y0, r.y1)))
        x, y = min(max(x, 0), last_x), min(max(y, 0), last_y)
        found.append(((x, x), (y, y)))
    return found


def place_windows(
    outside: np.ndarray | None,
    shape: tuple[int, int],
    rectangles: Sequence[Rectangle],
    side: int,
    key: str,
) -> list[tuple[int, int]]:
    """Return the corners (x, y) of windows that together show all rectangles.

    Each is drawn from where it may be: of :data:`TRIES` places the one that shows least of ``outside``.

    Args:
        outside: bool (H, W), where the photograph shows nothing; None for nowhere.
        shape: height and width of the photograph.
        rectangles: where the defects are.
        side: of the windows in pixels.
        key: seed and name; the same key gives the same windows.
    """
    draw = generator(key)
    cost = _Outside(outside)
    places = []
    for (x0, x1), (y0, y1) in cover(shape[1], shape[0], rectangles, side):
        tries = np.stack([draw.integers(x0, x1 + 1, TRIES), draw.integers(y0, y1 + 1, TRIES)], axis=1)
        corners = [(int(x), int(y)) for x, y in tries]
        places.append(min(corners, key=lambda corner: cost.of(corner, side)))
    return places


def place_clean(
    outside: np.ndarray | None,
    shape: tuple[int, int],
    rectangles: Sequence[Rectangle],
    side: int,
    count: int,
    key: str,
) -> list[tuple[int, int]]:
    """Return up to ``count`` corners of windows that show no rectangle; fewer where there is no room.

    Arguments as for :func:`place_windows`. Windows with nothing ``outside`` come first.
    """
    if not count or min(shape) < side:
        return []
    draw = generator(key)
    cost = _Outside(outside)
    tries = zip(
        draw.integers(0, shape[1] - side + 1, CLEAN_TRIES),
        draw.integers(0, shape[0] - side + 1, CLEAN_TRIES),
        strict=True,
    )
    free = dict.fromkeys((int(x), int(y)) for x, y in tries)
    clean = [(x, y) for x, y in free if not any(r.touches(x, y, side) for r in rectangles)]
    return sorted(clean, key=lambda corner: cost.of(corner, side))[:count]


def generator(key: str) -> np.random.Generator:
    """Return a random generator that depends on ``key`` alone."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big"))


def _span(shown: Sequence[Rectangle], axis: int, side: int, last: int) -> Span:
    low, high = max(r[axis + 2] for r in shown) - side, min(r[axis] for r in shown)
    return max(low, 0), min(high, last)


class _Outside:
    """Counts on a reduced copy how much of a window lies outside."""

    def __init__(self, outside: np.ndarray | None) -> None:
        self._sums = None
        if outside is not None and outside.any():
            self._sums = cv2.integral(outside[::_REDUCTION, ::_REDUCTION].astype(np.uint8))

    def of(self, corner: tuple[int, int], side: int) -> int:
        """Pixels of the reduced copy that the square of ``side`` at ``corner`` (x, y) has outside."""
        if self._sums is None:
            return 0
        x, y = corner
        x0, y0, x1, y1 = (value // _REDUCTION for value in (x, y, x + side, y + side))
        x1, y1 = min(x1, self._sums.shape[1] - 1), min(y1, self._sums.shape[0] - 1)
        sums = self._sums
        return int(sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0])
