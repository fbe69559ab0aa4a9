"""Contact sheets of a dataset: its defects beside the reference, to be looked at before anything trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from cadnet.images import decode, encode_png, read_image
from cadnet.reporting.overlays import FAINT_INK, INK, PAGE, font

SHOWN = 12
RULE = (
    "The regions of this class are put in order of size and cut into twelve equal parts; one is drawn from "
    "each (seed 0), smallest first, from samples not yet shown where there are any."
)
CLEAN_RULE = "Samples without a defect, evenly spaced over the table."
"""Stated under the sheets."""

TILE, GAP, MARGIN, LABEL, HEAD = 168, 4, 16, 22, 58
"""Pixels: a picture, between the pictures of one sample, between samples, a line of text, the title."""
_CONTEXT = 2.0
"""Side of what is shown around a defect, in sides of the defect."""
_LEAST = 48
"""Pixels shown at least, so that the surroundings can be recognised."""
_GAIN = 4
"""Factor by which differences of clean pairs are made visible."""

Strip = tuple[list[np.ndarray], str]
"""The pictures of one sample, uint8 RGB (TILE, TILE, 3), and the line beneath."""


@dataclass(frozen=True)
class ShownSample:
    """A sample by the paths of its files."""

    sample_id: str
    split: str
    image: Path
    reference: Path


@dataclass(frozen=True)
class ShownDefect:
    """One region of class ``label`` in a sample: ``box`` x, y, width, height and its area in ``pixels``."""

    sample: ShownSample
    mask: Path
    label: int
    box: tuple[int, int, int, int]
    pixels: int


def choose_defects(defects: Sequence[ShownDefect], count: int = SHOWN, seed: int = 0) -> list[ShownDefect]:
    """Choose at most ``count`` of the regions of one class by :data:`RULE`."""
    ordered = sorted(defects, key=lambda item: (item.pixels, item.sample.sample_id, item.box))
    generator = np.random.default_rng(seed)
    chosen: list[ShownDefect] = []
    seen: set[str] = set()
    for part in np.array_split(np.arange(len(ordered)), min(count, len(ordered)) or 1):
        members = [ordered[index] for index in part.tolist()]
        fresh = [item for item in members if item.sample.sample_id not in seen] or members
        if fresh:
            chosen.append(fresh[int(generator.integers(len(fresh)))])
            seen.add(chosen[-1].sample.sample_id)
    return chosen


def defect_sheet(
    defects: Sequence[ShownDefect], palette: Sequence[tuple[int, int, int]], title: str
) -> bytes:
    """Draw each defect as image, reference and image with the mask's outline; returns PNG bytes.

    Args:
        defects: what is shown, in this order.
        palette: RGB colours of the classes 1..K.
        title: one line above the sheet.

    Raises:
        FileNotFoundError, ImageError: a file cannot be read.
    """
    return _sheet([_defect_strip(item, palette) for item in defects], ("image", "reference", "mask"), title)


def clean_sheet(samples: Sequence[ShownSample], title: str) -> bytes:
    """Draw defect-free samples as image, reference and their difference, four times enlarged; PNG bytes.

    Raises:
        FileNotFoundError, ImageError: a file cannot be read.
    """
    strips = [_clean_strip(item) for item in samples]
    return _sheet(strips, ("image", "reference", f"difference x {_GAIN}"), title)


def _defect_strip(item: ShownDefect, palette: Sequence[tuple[int, int, int]]) -> Strip:
    image, mask = read_image(item.sample.image), decode(item.mask, cv2.IMREAD_UNCHANGED)
    rows, columns = _window(item.box, image.shape[:2])
    reference = read_image(item.sample.reference)[rows, columns]
    crop = image[rows, columns]
    outlined = _fit(crop)
    for label, colour in enumerate(palette, start=1):
        _outline(outlined, _fit_mask(mask[rows, columns] == label), colour)
    text = (
        f"{item.sample.sample_id} ({item.sample.split}), {item.box[2]} x {item.box[3]} px, area {item.pixels}"
    )
    return [_tile(_fit(crop)), _tile(_fit(reference)), _tile(outlined)], text


def _clean_strip(item: ShownSample) -> Strip:
    image, reference = read_image(item.image), read_image(item.reference)
    apart = cv2.convertScaleAbs(cv2.absdiff(image, reference), alpha=_GAIN)
    return [_tile(_fit(picture)) for picture in (image, reference, apart)], f"{item.sample_id} ({item.split})"


def _window(box: tuple[int, int, int, int], shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns around a box, inside the image."""
    side = max(_LEAST, round(_CONTEXT * max(box[2:])))

    def span(start: int, length: int, whole: int) -> slice:
        size = min(side, whole)
        first = min(max(0, start + length // 2 - size // 2), whole - size)
        return slice(first, first + size)

    return span(box[1], box[3], shape[0]), span(box[0], box[2], shape[1])


def _fitted(shape: tuple[int, ...]) -> tuple[tuple[int, int], bool]:
    """Width and height within a tile, and whether that is a reduction."""
    scale = TILE / max(shape[:2])
    return (max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))), scale < 1


