"""Drawn objects of annotation files, and painting them into a mask."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

MAX_POINTS = 100_000
MAX_REACH = 10
"""Sides of the photograph by which a point may be outside; farther ones are errors."""
MAX_OUTLINE = 2_000_000
"""Pixels of a polygon's outline; drawing takes memory in proportion to it."""
_RLE_TEXT = re.compile(r"(?:[P-o]{0,5}[0-O])*")


class Shape(NamedTuple):
    """One object: ``value`` is painted into the mask.

    ``parts`` in pixels, 0 being the left or upper edge of the first pixel: for "polygon" flat lists x, y, x,
    y... whose union is meant; for "box" one list left, top, right, bottom; for "circle" one list x, y,
    radius; for "rle" the run lengths of the whole photograph, column by column, beginning with what is not
    meant.
    """

    value: int
    kind: Literal["polygon", "box", "circle", "rle"]
    parts: tuple[tuple[float, ...], ...]
    label: str = ""


def check_shape(shape: Shape, width: int, height: int) -> str | None:
    """Return what is wrong with a shape on a photograph of that size, None when nothing is."""
    if shape.kind == "rle":
        total = sum(shape.parts[0])
        return None if total == width * height else f"its runs cover {total} of {width * height} pixels"
    reach = MAX_REACH * max(width, height)
    for part in shape.parts:
        # Also refuses NaN.
        if not all(abs(value) <= reach for value in part):
            return "its coordinates are no numbers near the photograph"
        if shape.kind == "polygon" and (len(part) < 6 or len(part) % 2):
            return f"a polygon has {len(part)} coordinates; it needs pairs of x and y, three at least"
        if shape.kind == "polygon" and (len(part) > 2 * MAX_POINTS or _outline(part) > MAX_OUTLINE):
            return "its outline is too long to be an object's"
    return None


def paint(shapes: Sequence[Shape], width: int, height: int) -> tuple[np.ndarray, list[Shape]]:
    """Paint shapes, later ones over earlier ones, into a uint8 mask (H, W); parts outside are cut off.

    Returns:
        the mask, and the shapes that cover no pixel.
    """
    mask = np.zeros((height, width), np.uint8)
    empty = []
    for shape in shapes:
        covered = [_cover(shape.kind, part, mask) for part in shape.parts]
        for region, inside in covered:
            region[inside] = shape.value
        if not any(inside.any() for _, inside in covered):
            empty.append(shape)
    return mask, empty


def _cover(kind: str, part: tuple[float, ...], mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of ``mask`` around a shape's part, as a view, and which pixels of it are covered (bool)."""
    height, width = mask.shape
    if kind == "rle":
        runs = np.array(part, np.int64)
        flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        return mask, flat.reshape(width, height).T
    if kind == "box":
        left, top, right, bottom = (math.floor(value + 0.5) for value in part)
        region = mask[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
        return region, np.ones(region.shape, bool)
    xs, ys = (part[0::2], part[1::2]) if kind == "polygon" else _around(part)
    left, top = (max(0, math.floor(min(values))) for values in (xs, ys))
    right, bottom = (max(0, math.ceil(max(values))) for values in (xs, ys))
    region = mask[top:bottom, left:right]
    if not region.size:
        return region, np.zeros(region.shape, bool)
    if kind == "circle":
        down, across = np.ogrid[: region.shape[0], : region.shape[1]]
        apart = (across + 0.5 + left - part[0]) ** 2 + (down + 0.5 + top - part[1]) ** 2
        return region, apart <= part[2] ** 2
    moved = [value - (left, top)[index % 2] for index, value in enumerate(part)]
    runs = coco_mask.frPyObjects([moved], *region.shape)
    return region, coco_mask.decode(runs)[:, :, 0].astype(bool)


def _around(circle: tuple[float, ...]) -> tuple[tuple[float, float], tuple[float, float]]:
    x, y, radius = circle
    return (x - radius, x + radius), (y - radius, y + radius)


def _outline(part: tuple[float, ...]) -> float:
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
