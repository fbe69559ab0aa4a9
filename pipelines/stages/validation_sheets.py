"""Which samples of a dataset its contact sheets show."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cadnet.checks.facts import DatasetFacts
from cadnet.reporting.contact import (
    CLEAN_RULE,
    RULE,
    SHOWN,
    ShownDefect,
    ShownSample,
    choose_defects,
    clean_sheet,
    defect_sheet,
)
from cadnet.reporting.validation import Sheet

CLEAN_SHOWN = 8


def contact_sheets(facts: DatasetFacts | None) -> Iterator[Sheet]:
    """One sheet per class that occurs and one of clean samples, of samples whose files can be used."""
    if facts is None:
        return
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
        places = np.linspace(0, len(clean) - 1, min(CLEAN_SHOWN, len(clean))).round().astype(int)
        shown = [clean[place] for place in places.tolist()]
        title = f"clean: {len(shown)} of {len(clean):,} samples"
        yield Sheet("sheets/clean.png", clean_sheet(shown, title), title, CLEAN_RULE)


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
