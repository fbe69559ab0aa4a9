"""A photograph or its rotated copy beside its board, pixel on pixel, and windows of the two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from cadnet.preparers.pku_pcb.annotations import CLASSES, Box
from cadnet.preparers.pku_pcb.masks import MARGIN
from cadnet.preparers.pku_pcb.rotation import BORDER, Turn, turn_image, turn_labels
from cadnet.preparers.pku_pcb.windows import Rectangle
from cadnet.preparers.slivers import LEAST_SHOWN
from cadnet.types import IGNORE_INDEX


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
    places = rectangles(boxes, image.shape[1], image.shape[0])
    return View(image, board, numbers, _histogram(numbers), labels, places)


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
    place = (slice(y, y + side), slice(x, x + side))
    image, reference, numbers = view.image[place], view.board[place], view.numbers[place]
    lookup = np.zeros(256, np.uint8)
    lookup[IGNORE_INDEX] = IGNORE_INDEX
    shown = _histogram(numbers)
    for number, label in enumerate(view.labels, start=1):
        enough = shown[number] >= LEAST_SHOWN * view.pixels[number]
        lookup[number] = label if enough else IGNORE_INDEX
    mask = lookup[numbers]
    if mask.shape != (side, side):
        image, reference = _padded(image, side), _padded(reference, side)
        larger = np.full((side, side), IGNORE_INDEX, np.uint8)
        larger[: mask.shape[0], : mask.shape[1]] = mask
        mask = larger
    return Window(image, reference, mask)


def _histogram(numbers: np.ndarray) -> tuple[int, ...]:
    # Five times as fast as numpy's, which makes integers of 8 bytes first.
    return tuple(int(n) for n in cv2.calcHist([numbers], [0], None, [256], [0, 256]).ravel())


def _padded(image: np.ndarray, side: int) -> np.ndarray:
    larger = np.empty((side, side, 3), np.uint8)
    larger[:] = BORDER
    larger[: image.shape[0], : image.shape[1]] = image
    return larger


def _turned(rectangle: Rectangle, turn: Turn) -> Rectangle:
    """The upright rectangle around a turned one, inside the copy."""
    x0, y0, x1, y1 = rectangle
    corners = turn.matrix @ np.array([(x0, x1, x0, x1), (y0, y0, y1, y1), (1, 1, 1, 1)])
    left, top = np.floor(corners.min(axis=1)).astype(int)
    right, bottom = np.ceil(corners.max(axis=1)).astype(int)
    width, height = turn.size
    return Rectangle(max(int(left), 0), max(int(top), 0), min(int(right), width), min(int(bottom), height))