def _fit(picture: np.ndarray) -> np.ndarray:
    size, reduces = _fitted(picture.shape)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if reduces else cv2.INTER_NEAREST)


def _fit_mask(mask: np.ndarray) -> np.ndarray:
    """Bool mask at the tile's scale; a line thinner than a pixel there stays."""
    size, reduces = _fitted(mask.shape)
    method = cv2.INTER_AREA if reduces else cv2.INTER_NEAREST
    return cv2.resize(mask.astype(np.float32), size, interpolation=method) > 0


def _outline(picture: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Draw a line around ``mask``, in ``colour`` with a dark rim, outside of what it encloses."""
    if not mask.any():
        return
    reach = [cv2.dilate(mask.view(np.uint8), np.ones((side, side), np.uint8)) > 0 for side in (5, 7)]
    picture[reach[1] & ~mask] = (0, 0, 0)
    picture[reach[0] & ~mask] = colour


def _tile(picture: np.ndarray) -> np.ndarray:
    tile = np.full((TILE, TILE, 3), PAGE, np.uint8)
    top, left = ((TILE - side) // 2 for side in picture.shape[:2])
    tile[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return tile


def _sheet(strips: Sequence[Strip], names: Sequence[str], title: str) -> bytes:
    across = min(2, max(1, len(strips)))
    strip_width = 3 * TILE + 2 * GAP
    width = MARGIN + across * (strip_width + MARGIN)
    down = -(-len(strips) // across)
    step = TILE + LABEL + MARGIN // 2
    sheet = Image.new("RGB", (width, HEAD + down * step), PAGE)
    draw = ImageDraw.Draw(sheet)
    inner = width - 2 * MARGIN
    draw.text((MARGIN, 8), title, INK, font(16, bold=True, text=title, width=inner))
    for index, (pictures, text) in enumerate(strips):
        left = MARGIN + index % across * (strip_width + MARGIN)
        top = HEAD + index // across * step
        for column, picture in enumerate(pictures):
            place = left + column * (TILE + GAP)
            if index < across:
                draw.text((place, HEAD - 22), names[column], INK, font(13))
            sheet.paste(Image.fromarray(picture), (place, top))
        text = _shortened(text, strip_width)
        draw.text((left, top + TILE + 3), text, FAINT_INK, font(12, text=text, width=strip_width))
    return encode_png(np.asarray(sheet))


def _shortened(text: str, width: int) -> str:
    """``text`` without its middle where even the smallest type is too wide."""
    measure: Callable[[str], float] = font(8).getlength
    kept = len(text)
    while kept > 8 and measure(text[: kept // 2] + "…" + text[-(kept // 2) :]) > width:
        kept -= 2
    return text if kept == len(text) else f"{text[: kept // 2]}…{text[-(kept // 2) :]}"
