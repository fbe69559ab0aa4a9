"""Contact sheets of a dataset: its defects beside the reference, for a look before anything trains."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw

from cadnet.images import decode, encode_png, read_image
from cadnet.reporting.overlays import FAINT_INK, INK, PAGE, font
from cadnet.validation.facts import DatasetFacts
from cadnet.validation.page import Sheet

SHOWN, CLEAN_SHOWN = 12, 8
"""Defects of a class, and clean samples, that are shown."""
RULE = (
    "The regions of this class are put in order of size and cut into twelve equal parts; one is drawn from "
    "each (seed 0), smallest first, from samples not yet shown where there are any."
)
CLEAN_RULE = "Samples without a defect, evenly spaced over the table."
"""Stated under the sheets."""

TILE, GAP, MARGIN, LABEL, HEAD = 168, 4, 16, 22, 58
"""Pixels: a picture, between the pictures of one sample, between samples, a line of text, the title."""
_CONTEXT = 2.0
"""Side of the crop around a defect, in sides of the defect."""
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


def contact_sheets(facts: DatasetFacts) -> Iterator[Sheet]:
    """Yield one sheet per class that occurs and one of clean samples, of samples whose files can be used."""
    root, classes = facts.table.root, facts.table.classes
    defects: dict[int, list[ShownDefect]] = {label: [] for label in range(1, len(classes) + 1)}
    clean: list[ShownSample] = []
    for row in _drawable(facts):
        sample = ShownSample(row["sample_id"], row["split"], root / row["image"], root / row["reference"])
        regions = facts.masks[row["mask"]].defects.tolist()
        for label, x, y, width, height, pixels in regions:
            box = (x, y, width, height)
            defects[label].append(ShownDefect(sample, root / row["mask"], label, box, pixels))
        if not regions:
            clean.append(sample)
    for (label, found), file in zip(defects.items(), sheet_files(classes), strict=True):
        if found:
            title = f"{classes[label - 1]}: {min(SHOWN, len(found))} of {len(found):,} defects"
            png = defect_sheet(choose_defects(found), facts.table.palette, title)
            yield Sheet(file, png, title, RULE)
    if clean:
        rows = np.linspace(0, len(clean) - 1, min(CLEAN_SHOWN, len(clean))).round().astype(int)
        shown = [clean[row] for row in rows.tolist()]
        title = f"clean: {len(shown)} of {len(clean):,} samples"
        yield Sheet("sheets/clean.png", clean_sheet(shown, title), title, CLEAN_RULE)


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
            edge = left + column * (TILE + GAP)
            if index < across:
                draw.text((edge, HEAD - 22), names[column], INK, font(13))
            sheet.paste(Image.fromarray(picture), (edge, top))
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


def _drawable(facts: DatasetFacts) -> Iterator[dict[Any, Any]]:
    rows = facts.samples
    sound = rows["shows_defect"].notna() & rows["image_problem"].isna() & rows["reference_problem"].isna()
    sound &= (rows["image_size"] == rows["mask_size"]) & (rows["image_size"] == rows["reference_size"])
    yield from rows[sound].to_dict("records")


def sheet_files(classes: Sequence[str]) -> list[str]:
    """A file for each class: its name as far as files may be called so, and none twice."""
    taken = {"clean"}
    files = []
    for name in classes:
        stem = re.sub(r"[^\w-]+", "_", name).strip("_") or "class"
        while stem.lower() in taken:
            stem += "_"
        taken.add(stem.lower())
        files.append(f"sheets/{stem}.png")
    return files
