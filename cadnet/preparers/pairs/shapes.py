"""Drawn objects of annotation files, and painting them into a mask."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import cycle, pairwise
from typing import Literal, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

MAX_POINTS = 100_000
MAX_REACH = 10
"""Sides of the photograph by which a point may be outside; farther ones are errors."""
MAX_OUTLINE = 2_000_000
"""Pixels of a polygon's outline; drawing takes memory in proportion to it."""
MAX_COVERED = 2**30
"""Pixels that the objects of a photograph may lie over, once for each part: painting takes time for all."""
_RLE_TEXT = re.compile(r"(?:[P-o]{0,5}[0-O])*")


class Outline(NamedTuple):
    """What an object covers, in pixels, 0 being the left or upper edge of the first pixel.

    ``parts``: for "polygon" flat lists x, y, x, y... whose union is meant, and for "rings" what an odd number
    of them holds, so that inner ones are holes; for "box" one list left, top, right, bottom; for "circle" one
    list x, y, radius; for "rle" the run lengths of the whole photograph, column by column, beginning with
    what is not meant. ``area`` in pixels as its file states it, 0 where it does not.
    """

    kind: Literal["polygon", "rings", "box", "circle", "rle"]
    parts: tuple[tuple[float, ...], ...]
    area: float = 0


class Shape(NamedTuple):
    """One object: ``value`` is painted into the mask; ``where`` names it and its file."""

    value: int
    outline: Outline
    where: str = ""


class Painted(NamedTuple):
    """``mask``: uint8 (H, W); ``empty``: shapes that cover no pixel; ``hidden``: those painted over."""

    mask: np.ndarray
    empty: list[Shape]
    hidden: list[Shape]


def check_outline(outline: Outline, width: int, height: int) -> str | None:
    """Return what is wrong with an outline on a photograph of that size, None when nothing is."""
    if outline.kind == "rle":
        total = sum(outline.parts[0])
        return None if total == width * height else f"its runs cover {total} of {width * height} pixels"
    reach = MAX_REACH * max(width, height)
    for part in outline.parts:
        # Also refuses NaN.
        if not all(abs(value) <= reach for value in part):
            return "its coordinates are no numbers near the photograph"
        if outline.kind in ("polygon", "rings"):
            if len(part) < 6 or len(part) % 2:
                return f"a polygon has {len(part)} coordinates; it needs pairs of x and y, three at least"
            if len(part) > 2 * MAX_POINTS or _length(part) > MAX_OUTLINE:
                return "its outline is too long to be an object's"
    return None


def with_holes(outline: Outline, width: int, height: int) -> Outline:
    """Return a checked polygon of several parts as rings when its stated area says that some are holes.

    COCO means the union of the parts, but tools write holes as further parts too.
    """
    rings = outline._replace(kind="rings")
    if outline.kind != "polygon" or len(outline.parts) < 2 or outline.area <= 0:
        return outline
    union, odd = (int(_cover(item, width, height)[2].sum()) for item in (outline, rings))
    return rings if abs(odd - outline.area) < abs(union - outline.area) else outline


def paint(shapes: Sequence[Shape], width: int, height: int) -> Painted:
    """Paint shapes, later ones over earlier ones; parts outside the photograph are cut off."""
    mask = np.zeros((height, width), np.uint8)
    empty = []
    for shape in shapes:
        left, top, inside = _cover(shape.outline, width, height)
        mask[top : top + inside.shape[0], left : left + inside.shape[1]][inside] = shape.value
        if not inside.any():
            empty.append(shape)
    hidden = []
    # Covered anew instead of kept, which would take a bit map of the photograph for each run-length object.
    for shape in shapes if len({shape.value for shape in shapes}) > 1 else ():
        left, top, inside = _cover(shape.outline, width, height)
        shown = mask[top : top + inside.shape[0], left : left + inside.shape[1]][inside]
        if shown.size and not (shown == shape.value).any():
            hidden.append(shape)
    return Painted(mask, empty, hidden)


def extent(outline: Outline, width: int, height: int) -> int:
    """Return the pixels of the photograph that covering an outline looks at, once for each part."""
    windows = [_window(outline.kind, part, width, height) for part in outline.parts]
    return sum((right - left) * (bottom - top) for left, top, right, bottom in windows)


