"""What a reader of the prepared dataset must know: masks that are boxes, and counts beside the paper's."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cadnet.preparers.aligned import failures_note
from cadnet.preparers.pku_pcb.annotations import CLASSES, Annotation
from cadnet.preparers.pku_pcb.layout import ROTATION, Photograph
from cadnet.preparers.pku_pcb.render import DEFECTS
from cadnet.preparers.pku_pcb.views import rectangles
from cadnet.preparers.pku_pcb.windows import Rectangle, cover

PAPER = {"train": 1566, "test": 676}
"""The paper's windows, section "PKU-Market-PCB"; it has no validation split."""
RULE = "as few windows as show every defect wholly, each at a drawn place among those that do"


def count_rules(annotations: Iterable[Annotation], side: int) -> dict[str, int]:
    """Count the windows that several rules give on unturned photographs, each rule in its own words."""
    totals = dict.fromkeys(
        (
            "cover: as few windows as show every defect wholly (used here)",
            "one window for each defect",
            "tiles from the top left, those that do not fit dropped; any that a box touches",
            "tiles from the top left, the last ones filled up; any that a box touches",
            "tiles spread evenly with overlap; any that a box touches",
            "sides resized to the nearest multiple of the window, cut into tiles; any that a box touches",
        ),
        0,
    )
    for annotation in annotations:
        width, height = annotation.width, annotation.height
        boxes = [Rectangle(*box[1:]) for box in annotation.boxes]
        whole = (max(round(width / side), 1), max(round(height / side), 1))
        resized = [_scaled(box, whole[0] * side / width, whole[1] * side / height) for box in boxes]
        counts = (
            len(cover(width, height, rectangles(annotation.boxes, width, height), side)),
            len(boxes),
            _touched(boxes, _tiles(width // side, side), _tiles(height // side, side), side),
            _touched(boxes, _tiles(-(-width // side), side), _tiles(-(-height // side), side), side),
            _touched(boxes, _even(width, side), _even(height, side), side),
            _touched(resized, _tiles(whole[0], side), _tiles(whole[1], side), side),
        )
        totals = {rule: total + more for (rule, total), more in zip(totals.items(), counts, strict=True)}
    return totals


def summarise(
    rows: list[dict[str, Any]],
    records: Mapping[str, list[dict[str, Any]]],
    photographs: Sequence[Photograph],
    rules: Mapping[str, int],
    rotated: bool,
) -> dict[str, Any]:
    """Return further entries of dataset.json; ``rotated``: whether rotated copies were asked for."""
    defects = records.get(DEFECTS, [])
    windows = {"train": 0, "test": 0}
    for row in rows:
        windows["test" if row["split"] == "test" else "train"] += 1
    return {
        "masks": {name: _masks([d for d in defects if d["defect_class"] == name]) for name in CLASSES},
        "windows": {
            "rule": RULE,
            "paper": PAPER,
            "here": windows,
            "unturned_photographs": sum("-r-" not in str(row["sample_id"]) for row in rows),
            "by_rule_on_unturned_photographs": dict(rules),
        },
        "notes": _notes(photographs, rotated, defects, windows) + failures_note(rows),
    }


def _notes(
    photographs: Sequence[Photograph],
    rotated: bool,
    defects: Sequence[Mapping[str, Any]],
    windows: Mapping[str, int],
) -> list[str]:
    copies = sum(p.copy is not None for p in photographs)
    filled = sum(d["method"] == "box" for d in defects)
    clipped = sum(bool(d["clipped"]) for d in defects)
    absent = [name for name in CLASSES if not any(d["defect_class"] == name for d in defects)]
    notes = [
        f"{windows['train']} windows for training (validation among them) and {windows['test']} for test "
        f"from {len(photographs)} photographs and {copies} rotated copies; the paper: {PAPER['train']:,} and "
        f"{PAPER['test']}, by a rule it does not state",
        f"{len(defects) - filled} of {len(defects)} masks come from the difference to the clean board, "
        f"{filled} are filled boxes (see {DEFECTS}.csv)",
    ]
    if rotated and copies < len(photographs):
        notes.append(f"{len(photographs) - copies} photographs have no rotated copy in {ROTATION}")
    if clipped:
        notes.append(f"{clipped} boxes reach over the edge of their photograph and were clipped")
    if absent:
        notes.append(f"no photograph shows {', '.join(absent)}")
    return notes


def _masks(defects: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Boxes of one class, masks from the difference, and the median share of the box that those cover."""
    coverages = [float(d["coverage"]) for d in defects if d["method"] == "difference"]
    return {
        "boxes": len(defects),
        "from_difference": len(coverages),
        "median_coverage": round(statistics.median(coverages), 4) if coverages else None,
    }


def _tiles(count: int, side: int) -> list[int]:
    return [index * side for index in range(count)]


def _even(length: int, side: int) -> list[int]:
    count = max(-(-length // side), 1)
    return [round(index * (length - side) / max(count - 1, 1)) for index in range(count)]


def _scaled(box: Rectangle, x: float, y: float) -> Rectangle:
    return Rectangle(round(box.x0 * x), round(box.y0 * y), round(box.x1 * x), round(box.y1 * y))


def _touched(boxes: Sequence[Rectangle], columns: Sequence[int], rows: Sequence[int], side: int) -> int:
    """How many of the squares at all ``columns`` and ``rows`` show some of a box."""
    return sum(any(box.touches(x, y, side) for box in boxes) for x in columns for y in rows)
