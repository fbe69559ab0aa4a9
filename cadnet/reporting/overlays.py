"""Pictures of what a network got right and wrong, in the colours of the paper's Figs 9-12."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from cadnet.images import encode_png
from cadnet.types import BACKGROUND, IGNORE_INDEX

CORRECT, MISSED, FALSE, WRONG_CLASS = (255, 255, 255), (0, 200, 70), (235, 45, 45), (80, 140, 255)
"""White: found; green: missed; red: false alarm; blue: found but called another class (not in the paper)."""

ERR_COLOUR = (255, 214, 0)
LEGEND = "white = found, green = missed, red = false, blue = wrong class; Err = wrong pixels in all"
MOST_COLUMNS = 7
"""Pictures side by side on a sheet; so many can be read without scrolling on a usual screen."""
DARKEN = 0.3
"""Brightness of the image under an overlay."""

PAGE, INK, FAINT_INK = (255, 255, 255), (42, 48, 54), (91, 101, 112)


@dataclass(frozen=True)
class SheetRow:
    """One sample of a sheet.

    ``image`` and ``reference``: uint8 RGB (H, W, 3); ``truth`` and each of ``predictions`` (by method
    title): uint8 labels (H, W), 255 in ``truth`` being ignored. ``label`` says which sample it is and why
    it was chosen.
    """

    label: str
    image: np.ndarray
    reference: np.ndarray
    truth: np.ndarray
    predictions: Mapping[str, np.ndarray]


def error_pixels(truth: np.ndarray, prediction: np.ndarray) -> int:
    """Count the pixels where ``prediction`` is not ``truth``, ignored ones apart (the paper's "Err")."""
    return int(((truth != prediction) & (truth != IGNORE_INDEX)).sum())


def error_map(truth: np.ndarray, prediction: np.ndarray, image: np.ndarray | None = None) -> np.ndarray:
    """Colour a prediction by what is right and wrong, uint8 RGB (H, W, 3).

    Args:
        truth: labels (H, W), 0..K and 255 for ignore (shown as background).
        prediction: labels (H, W), 0..K.
        image: uint8 RGB (H, W, 3) shown darkened underneath; black without.

    Raises:
        ValueError: the shapes differ.
    """
    if truth.shape != prediction.shape or (image is not None and image.shape[:2] != truth.shape):
        shapes = [array.shape for array in (truth, prediction, image) if array is not None]
        raise ValueError(f"truth, prediction and image must have one size, got {shapes}")
    canvas = np.zeros((*truth.shape, 3), np.uint8) if image is None else (image * DARKEN).astype(np.uint8)
    scored, true, guess = truth != IGNORE_INDEX, truth != BACKGROUND, prediction != BACKGROUND
    canvas[scored & true & guess & (truth == prediction)] = CORRECT
    canvas[scored & true & guess & (truth != prediction)] = WRONG_CLASS
    canvas[scored & true & ~guess] = MISSED
    canvas[scored & ~true & guess] = FALSE
    return canvas


def truth_map(truth: np.ndarray) -> np.ndarray:
    """Labels (H, W) as uint8 RGB: defects white on black, ignored pixels grey."""
    canvas = np.zeros((*truth.shape, 3), np.uint8)
    canvas[(truth != BACKGROUND) & (truth != IGNORE_INDEX)] = CORRECT
    canvas[truth == IGNORE_INDEX] = (70, 70, 70)
    return canvas


def comparison_sheet(
    rows: Sequence[SheetRow], title: str, *, darkened: bool = False, cell: int = 192
) -> np.ndarray:
    """Draw rows of inspected, reference, truth and the prediction of every method, uint8 RGB.

    More than :data:`MOST_COLUMNS` pictures of a sample are wrapped into lines of equal length, each under its
    own names, so that the truth stays in sight of every prediction.

    Args:
        rows: samples; all with the same methods, in the same order.
        title: one line above the sheet; it should say scale and seed.
        darkened: show predictions over the darkened image, not on black.
        cell: width of a column in pixels; heights follow the samples' shapes.

    Raises:
        ValueError: no rows, or rows with differing methods.
    """
    methods = list(rows[0].predictions) if rows else []
    if not methods or any(list(row.predictions) != methods for row in rows):
        raise ValueError("a sheet needs at least one row, and every row the same methods in the same order")
    gap, names = 6, ["inspected", "reference", "truth", *methods]
    lines = -(-len(names) // MOST_COLUMNS)
    columns = -(-len(names) // lines)
    width = gap + columns * (cell + gap)
    strips = [_title_strip(title, width, gap)]
    if lines == 1:
        strips.append(_name_strip(names, width, cell, gap))
    for row in rows:
        under = row.image if darkened else None
        pictures = [row.image, row.reference, truth_map(row.truth)]
        pictures = [_fit(picture, cell) for picture in pictures]
        for prediction in row.predictions.values():
            drawn = _fit(error_map(row.truth, prediction, under), cell)
            pictures.append(_with_err(drawn, error_pixels(row.truth, prediction)))
        if lines > 1:
            strips.append(np.full((12, width, 3), PAGE, np.uint8))
        strips.append(_label_strip(row.label, width, gap))
        for start in range(0, len(names), columns):
            if lines > 1:
                strips.append(_name_strip(names[start : start + columns], width, cell, gap))
            strips.append(_strip(pictures[start : start + columns], width, gap))
    strips.append(_label_strip(LEGEND, width, gap))
    return np.concatenate(strips)


def comparison_png(rows: Sequence[SheetRow], title: str, *, darkened: bool = False, cell: int = 192) -> bytes:
    """:func:`comparison_sheet` as PNG bytes."""
    return encode_png(comparison_sheet(rows, title, darkened=darkened, cell=cell))


def _fit(picture: np.ndarray, width: int) -> np.ndarray:
    """Scale to ``width``; by area when shrinking, so that a thin line fades but does not vanish."""
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    method = cv2.INTER_AREA if width < picture.shape[1] else cv2.INTER_NEAREST
    return cv2.resize(picture, (width, height), interpolation=method)


def _strip(pictures: Sequence[np.ndarray], width: int, gap: int) -> np.ndarray:
    strip = np.full((max(p.shape[0] for p in pictures) + gap, width, 3), PAGE, np.uint8)
    for column, picture in enumerate(pictures):
        left = gap + column * (picture.shape[1] + gap)
        strip[: picture.shape[0], left : left + picture.shape[1]] = picture
    return strip


def _title_strip(title: str, width: int, gap: int) -> np.ndarray:
    strip = Image.new("RGB", (width, 34), PAGE)
    draw = ImageDraw.Draw(strip)
    draw.text((gap, 6), title, INK, font(16, bold=True, text=title, width=width - 2 * gap))
    return np.asarray(strip)


def _name_strip(names: Sequence[str], width: int, cell: int, gap: int) -> np.ndarray:
    strip = Image.new("RGB", (width, 22), PAGE)
    draw = ImageDraw.Draw(strip)
    for column, name in enumerate(names):
        draw.text((gap + column * (cell + gap), 0), name, INK, font(14, text=name, width=cell))
    return np.asarray(strip)


def _label_strip(label: str, width: int, gap: int) -> np.ndarray:
    strip = Image.new("RGB", (width, 20), PAGE)
    ImageDraw.Draw(strip).text((gap, 1), label, FAINT_INK, font(12, text=label, width=width - 2 * gap))
    return np.asarray(strip)


def _with_err(picture: np.ndarray, count: int) -> np.ndarray:
    image = Image.fromarray(picture)
    size = max(10, picture.shape[1] // 11)
    draw = ImageDraw.Draw(image)
    draw.text((4, 2), f"Err {count}", ERR_COLOUR, font(size), stroke_width=1, stroke_fill=(0, 0, 0))
    return np.asarray(image)


def font(size: int, *, bold: bool = False, text: str = "", width: int = 0) -> ImageFont.FreeTypeFont:
    """The font that ships with matplotlib, so that none need be installed; shrunk until ``text`` fits."""
    weight = "bold" if bold else "normal"
    path = font_manager.findfont(font_manager.FontProperties("DejaVu Sans", weight=weight))
    font = ImageFont.truetype(path, size)
    while width and size > 8 and font.getlength(text) > width:
        size -= 1
        font = ImageFont.truetype(path, size)
    return font
