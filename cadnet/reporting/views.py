"""What the page says about one dataset, computed; the templates only place it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cadnet.reporting.comparison import interval_table
from cadnet.reporting.data import HERO, DatasetReport, Efficiency, MethodRun, by_method, seeds_text
from cadnet.reporting.figures import (
    FigureGroup,
    curve_figures,
    interval_figures,
    iou_figures,
    training_figures,
)
from cadnet.reporting.tables import MEANS, PARTS, Spread, metric_spread, metric_titles, results_table
from cadnet.reporting.verdict import Verdict, verdict

WIDE = 6
"""With more classes than this the table has a row per class, and further curves are folded away."""
OPEN_PARTS = 12
"""A table of slices by one column is folded away when it has more rows than this."""


@dataclass(frozen=True)
class Cell:
    """One number of the results table, in percent or plain; ``best`` is the highest of its column."""

    ours: float | None
    std: float | None = None
    paper: float | None = None
    diff: float | None = None
    best: bool = False


@dataclass(frozen=True)
class SliceRow:
    """One slice: images in it and the mIoU (%) of every method, mean over seeds."""

    by: str
    name: str
    images: int
    miou: tuple[float | None, ...]


@dataclass(frozen=True)
class JudgedRow:
    """Image-level decisions of one method: shares in percent, mean over seeds."""

    title: str
    defective: int
    clean: int
    escape: Spread
    overkill: Spread
    misplaced: float
    min_pixels: int


@dataclass(frozen=True, eq=False)
class DatasetView:
    """A dataset's part of the page, with everything computed.

    With more than :data:`WIDE` classes ``rows`` holds the means only and ``class_rows`` the classes, a cell
    per method; ``further_...`` and ``long_slices`` are what is folded away.
    """

    report: DatasetReport
    verdict: Verdict
    seeds: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[Cell, ...]], ...]
    class_rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    intervals: tuple[FigureGroup, ...]
    interval_rows: tuple[dict[Hashable, Any], ...]
    training: tuple[FigureGroup, ...]
    further_training: tuple[FigureGroup, ...]
    curves: tuple[FigureGroup, ...]
    further_curves: tuple[FigureGroup, ...]
    bars: tuple[FigureGroup, ...]
    methods: tuple[str, ...]
    slice_titles: dict[str, str]
    slices: tuple[SliceRow, ...]
    long_slices: tuple[SliceRow, ...]
    judged: tuple[JudgedRow, ...]
    efficiency: tuple[tuple[str, Efficiency], ...]


def dataset_view(report: DatasetReport, scale: str) -> DatasetView:
    """Compute everything the page says about one dataset."""
    groups = by_method(report.runs)
    classes = report.runs[0].result.class_names if report.runs else ()
    titles = metric_titles(classes)
    shown = list(titles) if len(classes) <= WIDE else list(MEANS)
    curves, training = curve_figures(groups, scale), training_figures(groups, scale)
    slices = _slice_rows(groups)
    sizes = Counter(row.by for row in slices)
    compared = report.comparison
    return DatasetView(
        report=report,
        verdict=verdict(report.runs, HERO, compared),
        seeds=seeds_text(report.runs),
        header=tuple(titles[metric] for metric in shown),
        rows=result_rows(results_table(report.runs, report.published, scale), shown),
        class_rows=_class_rows(report, scale) if len(classes) > WIDE else (),
        intervals=interval_figures(compared, report.runs, scale),
        interval_rows=tuple(interval_table(compared).to_dict("records")) if compared else (),
        training=training[:1],
        further_training=training[1:],
        curves=curves[:WIDE],
        further_curves=curves[WIDE:],
        bars=iou_figures(report.runs, report.published, scale),
        methods=tuple(groups),
        slice_titles={
            "group": report.group_title,
            "subset": report.subset_title,
            "has_defect": "content",
            "defect size": "defect size (share of the image)",
            "defect contrast": "defect contrast (grey levels)",
        },
        slices=tuple(row for row in slices if sizes[row.by] <= OPEN_PARTS),
        long_slices=tuple(row for row in slices if sizes[row.by] > OPEN_PARTS),
        judged=tuple(_judged(title, group) for title, group in groups.items()),
        efficiency=tuple((title, group[0].efficiency) for title, group in groups.items()),
    )


def result_rows(table: pd.DataFrame, metrics: Sequence[str]) -> tuple[tuple[str, int, tuple[Cell, ...]], ...]:
    """Title, seeds and a cell per metric of each row of a table, with what columns it has of each."""
    best = {metric: table[metric].max() for metric in metrics}
    rows = []
    for record in table.to_dict("records"):
        cells = []
        for metric in metrics:
            values = [record.get(metric + part) for part in PARTS]
            known = [None if pd.isna(value) else float(value) for value in values]
            ours, std, paper, diff = known
            leads = len(table) > 1 and record[metric] == best[metric]
            cells.append(Cell(ours, std, paper, diff, leads))
        rows.append((str(record["method"]), int(record["seeds"]), tuple(cells)))
    return tuple(rows)


def _class_rows(report: DatasetReport, scale: str) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    """Per class its IoU by every method."""
    names = report.runs[0].result.class_names
    table = results_table(report.runs, report.published, scale)
    rows = result_rows(table, [f"iou_{name}" for name in names])
    return tuple((name, tuple(cells[k] for _, _, cells in rows)) for k, name in enumerate(names))


def _slice_rows(groups: dict[str, list[MethodRun]]) -> tuple[SliceRow, ...]:
    first = next(iter(groups.values()))[0].result
    rows = []
    for part in first.slices:
        miou = []
        for group in groups.values():
            values = [
                s.metrics.miou
                for r in group
                for s in r.result.slices
                if (s.by, s.name) == (part.by, part.name)
            ]
            known = [100 * value for value in values if value is not None]
            miou.append(sum(known) / len(known) if known else None)
        # On clean images alone every mIoU is 0 or undefined; overkill says what there is to say of them.
        if part.image_level.defective:
            name = "defective images only" if part.by == "has_defect" else part.name
            rows.append(SliceRow(part.by, name, part.metrics.images, tuple(miou)))
    return tuple(rows)


def _judged(title: str, group: Sequence[MethodRun]) -> JudgedRow:
    level = group[0].result.image_level
    return JudgedRow(
        title=title,
        defective=level.defective,
        clean=level.clean,
        escape=metric_spread(group, "escape"),
        overkill=metric_spread(group, "overkill"),
        misplaced=sum(run.result.image_level.misplaced for run in group) / len(group),
        min_pixels=level.min_pixels,
    )
