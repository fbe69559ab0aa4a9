"""Sizes that labels state against those of their photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from cadnet.preparers.pairs.problems import Problems


class Size(NamedTuple):
    """Width and height in pixels as shown; ``turned``: EXIF turns the stored pixels by a right angle for "
    "that."""

    width: int
    height: int
    turned: bool


def mismatch(label: object, source: str, size: Size, width: Any, height: Any) -> str | None:
    """Return why labels of ``width`` x ``height`` do not fit the photograph ``source``; None when they do."""
    if (width, height) == (size.width, size.height):
        return None
    text = f"{label} is made for {width} x {height} pixels, {source} has {size.width} x {size.height}"
    if (width, height) == (size.height, size.width) and size.turned:
        return (
            f"{text} as shown: its EXIF entry turns it. Labels are taken to be drawn on the photograph as it "
            "is shown; turn the labels, or save the photograph without that entry and turned as the labels "
            "are"
        )
    return f"{text}; draw the labels on this very file"


def check_size(label: Path, source: str, size: Size, width: Any, height: Any, problems: Problems) -> None:
    """Note a problem when an annotation file states another size; absent or zero statements are passed."""
    if not width or not height:
        return
    fault = mismatch(label, source, size, width, height)
    if fault:
        problems.add(fault)


def unlike_reference(source: str, size: tuple[int, int], reference: str, own: tuple[int, int]) -> str:
    """Say that a photograph and its reference differ in size (width, height), which needs alignment."""
    return (
        f"{source} is {size[0]} x {size[1]}, its reference {reference} {own[0]} x {own[1]}; switch "
        "alignment on (`alignment: {model: affine}` in params.yaml), or give it a reference of its size"
    )
