"""PKU-Market-PCB planned as a prepared dataset, with its entries of ``dataset.json`` beside the paper's."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import cadnet.alignment
import cadnet.images
import cadnet.preparers.aligned
import cadnet.preparers.pku_pcb
import cadnet.preparers.voc
from cadnet.config import PkuPcbParams, SplitParams
from cadnet.files import value_digest
from cadnet.images.labels import palette
from cadnet.preparers.aligned import failures_note
from cadnet.preparers.pku_pcb.layout import CLASSES, ROTATION, Annotation, Photograph, Raw, read_layout
from cadnet.preparers.pku_pcb.render import DEFECTS, Item, PkuPcbRenderer
from cadnet.preparers.pku_pcb.windows import Rectangle, cover, rectangles
from cadnet.writing.splits import draw_splits, read_splits
from cadnet.writing.units import Plan, PreparationError, Unit, shown, source_digests, tools

_CODE = (
    cadnet.preparers.pku_pcb, cadnet.preparers.voc, cadnet.preparers.aligned, cadnet.alignment, cadnet.images,
)  # fmt: skip
"""Modules that decide the bytes."""
_LISTED = 20
PAPER = {"train": 1566, "test": 676}
"""The paper's windows, section "PKU-Market-PCB"; it has no validation split."""
RULE = "as few windows as show every defect wholly, each at a drawn place among those that do"


def plan_pku_pcb(params: PkuPcbParams) -> Plan:
    """Plan the windows of the photographs below ``params.raw``; a unit is a photograph with its rotated copy.

    Nothing is decoded, all files are read once for their digests.

    Raises:
        PreparationError: no raw data, files that are unusable or do not belong together (all are listed), or
            photographs that the split list does not name.
        ArchiveError: ``params.raw`` is an archive that cannot be unpacked safely.
        FileNotFoundError: no split list.
    """
    raw = read_layout(params.raw, params.rotated)
    splits = _splits(raw.photographs, params)
    units = tuple(Unit(p.sample, Item(p, splits[p.name])) for p in raw.photographs)
    rules = count_rules((p.annotation for p in raw.photographs), params.window)
    return Plan(
        preparer="pku_pcb",
        name="pku_pcb",
        classes=CLASSES,
        palette=palette(len(CLASSES)),
        units=units,
        renderer=PkuPcbRenderer(raw.root, params),
        tools=tools(*_CODE),
        description={
            "params": params.model_dump(mode="json", exclude={"raw", "split_list"}),
            "splits": value_digest(splits),
            "sources": _sources(raw),
        },
        summarise=partial(summarise, photographs=raw.photographs, rules=rules, rotated=params.rotated),
    )


def split_photographs(names: Iterable[str], params: SplitParams) -> dict[str, str]:
    """Draw a split of photographs such as ``01_missing_hole_01``, stratified by board and class."""
    return draw_splits({name: name.rpartition("_")[0] or name for name in names}, params)


def _splits(photographs: Iterable[Photograph], params: PkuPcbParams) -> dict[str, str]:
    names = [photograph.name for photograph in photographs]
    if params.split_list is None:
        return split_photographs(names, params.split)
    listed = read_splits(params.split_list, "photograph")
    missing = [name for name in names if name not in listed]
    if missing:
        raise PreparationError(
            f"split list {params.split_list} does not name {len(missing)} photographs: "
            f"{shown(missing, _LISTED)}; add them, or draw a split with split_list: null"
        )
    return {name: listed[name] for name in names}


def _sources(raw: Raw) -> dict[str, str]:
    files = set(raw.angle_files)
    for p in raw.photographs:
        files |= {file for file in (p.file, p.annotation_file, p.board_file, p.copy) if file}
    return source_digests([raw.root / file for file in files], raw.root)


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
    """Return further entries of dataset.json; ``rotated``: whether rotated copies are used."""
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
    """Boxes of one class, masks from the difference, and the median fraction of the box that those cover."""
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
