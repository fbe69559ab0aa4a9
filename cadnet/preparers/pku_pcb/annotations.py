"""Pascal VOC annotation files: the boxes of one photograph."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from cadnet.writing.units import PreparationError

CLASSES = ("missing_hole", "mouse_bite", "open_circuit", "short", "spur", "spurious_copper")
"""Defect classes in mask order, the paper's c1..c6."""

MAX_BYTES = 2**20
"""Larger annotation files are refused."""
MAX_BOXES = 200
"""More in one photograph are refused; numbered in one byte, with room for what is ignored."""
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class Box(NamedTuple):
    """A rectangle in pixels, x0 <= x < x1 and y0 <= y < y1, with the class of what it holds."""

    label: str
    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def area(self) -> int:
        """Pixels inside."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)


class Annotation(NamedTuple):
    """What one file says: the photograph's size in pixels and its boxes, clipped to it.

    ``clipped`` tells for each box whether it reached over the edge.
    """

    width: int
    height: int
    boxes: tuple[Box, ...]
    clipped: tuple[bool, ...]


def class_name(text: str) -> str:
    """Return a class or folder name in the form of :data:`CLASSES`: lower case, words joined by one "_"."""
    return re.sub(r"[\s_-]+", "_", text.strip()).lower()


def read_annotation(path: Path) -> Annotation:
    """Read a VOC file.

    Its boxes count pixels from 1 and include the last one (Everingham et al. 2010, development kit); a box
    that reaches over the photograph's edge is clipped.

    Raises:
        OSError: it cannot be read.
        PreparationError: no VOC file, too large, or boxes that cannot be used; one line per fault.
    """
    if path.stat().st_size > MAX_BYTES:
        raise PreparationError(f"annotation {path} is larger than {MAX_BYTES} bytes; it is no VOC file")
    try:
        root: Element = fromstring(path.read_bytes(), forbid_dtd=True)
    except DefusedXmlException as error:
        raise PreparationError(
            f"annotation {path} declares a document type or entities ({type(error).__name__}); such files "
            "are refused, get it anew"
        ) from error
    except (ParseError, ValueError, LookupError) as error:
        raise PreparationError(f"annotation {path} is not readable XML ({error}); get it anew") from error
    width, height = (_number(root, f"size/{name}") for name in ("width", "height"))
    if width is None or height is None or width < 1 or height < 1:
        raise PreparationError(f"annotation {path} gives no photograph size; get it anew")
    found = [_box(item, width, height) for item in root.iter("object")]
    faults = [f"annotation {path}, box {n}: {f}" for n, f in enumerate(found, 1) if isinstance(f, str)]
    if not found:
        faults = [f"annotation {path} has no box; remove it and its photograph"]
    if len(found) > MAX_BOXES:
        faults = [f"annotation {path} has {len(found)} boxes; at most {MAX_BOXES} are read"]
    if faults:
        raise PreparationError("\n".join(faults))
    kept = [entry for entry in found if not isinstance(entry, str)]
    return Annotation(width, height, tuple(box for box, _ in kept), tuple(over for _, over in kept))


def _box(item: Element, width: int, height: int) -> tuple[Box, bool] | str:
    """The clipped box of one object and whether it was clipped, or what is wrong with it."""
    label = class_name(item.findtext("name") or "")
    if label not in CLASSES:
        return f"class {label!r} is unknown; known are {', '.join(CLASSES)}"
    corners = [_number(item, f"bndbox/{name}") for name in _CORNERS]
    numbers = [value for value in corners if value is not None]
    if len(numbers) < len(_CORNERS):
        return "its four corners are not all numbers; correct or remove it"
    x0, y0, x1, y1 = numbers[0] - 1, numbers[1] - 1, numbers[2], numbers[3]
    shown = ", ".join(map(str, numbers))
    # An inclusive box of equal corners would be one pixel; nobody draws that, so it is a slip.
    if x1 - x0 < 2 or y1 - y0 < 2:
        return f"({shown}) has no area; correct or remove it"
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        return f"({shown}) lies outside the {width} x {height} photograph; correct or remove it"
    box = Box(label, max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))
    return box, box[1:] != (x0, y0, x1, y1)


def _number(item: Element, path: str) -> int | None:
    try:
        value = float(item.findtext(path) or "")
        return round(value)
    except (ValueError, OverflowError):
        return None
