"""Results on disk: a folder for each image with its overlay, and one table of all."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np

from cadnet.files import atomic_path, refuse_links, spreadsheet_safe, write_json
from cadnet.images import write_png
from cadnet.images.labels import palette
from cadnet.inference.files import RESULT_FILES, TABLES, ImageFile
from cadnet.inference.prediction import Defect, Prediction
from cadnet.inference.predictor import Predictor

Colour = tuple[int, int, int]

LEAST = 384
"""Pixels of the longer side below which an image is enlarged, so that names do not cover it."""

_DARK = (0, 0, 0)
_MOST_BOXES = 200
"""Boxes and texts of more defects would hide the image; all get outlines."""


def class_colours(metadata: Mapping[str, Any], count: int) -> tuple[Colour, ...]:
    """Return an RGB colour for each class: those in the metadata of the weights, or a default palette."""
    known = metadata.get("palette")
    try:
        colours = [tuple(int(value) for value in colour) for colour in known or ()]
    except (TypeError, ValueError, OverflowError):
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


SUMMARY_COLUMNS = (
    "image", "result", "verdict", "defects", "defect_pixels", "classes", "largest_area", "highest_confidence",
    "reference", "difference", "residual", "shift", "covered", "seconds", "notes",
)  # fmt: skip
ERROR_COLUMNS = ("image", "reason")


class ResultWriter:
    """Writes predictions below ``out``; a context manager in which images are added.

    The tables of an earlier run are removed at the start, and the new ones get their names at the end:
    without a ``summary.csv`` a run was interrupted. Each image's files are rewritten, ``result.json``
    last.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """

    def __init__(self, out: Path, predictor: Predictor) -> None:
        self._out = out
        self._predictor = predictor
        self._names = predictor.product.class_names
        self._colours = class_colours(predictor.description.metadata, len(self._names))
        self._stack = ExitStack()
        self._tables: dict[str, Any] = {}

    def __enter__(self) -> Self:
        for name in TABLES:
            (self._out / name).unlink(missing_ok=True)
        self._table(TABLES[0], SUMMARY_COLUMNS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, image: ImageFile, prediction: Prediction) -> None:
        """Write one image's folder and its row."""
        folder = self._folder(image)
        (folder / RESULT_FILES[-1]).unlink(missing_ok=True)
        write_png(folder / "mask.png", prediction.labels)
        write_png(folder / "probability.png", np.rint(prediction.probability * 255).astype(np.uint8))
        write_png(folder / "overlay.png", draw_overlay(prediction, self._names, self._colours))
        write_json(folder / RESULT_FILES[-1], self._record(image, prediction))
        self._write(TABLES[0], SUMMARY_COLUMNS, _row(image, prediction))

    def fail(self, image: ImageFile, reason: str) -> None:
        """Record an image that could not be judged, and remove results of an earlier run."""
        for name in RESULT_FILES:
            (self._folder(image) / name).unlink(missing_ok=True)
        self._write(TABLES[1], ERROR_COLUMNS, {"image": str(image.path), "reason": reason})

    def _folder(self, image: ImageFile) -> Path:
        folder = self._out / image.result
        refuse_links(folder, self._out)
        return folder

    def _write(self, name: str, columns: tuple[str, ...], row: Mapping[str, object]) -> None:
        self._table(name, columns).writerow({key: spreadsheet_safe(value) for key, value in row.items()})

    def _table(self, name: str, columns: tuple[str, ...]) -> Any:
        """Return the open table of that name; it gets its final name when the context ends without error."""
        if name not in self._tables:
            temporary = self._stack.enter_context(atomic_path(self._out / name))
            handle = self._stack.enter_context(temporary.open("w", encoding="utf-8", newline=""))
            self._tables[name] = csv.DictWriter(handle, columns, lineterminator="\n")
            self._tables[name].writeheader()
        return self._tables[name]

    def _record(self, image: ImageFile, prediction: Prediction) -> dict[str, Any]:
        predictor = self._predictor
        return {
            "image": str(image.path),
            "width": prediction.image.shape[1],
            "height": prediction.image.shape[0],
            "verdict": prediction.verdict,
            "defect_pixels": prediction.defect_pixels,
            "defects": [_defect(defect._asdict()) for defect in prediction.defects],
            "reference": None if prediction.reference is None else prediction.reference._asdict(),
            "alignment": None if prediction.alignment is None else prediction.alignment._asdict(),
            "threshold": predictor.threshold,
            "min_pixels": predictor.min_pixels,
            "model": {
                "product": predictor.product.name,
                "network": predictor.description.name,
                "classes": list(self._names),
                "weights_sha256": predictor.product.weights_sha256,
            },
            "seconds": round(prediction.seconds, 4),
            "notes": list(prediction.notes),
        }


def _defect(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a defect's entry with its class under "class"."""
    rest = {key: value for key, value in values.items() if key != "class_name"}
    return {"class": values["class_name"], **rest}


def _row(image: ImageFile, prediction: Prediction) -> dict[str, object]:
    defects, reference, placed = prediction.defects, prediction.reference, prediction.alignment
    named = sorted({defect.class_name for defect in defects})
    return {
        "image": str(image.path),
        "result": image.result,
        "verdict": prediction.verdict,
        "defects": len(defects),
        "defect_pixels": prediction.defect_pixels,
        "classes": " ".join(named),
        "largest_area": defects[0].area if defects else 0,
        "highest_confidence": round(max((defect.confidence for defect in defects), default=0.0), 4),
        "reference": "" if reference is None else reference.name,
        "difference": "" if reference is None or reference.difference is None else reference.difference,
        "residual": "" if placed is None else round(placed.residual, 3),
        "shift": "" if placed is None else round(placed.shift, 2),
        "covered": "" if placed is None else round(placed.covered, 4),
        "seconds": round(prediction.seconds, 4),
        "notes": "; ".join(prediction.notes),
    }