def _cover(outline: Outline, width: int, height: int) -> tuple[int, int, np.ndarray]:
    """Left and upper edge of a window of the photograph, and which of its pixels are covered, bool (h, w)."""
    windows = [_window(outline.kind, part, width, height) for part in outline.parts]
    if len(windows) == 1:
        return (*windows[0][:2], _piece(outline.kind, outline.parts[0], *windows[0]))
    left, top = (min(window[side] for window in windows) for side in (0, 1))
    right, bottom = (max(window[side] for window in windows) for side in (2, 3))
    whole = np.zeros((bottom - top, right - left), bool)
    joined = np.logical_xor if outline.kind == "rings" else np.logical_or
    # One after the other: all pieces together may be larger than memory.
    for part, (x0, y0, x1, y1) in zip(outline.parts, windows, strict=True):
        window = whole[y0 - top : y1 - top, x0 - left : x1 - left]
        joined(window, _piece(outline.kind, part, x0, y0, x1, y1), out=window)
    return left, top, whole


def _window(kind: str, part: tuple[float, ...], width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the part of the photograph that a part of an outline lies in."""
    if kind == "rle":
        return 0, 0, width, height
    if kind == "box":
        edges = [math.floor(value + 0.5) for value in part]
    elif kind == "circle":
        x, y, radius = part
        edges = [math.floor(x - radius), math.floor(y - radius), math.ceil(x + radius), math.ceil(y + radius)]
    else:
        xs, ys = part[0::2], part[1::2]
        # A pixel more, because drawing rounds at the borders of what it draws on.
        edges = [
            math.floor(min(xs)) - 1,
            math.floor(min(ys)) - 1,
            math.ceil(max(xs)) + 1,
            math.ceil(max(ys)) + 1,
        ]
    left, right = (min(max(0, edge), width) for edge in edges[0::2])
    top, bottom = (min(max(0, edge), height) for edge in edges[1::2])
    return left, top, max(left, right), max(top, bottom)


def _piece(kind: str, part: tuple[float, ...], left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """Which pixels of its window a part covers, bool (h, w)."""
    size = (bottom - top, right - left)
    if kind == "rle":
        runs = np.array(part, np.int64)
        return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size[1], size[0]).T
    if 0 in size or kind == "box":
        return np.ones(size, bool)
    if kind == "circle":
        down, across = np.ogrid[: size[0], : size[1]]
        apart = (across + 0.5 + left - part[0]) ** 2 + (down + 0.5 + top - part[1]) ** 2
        return apart <= part[2] ** 2
    # Rounded to fifths as pycocotools does, because after the shift halves of them could round otherwise.
    moved = [
        math.floor(5 * value + 0.5) / 5 - shift if shift else value
        for value, shift in zip(part, cycle((left, top)), strict=False)
    ]
    runs = coco_mask.frPyObjects([moved], *size)
    return coco_mask.decode(runs)[:, :, 0].astype(bool)


def _length(part: tuple[float, ...]) -> float:
    points = list(zip(part[0::2], part[1::2], strict=True))
    return sum(math.dist(one, two) for one, two in pairwise([*points, points[0]]))


def run_lengths(counts: str) -> tuple[int, ...]:
    """Return the run lengths that COCO's compressed text means.

    Characters hold five bits and a continuation bit from 48 on, a run's last the sign; from the fourth run on
    the difference to the run before the last is stored (pycocotools, common/maskApi.c, rleFrString). Not left
    to pycocotools, which gives whatever memory holds where runs end too early.

    Raises:
        ValueError: it is no such text.
    """
    if not _RLE_TEXT.fullmatch(counts):
        raise ValueError("its run lengths are no COCO text")
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if any(run < 0 for run in runs):
        raise ValueError("a run length is negative")
    return tuple(runs)


def run_lengths_of(mask: np.ndarray) -> tuple[int, ...]:
    """Return the run lengths, column by column, of a bool mask (H, W)."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return tuple(np.diff([0, *edges, mask.size]).tolist())
