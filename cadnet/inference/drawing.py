"""Predictions drawn onto their images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from cadnet.images.labels import palette
from cadnet.inference.prediction import Defect, Prediction

Colour = tuple[int, int, int]

LEAST = 384
"""Pixels of the longer side below which an image is drawn enlarged, so that names do not cover it."""

_DARK = (0, 0, 0)
_MOST_BOXES = 200
"""Boxes and texts of more defects would hide the image; outlines are drawn of all."""


def class_colours(metadata: Mapping[str, Any], count: int) -> tuple[Colour, ...]:
    """Return an RGB colour for each class: those of the training data, where the weights tell them."""
    known = metadata.get("palette")
    try:
        colours = [tuple(int(value) for value in colour) for colour in known or ()]
    except (TypeError, ValueError):
        colours = []
    usable = len(colours) == count and all(
        len(colour) == 3 and min(colour) >= 0 and max(colour) <= 255 for colour in colours
    )
    return tuple((c[0], c[1], c[2]) for c in colours) if usable else palette(count)


def draw_overlay(prediction: Prediction, class_names: Sequence[str], colours: Sequence[Colour]) -> np.ndarray:
    """Return the image, uint8 RGB, with outlines and boxes of the defects in colours of classes.

    Its size is the image's, or for an image below :data:`LEAST` pixels a whole multiple of it.
    """
    factor = max(1, -(-LEAST // max(prediction.labels.shape)))
    canvas, labels = (
        np.ascontiguousarray(one.repeat(factor, 0).repeat(factor, 1))
        for one in (prediction.image, prediction.labels)
    )
    width = max(1, round(max(canvas.shape[:2]) / 500))
    for label, colour in enumerate(colours, start=1):
        mask = (labels == label).view(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, outlines, -1, colour, width)
    by_name = dict(zip(class_names, colours, strict=True))
    for defect in reversed(prediction.defects[:_MOST_BOXES]):
        x0, y0, x1, y1 = defect.box
        box = x0 * factor, y0 * factor, x1 * factor, y1 * factor
        colour = by_name[defect.class_name]
        _draw_box(canvas, defect._replace(box=box), colour, list(class_names), width)
    return canvas


def _draw_box(canvas: np.ndarray, defect: Defect, colour: Colour, class_names: list[str], width: int) -> None:
    x0, y0, x1, y1 = defect.box
    gap = 2 * width + 1
    cv2.rectangle(canvas, (x0 - gap, y0 - gap), (x1 - 1 + gap, y1 - 1 + gap), colour, width)
    # The font of OpenCV has ASCII only.
    name = defect.class_name
    text = f"{name if name.isascii() else class_names.index(name) + 1} {defect.confidence:.0%}"
    size = 0.4 * width
    (wide, high), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, width)
    left = max(0, min(x0 - gap, canvas.shape[1] - wide))
    # Above the box, or below it where there is no room.
    base = y0 - gap - 2 if y0 - gap - 2 >= high else min(canvas.shape[0] - 2, y1 + gap + high + 2)
    for ink, thickness in ((_DARK, 3 * width), (colour, width)):
        place = left, base
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, ink, thickness, cv2.LINE_AA)
