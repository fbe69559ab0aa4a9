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


class VocObject(NamedTuple):
    """One object: ``edges`` xmin, ymin, xmax, ymax as written, NaN where that is no number.

    Pixels count from 1, and the last one belongs to the box (Everingham et al. 2010, development kit).
    """

    label: str
    edges: tuple[float, ...]


class VocFile(NamedTuple):
    """The photograph's size in pixels, NaN where it is not stated, and its objects."""

    width: float
    height: float
    objects: tuple[VocObject, ...]


def read_voc_file(path: Path) -> VocFile:
    """Read a VOC file, without entities or references to elsewhere.

    Raises:
        OSError: it cannot be read.
        ValueError: too large, not XML, or with such things; the message names the file.
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
    objects = (
        VocObject(
            (item.findtext("name") or "").strip(), tuple(_number(item, f"bndbox/{edge}") for edge in _EDGES)
        )
        for item in root.iter("object")
    )
    return VocFile(_number(root, "size/width"), _number(root, "size/height"), tuple(objects))


def _number(item: Element, path: str) -> float:
    try:
        return float(item.findtext(path) or "")
    except ValueError:
        return math.nan
