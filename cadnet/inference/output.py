"""Results on disk: a folder for each image, and one table of all."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from cadnet.files import atomic_path, write_json
from cadnet.images import write_png
from cadnet.inference.drawing import class_colours, draw_overlay
from cadnet.inference.files import RESULT_FILES, TABLES, ImageFile
from cadnet.inference.prediction import Prediction
from cadnet.inference.predictor import Predictor

SUMMARY_COLUMNS = (
    "image", "result", "verdict", "defects", "defect_pixels", "classes", "largest_area", "highest_confidence",
    "reference", "difference", "residual", "shift", "covered", "seconds", "notes",
)  # fmt: skip
ERROR_COLUMNS = ("image", "reason")


class ResultWriter:
    """Writes what a predictor gives below ``out``; a context in which images are added.

    The tables of an earlier run are removed at the start, and the new ones get their names at the end: where
    there is no ``summary.csv``, a run was cut short. Each image's files are written anew, ``result.json``
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
        folder = self._out / image.result
        (folder / RESULT_FILES[-1]).unlink(missing_ok=True)
        write_png(folder / "mask.png", prediction.labels)
        write_png(folder / "probability.png", np.rint(prediction.probability * 255).astype(np.uint8))
        write_png(folder / "overlay.png", draw_overlay(prediction, self._names, self._colours))
        write_json(folder / RESULT_FILES[-1], self._record(image, prediction))
        self._table(TABLES[0], SUMMARY_COLUMNS).writerow(_row(image, prediction))

    def fail(self, image: ImageFile, reason: str) -> None:
        """Note an image that could not be judged, and remove what an earlier run said about it."""
        for name in RESULT_FILES:
            (self._out / image.result / name).unlink(missing_ok=True)
        self._table(TABLES[1], ERROR_COLUMNS).writerow({"image": str(image.path), "reason": reason})

    def _table(self, name: str, columns: tuple[str, ...]) -> Any:
        """The open table of that name; it gets its final name when the context ends well."""
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
    """A defect's entry, the class under its usual key."""
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
