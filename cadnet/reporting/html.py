"""The report page: one self-contained file that opens from disk, with no script and nothing to load."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cadnet.files import write_text
from cadnet.reporting.data import (
    DatasetReport,
    Efficiency,
    MethodRun,
    Picture,
    ReportData,
    by_method,
    seeds_text,
)
from cadnet.reporting.figures import FigureGroup, curve_figures, iou_figures, training_figures
from cadnet.reporting.tables import Spread, metric_spread, metric_titles, results_table
from cadnet.reporting.verdict import Verdict, verdict

HERO = "CADNet"
SLICE_TITLES = {"group": "pattern", "subset": "subset", "has_defect": "content"}
"""Readable names of what is sliced by; others are shown as they are."""


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
    """A dataset's part of the page, with everything computed."""

    report: DatasetReport
    verdict: Verdict
    seeds: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[Cell, ...]], ...]
    training: tuple[FigureGroup, ...]
    curves: tuple[FigureGroup, ...]
    bars: tuple[FigureGroup, ...]
    methods: tuple[str, ...]
    slices: tuple[SliceRow, ...]
    judged: tuple[JudgedRow, ...]
    efficiency: tuple[tuple[str, Efficiency], ...]


def render_report(data: ReportData) -> str:
    """Return the whole page as HTML.

    Raises:
        ValueError: a dataset without runs, a seed twice, or methods with differing classes.
    """
    environment = Environment(
        loader=PackageLoader("cadnet.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = data_uri
    environment.filters["least_width"] = least_width
    environment.filters["number"] = number
    environment.filters["frame"] = frame_table
    environment.globals["slice_titles"] = SLICE_TITLES
    views = [dataset_view(report, data.scale) for report in data.datasets]
    return environment.get_template("report.html.j2").render(data=data, views=views)


def write_report(data: ReportData, path: Path | str) -> None:
    """Write the page to ``path`` atomically.

    Raises:
        ValueError: as :func:`render_report`; ``path`` is then untouched.
    """
    write_text(path, render_report(data))


def dataset_view(report: DatasetReport, scale: str) -> DatasetView:
    """Compute everything the page says about one dataset."""
    groups = by_method(report.runs)
    titles = metric_titles(report.runs[0].result.class_names) if report.runs else {}
    return DatasetView(
        report=report,
        verdict=verdict(report.runs, HERO),
        seeds=seeds_text(report.runs),
        header=tuple(titles.values()),
        rows=_result_rows(report, scale, list(titles)),
        training=training_figures(groups, scale),
        curves=curve_figures(groups, scale),
        bars=iou_figures(report.runs, report.published, scale),
        methods=tuple(groups),
        slices=_slice_rows(groups),
        judged=tuple(_judged(title, group) for title, group in groups.items()),
        efficiency=tuple((title, group[0].efficiency) for title, group in groups.items()),
    )


def data_uri(picture: Picture) -> str:
    """A picture's bytes as a ``data:`` address."""
    return "data:image/png;base64," + base64.b64encode(picture.png).decode("ascii")


def least_width(picture: Picture) -> int:
    """The least width, in CSS pixels, at which a sheet can still be read: three quarters of its own."""
    # A PNG's width stands big-endian at byte 16, in the header chunk that always comes first.
    return int.from_bytes(picture.png[16:20], "big") * 3 // 4


def number(value: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """Write a number with a true minus sign, or a dash when there is none."""
    if value is None or pd.isna(value):
        return "–"
    return f"{value:{'+' if signed else ''},.{digits}f}".replace("-", "−")


def frame_table(frame: pd.DataFrame) -> Markup:
    """A DataFrame as a plain, escaped HTML table with two decimals."""
    # pandas escapes every cell and header.
    return Markup(
        frame.to_html(index=False, border=0, justify="left", na_rep="–", float_format="{:.2f}".format)
    )


def _result_rows(
    report: DatasetReport, scale: str, metrics: Sequence[str]
) -> tuple[tuple[str, int, tuple[Cell, ...]], ...]:
    table = results_table(report.runs, report.published, scale)
    best = {metric: table[metric].max() for metric in metrics}
    rows = []
    for record in table.to_dict("records"):
        cells = []
        for metric in metrics:
            values = [record[metric + part] for part in ("", "_std", "_paper", "_diff")]
            known = [None if pd.isna(value) else float(value) for value in values]
            ours, std, paper, diff = known
            leads = len(table) > 1 and record[metric] == best[metric]
            cells.append(Cell(ours, std, paper, diff, leads))
        rows.append((str(record["method"]), int(record["seeds"]), tuple(cells)))
    return tuple(rows)


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
