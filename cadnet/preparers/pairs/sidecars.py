"""Annotation files of one photograph each: LabelMe json and Pascal VOC xml."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml
from defusedxml.ElementTree import fromstring

from cadnet.preparers.pairs.names import LabelNames, numbers, read_annotation_json
from cadnet.preparers.pairs.problems import Problems
from cadnet.preparers.pairs.shapes import Shape, check_shape
from cadnet.preparers.pairs.sizes import Size, check_size

MAX_XML_BYTES = 2**20

Reader = Callable[[Path, str, Size, LabelNames, Problems], list[Shape]]
"""Reads the objects of a file that belongs to the photograph ``source`` of a size; () when it is unusable."""


def read_labelme(path: Path, source: str, size: Size, names: LabelNames, problems: Problems) -> list[Shape]:
    """Read a LabelMe file; a file without shapes says that there is no defect.

    The picture that it names or holds is not looked at: the file belongs to the photograph of its own name.
    """
    try:
        data = read_annotation_json(path)
    except (ValueError, OSError) as error:
        problems.add(str(error))
        return []
    drawn = data.get("shapes") if isinstance(data, dict) else None
    if not isinstance(drawn, list) or not all(isinstance(item, dict) for item in drawn):
        problems.add(f"{path} is no LabelMe file: it has no list of shapes; export it again")
        return []
    check_size(path, source, size, data.get("imageWidth"), data.get("imageHeight"), problems)
    found = []
    for number, item in enumerate(drawn, start=1):
        label = str(item.get("label"))
        value = names.value(label)
        if value is None:
            continue
        try:
            found.append(_labelme_shape(item, value, label, size))
        except ValueError as error:
            problems.add(f"{path}, shape {number} ({label!r:.60}): {error}; correct it or remove it")
    return found


def _labelme_shape(item: dict[str, Any], value: int, label: str, size: Size) -> Shape:
    kind, points = item.get("shape_type") or "polygon", item.get("points")
    pairs = [numbers(point) for point in points] if isinstance(points, list) else []
    corners = [point for point in pairs if point is not None and len(point) == 2]
    if not corners or len(corners) < len(pairs):
        raise ValueError("its points are no pairs of numbers")
    flat = tuple(value for point in corners for value in point)
    if kind == "polygon":
        shape = Shape(value, "polygon", (flat,), label)
    elif kind in ("rectangle", "circle") and len(corners) == 2:
        (x1, y1), (x2, y2) = corners
        if kind == "circle":
            shape = Shape(value, "circle", ((x1, y1, math.hypot(x2 - x1, y2 - y1)),), label)
        else:
            shape = Shape(value, "box", ((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)),), label)
    else:
        raise ValueError(
            f"a {kind!r:.40} of {len(corners)} points has no area here; draw a polygon, a rectangle or a "
            "circle"
        )
    fault = check_shape(shape, size.width, size.height)
    if fault:
        raise ValueError(fault)
    return shape


def read_voc(path: Path, source: str, size: Size, names: LabelNames, problems: Problems) -> list[Shape]:
    """Read a Pascal VOC file: filled boxes. Pixels count from 1 there, and the last one belongs to the "
    "box."""
    try:
        root = parse_xml(path)
    except (ValueError, OSError) as error:
        problems.add(str(error))
        return []
    width, height = (_integer(root, f"size/{side}") for side in ("width", "height"))
    check_size(path, source, size, width, height, problems)
    found = []
    for number, item in enumerate(root.iter("object"), start=1):
        label = (item.findtext("name") or "").strip()
        value = names.value(label)
        if value is None:
            continue
        edges = [_number(item, f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax")]
        shape = Shape(value, "box", ((edges[0] - 1, edges[1] - 1, edges[2], edges[3]),), label)
        fault = check_shape(shape, size.width, size.height)
        if fault:
            problems.add(f"{path}, object {number} ({label!r:.60}): {fault}; correct it or remove it")
            continue
        found.append(shape)
    return found


def parse_xml(path: Path) -> Element:
    """Parse a small XML file without entities or references to elsewhere.

    Raises:
        ValueError: too large, not XML, or with such things; the message names the file.
    """
    if path.stat().st_size > MAX_XML_BYTES:
        raise ValueError(f"{path} is larger than {MAX_XML_BYTES // 2**10} KiB; it is no annotation file")
    try:
        root: Element = fromstring(path.read_bytes(), forbid_dtd=True)
    except defusedxml.DefusedXmlException as error:
        raise ValueError(
            f"{path} declares entities or a document type, which is refused; remove that"
        ) from error
    except (ParseError, ValueError, LookupError) as error:
        raise ValueError(f"{path} is not readable XML ({error}); export it again") from error
    return root


def _number(item: Element, name: str) -> float:
    try:
        return float(item.findtext(name) or "")
    except ValueError:
        return math.nan


def _integer(item: Element, name: str) -> int:
    value = _number(item, name)
    return int(value) if math.isfinite(value) else 0
