"""Windows of a photograph beside its board: few, whole defects inside, not always in the middle."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from cadnet.images.labels import LEAST_SHOWN
from cadnet.images.tiles import padded
from cadnet.preparers.pku_pcb.layout import CLASSES, Box
from cadnet.preparers.pku_pcb.masks import MARGIN
from cadnet.preparers.pku_pcb.rotation import BORDER, Turn, turn_image, turn_labels
from cadnet.types import IGNORE_INDEX

TRIES = 16
"""Positions compared for one window by how much of it is outside of the photograph."""
CLEAN_TRIES = 200
"""Positions tried for a window without defects."""
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


def draw_windows(
    outside: np.ndarray | None,
    shape: tuple[int, int],
    rectangles: Sequence[Rectangle],
    side: int,
    key: str,
) -> list[tuple[int, int]]:
    """Return the corners (x, y) of windows that together show all rectangles.

    Each is drawn from its span: of :data:`TRIES` positions the one that shows least of ``outside``.

    Args:
        outside: bool (H, W), where the photograph shows nothing; None for nowhere.
        shape: height and width of the photograph.
        rectangles: where the defects are.
        side: of the windows in pixels.
        key: seed and name; the same key gives the same windows.
    """
    draw = _generator(key)
    cost = _Outside(outside)
    found = []
    for (x0, x1), (y0, y1) in cover(shape[1], shape[0], rectangles, side):
        tries = np.stack([draw.integers(x0, x1 + 1, TRIES), draw.integers(y0, y1 + 1, TRIES)], axis=1)
        corners = [(int(x), int(y)) for x, y in tries]
        found.append(min(corners, key=lambda corner: cost.of(corner, side)))
    return found


def draw_clean_windows(
    outside: np.ndarray | None,
    shape: tuple[int, int],
    rectangles: Sequence[Rectangle],
    side: int,
    count: int,
    key: str,
) -> list[tuple[int, int]]:
    """Return up to ``count`` corners of windows that show no rectangle; fewer where there is no room.

    Arguments as for :func:`draw_windows`. Windows with nothing ``outside`` come first.
    """
    if not count or min(shape) < side:
        return []
    draw = _generator(key)
    cost = _Outside(outside)
    tries = zip(
        draw.integers(0, shape[1] - side + 1, CLEAN_TRIES),
        draw.integers(0, shape[0] - side + 1, CLEAN_TRIES),
        strict=True,
    )
    free = dict.fromkeys((int(x), int(y)) for x, y in tries)
    clean = [(x, y) for x, y in free if not any(r.touches(x, y, side) for r in rectangles)]
    return sorted(clean, key=lambda corner: cost.of(corner, side))[:count]


def _generator(key: str) -> np.random.Generator:
    """A random generator that depends on ``key`` alone."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big"))


def _span(shown: Sequence[Rectangle], axis: int, side: int, last: int) -> Span:
    low, high = max(r[axis + 2] for r in shown) - side, min(r[axis] for r in shown)
    return max(low, 0), min(high, last)


class _Outside:
    """Counts on a reduced copy how much of a window is outside."""

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


class View(NamedTuple):
    """An image and its board, aligned.

    ``image``, ``board``: uint8 RGB (H, W, 3); ``numbers``: uint8 (H, W), 0 for no defect, n for the n-th, 255
    where the photograph shows nothing; ``pixels``: how many there are of each number; ``labels``: class 1..6
    of each defect; ``rectangles``: where they are.
    """

    image: np.ndarray
    board: np.ndarray
    numbers: np.ndarray
    pixels: tuple[int, ...]
    labels: tuple[int, ...]
    rectangles: tuple[Rectangle, ...]

    @property
    def outside(self) -> np.ndarray:
        """Where the photograph shows nothing, bool (H, W)."""
        return self.numbers == IGNORE_INDEX


class Window(NamedTuple):
    """A square cut from a view: uint8 RGB ``image`` and ``reference`` (S, S, 3), uint8 ``mask`` (S, S)."""

    image: np.ndarray
    reference: np.ndarray
    mask: np.ndarray


def upright(image: np.ndarray, board: np.ndarray, numbers: np.ndarray, boxes: Sequence[Box]) -> View:
    """Make the view of a photograph as it was taken; arguments as in :class:`View`."""
    labels = tuple(CLASSES.index(box.label) + 1 for box in boxes)
    defects = rectangles(boxes, image.shape[1], image.shape[0])
    return View(image, board, numbers, _histogram(numbers), labels, defects)


def rectangles(boxes: Sequence[Box], width: int, height: int) -> tuple[Rectangle, ...]:
    """Return where defects may be: their boxes with the margin that masks may use, inside the photograph."""
    grown = [(b.x0 - MARGIN, b.y0 - MARGIN, b.x1 + MARGIN, b.y1 + MARGIN) for b in boxes]
    return tuple(
        Rectangle(max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)) for x0, y0, x1, y1 in grown
    )


def turned(view: View, copy: np.ndarray, turn: Turn) -> View:
    """Make the view of a rotated ``copy``: board, defects and rectangles are turned as the photograph was."""
    numbers = turn_labels(view.numbers, turn, IGNORE_INDEX)
    return View(
        copy,
        turn_image(view.board, turn),
        numbers,
        _histogram(numbers),
        view.labels,
        tuple(_turned(r, turn) for r in view.rectangles),
    )


def cut(view: View, x: int, y: int, side: int) -> Window:
    """Cut the square of ``side`` pixels at (x, y); what reaches over the edge is ignored in the mask."""
    window = (slice(y, y + side), slice(x, x + side))
    image, reference, numbers = view.image[window], view.board[window], view.numbers[window]
    lookup = np.zeros(256, np.uint8)
    lookup[IGNORE_INDEX] = IGNORE_INDEX
    shown = _histogram(numbers)
    for number, label in enumerate(view.labels, start=1):
        enough = shown[number] >= LEAST_SHOWN * view.pixels[number]
        lookup[number] = label if enough else IGNORE_INDEX
    mask = lookup[numbers]
    return Window(
        padded(image, side, BORDER), padded(reference, side, BORDER), padded(mask, side, IGNORE_INDEX)
    )


def _histogram(numbers: np.ndarray) -> tuple[int, ...]:
    # Five times as fast as numpy's, which makes integers of 8 bytes first.
    return tuple(int(n) for n in cv2.calcHist([numbers], [0], None, [256], [0, 256]).ravel())


def _turned(rectangle: Rectangle, turn: Turn) -> Rectangle:
    """The upright rectangle around a turned one, inside the copy."""
    x0, y0, x1, y1 = rectangle
    corners = turn.matrix @ np.array([(x0, x1, x0, x1), (y0, y0, y1, y1), (1, 1, 1, 1)])
    left, top = np.floor(corners.min(axis=1)).astype(int)
    right, bottom = np.ceil(corners.max(axis=1)).astype(int)
    width, height = turn.size
    return Rectangle(max(int(left), 0), max(int(top), 0), min(int(right), width), min(int(bottom), height))
