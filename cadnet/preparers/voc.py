"""Pascal VOC annotation files, read safely."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

MAX_BYTES = 2**20
"""Larger annotation files are refused."""
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_TURNED = ("cx", "cy", "w", "h", "angle")


class VocObject(NamedTuple):
    """One object; numbers are as written, NaN where they are none.

    ``edges``: xmin, ymin, xmax, ymax. Pixels count from 1, and the last one belongs
    to the box (Everingham et al. 2010, development kit). ``angle``: degrees by which CVAT's attribute turns
    the box, clockwise as shown. ``turned``: roLabelImg's robndbox, the centre's x and y, width, height and
    angle in radians. ``polygon``: x, y, x, y... of Roboflow's and LabelMe's polygons.
    """

    label: str
    edges: tuple[float, ...]
    angle: float = 0.0
    turned: tuple[float, ...] = ()
    polygon: tuple[float, ...] = ()


class VocFile(NamedTuple):
    """The photograph's size in pixels, NaN where it is not stated, and its objects."""

    width: float
    height: float
    objects: tuple[VocObject, ...]


def read_voc_file(path: Path) -> VocFile:
    """Read a VOC file, without entities or references to elsewhere.

    Raises:
        OSError: it cannot be read.
        ValueError: too large, not XML, with such things, or no VOC file; the message names the file.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"annotation {path} is larger than {MAX_BYTES // 2**10} KiB; it is no VOC file")
    try:
        root: Element = fromstring(path.read_bytes(), forbid_dtd=True)
    except DefusedXmlException as error:
        raise ValueError(
            f"annotation {path} declares entities or a document type, which is refused; export it again"
        ) from error
    except (ParseError, ValueError, LookupError) as error:
        raise ValueError(f"annotation {path} is not readable XML ({error}); export it again") from error
    if root.tag != "annotation":
        raise ValueError(f"annotation {path} begins with <{root.tag}>; export it as Pascal VOC")
    kept = (item for item in root.iter("object") if (item.findtext("deleted") or "0").strip() == "0")
    objects = tuple(_object(item) for item in kept)
    return VocFile(_number(root, "size/width"), _number(root, "size/height"), objects)


def _object(item: Element) -> VocObject:
    angles = (
        _number(entry, "value")
        for entry in item.iterfind("attributes/attribute")
        if entry.findtext("name") == "rotation"
    )
    turned = item.find("robndbox")
    polygon = item.find("polygon")
    points: list[float] = []
    if polygon is not None:
        corners = [(_number(point, "x"), _number(point, "y")) for point in polygon.iterfind("pt")]
        count = 0 if corners else len(polygon) // 2
        corners += [(_number(polygon, f"x{n}"), _number(polygon, f"y{n}")) for n in range(1, count + 1)]
        points = [value for corner in corners for value in corner]
    return VocObject(
        (item.findtext("name") or "").strip(),
        tuple(_number(item, f"bndbox/{edge}") for edge in _EDGES),
        next(angles, 0.0),
        () if turned is None else tuple(_number(turned, name) for name in _TURNED),
        tuple(points),
    )


def _number(item: Element, path: str) -> float:
    try:
        return float(item.findtext(path) or "")
    except ValueError:
        return math.nan
