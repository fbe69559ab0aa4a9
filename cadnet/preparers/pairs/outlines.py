"""What an object covers, from its entry in a COCO, LabelMe, Pascal VOC or YOLO file."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from cadnet.preparers.pairs.shapes import Outline, run_lengths, run_lengths_of
from cadnet.preparers.voc import VocObject

_FOUR_CORNERED = ("rectangle", "rotation", "oriented_rectangle", "quadrilateral")
"""LabelMe's and X-AnyLabeling's names of shapes that may be drawn by four corners."""
FAR = 1e9
"""Coordinates beyond are refused before anything is computed from them."""
SLACK = 0.01
"""Fraction of the side by which fractions of a side may lie outside of 0..1, by rounding or drawn so."""


def numbers(value: Any) -> tuple[float, ...] | None:
    """Return a list of numbers as a tuple, None when it is anything else.

    Raises:
        ValueError: they cannot be coordinates.
    """
    if not isinstance(value, list) or not all(type(item) in (int, float) for item in value):
        return None
    return _near(value)


def _near(values: Iterable[float]) -> tuple[float, ...]:
    kept = tuple(values)
    # Also refuses NaN.
    if not all(abs(value) <= FAR for value in kept):
        raise ValueError("its coordinates are no numbers near the photograph")
    return kept


def coco_outline(item: dict[str, Any], width: int, height: int) -> Outline:
    """Return the outline of a COCO annotation of a photograph of ``width`` x ``height``.

    Raises:
        ValueError: it has none that could be read.
    """
    drawn = item.get("segmentation")
    if isinstance(drawn, dict):
        size, counts = numbers(drawn.get("size")), drawn.get("counts")
        if size is not None and size != (height, width):
            turned = "; it is turned, as EXIF turns photographs" if size == (width, height) else ""
            raise ValueError(
                f"its run lengths are of the size {list(size)}, the photograph's is [{height}, {width}] "
                f"(height, width){turned}"
            )
        runs = run_lengths(counts) if isinstance(counts, str) else numbers(counts)
        if runs is None or not all(isinstance(run, int) and run >= 0 for run in runs):
            raise ValueError("its run lengths are no list of numbers")
        return Outline("rle", (runs,))
    if isinstance(drawn, list) and any(part != [] for part in drawn):
        # Some tools write a single polygon without the list around it.
        listed = [drawn] if numbers(drawn) is not None else [part for part in drawn if part != []]
        parts = tuple(part for part in map(numbers, listed) if part is not None)
        if len(parts) < len(listed):
            raise ValueError("its polygon is no list of numbers")
        area = item.get("area")
        return Outline("polygon", parts, area if isinstance(area, int | float) else 0)
    edges = numbers(item.get("bbox"))
    if edges is None or len(edges) != 4:
        raise ValueError("it has neither segmentation nor a bbox of x, y, width, height")
    x, y, across, down = edges
    extra = item.get("attributes")
    angle = extra.get("rotation") if isinstance(extra, dict) else None
    if angle and numbers([angle]):
        return turned_box(x + across / 2, y + down / 2, across, down, math.radians(angle))
    return box(x, y, x + across, y + down)


def labelme_outline(item: dict[str, Any], width: int, height: int) -> Outline:
    """Return the outline of a LabelMe shape.

    Raises:
        ValueError: it has none, as points and lines.
    """
    kind, points = item.get("shape_type") or "polygon", item.get("points")
    pairs = [numbers(point) for point in points] if isinstance(points, list) else []
    corners = [point for point in pairs if point is not None and len(point) == 2]
    if not corners or len(corners) < len(pairs):
        raise ValueError("its points are no pairs of numbers")
    if kind == "mask":
        return _bit_map(item.get("mask"), corners, width, height)
    if kind == "polygon" or (kind in _FOUR_CORNERED and len(corners) == 4):
        return Outline("polygon", (tuple(value for point in corners for value in point),))
    if kind in ("rectangle", "circle") and len(corners) == 2:
        (x1, y1), (x2, y2) = corners
        if kind == "circle":
            return Outline("circle", ((x1, y1, math.hypot(x2 - x1, y2 - y1)),))
        return box(x1, y1, x2, y2)
    raise ValueError(
        f"a {kind!r:.40} of {len(corners)} points has no area here; draw a polygon, a rectangle or a circle"
    )


def voc_outline(item: VocObject, first: int, *_size: int) -> Outline:
    """Return the outline of a Pascal VOC object; ``first`` is the number of the first pixel, 0 or 1.

    Raises:
        ValueError: it has none.
    """
    if item.polygon:
        return Outline("polygon", (_near(item.polygon),))
    if item.turned:
        return turned_box(*_near(item.turned))
    if all(map(math.isnan, item.edges)):
        raise ValueError("it has no bndbox, robndbox or polygon")
    edges = _near(item.edges)
    (left, right), (top, bottom) = sorted(edges[0::2]), sorted(edges[1::2])
    left, top = left - first, top - first
    if item.angle and abs(item.angle) <= FAR:
        middle = ((left + right) / 2, (top + bottom) / 2)
        return turned_box(*middle, right - left, bottom - top, math.radians(item.angle))
    return box(left, top, right, bottom)


def yolo_outline(values: list[float], width: int, height: int) -> Outline:
    """Return the outline of a line of a YOLO file, in fractions of the sides: a box or a polygon's corners.

    Raises:
        ValueError: neither, or not fractions.
    """
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise ValueError(f"it has {len(values)} numbers after the class; a box has 4, a polygon 6 or more")
    if not all(-SLACK <= value <= 1 + SLACK for value in values):
        raise ValueError("its numbers are no fractions of the photograph's sides, 0 to 1")
    scaled = tuple(value * (width, height)[index % 2] for index, value in enumerate(values))
    if len(values) > 4:
        return Outline("polygon", (scaled,))
    x, y, across, down = scaled
    return box(x - across / 2, y - down / 2, x + across / 2, y + down / 2)


def box(x1: float, y1: float, x2: float, y2: float) -> Outline:
    """Return the box between two corners in any order."""
    return Outline("box", ((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)),))


def turned_box(x: float, y: float, across: float, down: float, angle: float) -> Outline:
    """Return the box about (x, y), turned clockwise as shown by ``angle`` radians, as a polygon."""
    cosine, sine = math.cos(angle), math.sin(angle)
    corners = [(across * i / 2, down * j / 2) for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    flat = (n for dx, dy in corners for n in (x + cosine * dx - sine * dy, y + sine * dx + cosine * dy))
    return Outline("polygon", (tuple(flat),))


def in_fractions(outline: Outline) -> bool | None:
    """Whether all coordinates lie in 0..1; None for outlines that cannot tell, and for a corner pixel."""
    if outline.kind in ("rle", "circle"):
        return None
    values = [value for part in outline.parts for value in part]
    if not all(-SLACK <= value <= 1 + SLACK for value in values):
        return False
    return True if any(value != round(value) for value in values) else None


def in_pixels(outline: Outline, width: int, height: int) -> Outline:
    """Return an outline given in fractions of the sides in pixels."""
    parts = (tuple(v * (width, height)[i % 2] for i, v in enumerate(part)) for part in outline.parts)
    return Outline(outline.kind, tuple(parts))


def _bit_map(text: Any, corners: Sequence[tuple[float, ...]], width: int, height: int) -> Outline:
    """The outline of a LabelMe mask: a PNG, as base64 text, of the pixels from its first corner on."""
    if not isinstance(text, str):
        raise ValueError("a 'mask' needs a picture in base64 and the corner where it lies")
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as picture:
            if picture.width > width or picture.height > height:
                raise ValueError(f"{picture.width} x {picture.height} pixels are more than the photograph's")
            bits = np.array(picture.convert("L")) > 0
    except (ValueError, OSError, SyntaxError) as error:
        raise ValueError(f"its mask cannot be read ({error})") from error
    left, top = map(math.floor, corners[0])
    if left < 0 or top < 0 or left + bits.shape[1] > width or top + bits.shape[0] > height:
        raise ValueError("its mask reaches out of the photograph")
    whole = np.zeros((height, width), bool)
    whole[top : top + bits.shape[0], left : left + bits.shape[1]] = bits
    return Outline("rle", (run_lengths_of(whole),))
