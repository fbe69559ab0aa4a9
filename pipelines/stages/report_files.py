"""The report's tables and plots as files, under reports/tables and reports/plots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from cadnet.files import write_bytes
from cadnet.reporting.comparison import interval_table
from cadnet.reporting.cross import cross_markdown, cross_table
from cadnet.reporting.data import CrossTest, DatasetReport, FewLabels, Link, Picture, Study, by_method
from cadnet.reporting.few_label_figures import few_label_figures
from cadnet.reporting.few_labels import few_label_markdown, few_label_table
from cadnet.reporting.figures import (
    FigureGroup,
    curve_figures,
    interval_figures,
    iou_figures,
    training_figures,
)
from cadnet.reporting.studies import study_markdown, study_table
from cadnet.reporting.study_figures import cross_figures, study_figures
from cadnet.reporting.tables import results_markdown, results_table, table_title, write_table
from pipelines.trials import REPORTS

CROSS = "cross"
"""Name of the cross-tests' table and plots."""
FEW_LABELS = "few-labels"
"""Name of the few-label grid's table and plots."""


def study_name(dataset: str, study: Study) -> str:
    """Name of a study's table and plots."""
    return f"{dataset}-{study.name}"


def intervals_name(dataset: str) -> str:
    """Name of the table of differences with their intervals."""
    return f"{dataset}-intervals"


def table_links(name: str) -> list[Link]:
    """Links from the page to a table's files."""
    return [Link(f"Table ({kind})", f"tables/{name}.{kind}") for kind in ("csv", "md")]


def write_dataset_files(name: str, part: DatasetReport, scale: str) -> None:
    """Write a dataset's results, intervals and plots."""
    table = results_table(part.runs, part.published, scale)
    classes = part.runs[0].result.class_names
    title = table_title(part.title, scale, part.runs)
    write_table(REPORTS / "tables" / name, table, results_markdown(table, title, classes, part.differences))
    if part.comparison is not None:
        write_table(REPORTS / "tables" / intervals_name(name), interval_table(part.comparison))
    groups = by_method(part.runs)
    _write_pictures(name, "training", _drawn(training_figures(groups, scale)))
    _write_pictures(name, "curves", _drawn(curve_figures(groups, scale)))
    _write_pictures(name, "iou", _drawn(iou_figures(part.runs, part.published, scale)))
    _write_pictures(name, "intervals", _drawn(interval_figures(part.comparison, part.runs, scale)))
    _write_pictures(name, "overlays", part.overlays)
    _write_pictures(name, "maps", part.maps)


def write_study_files(dataset: str, study: Study, scale: str) -> Study:
    """Write a study's table and plots; returns it with links to them."""
    name = study_name(dataset, study)
    write_table(REPORTS / "tables" / name, study_table(study, scale), study_markdown(study, scale))
    _write_pictures(name, study.name, _drawn(study_figures(study, scale)))
    return replace(study, links=table_links(name))


def write_cross_files(cross: CrossTest, scale: str) -> CrossTest:
    """Write the cross-tests' table and plots; returns them with links to these."""
    write_table(REPORTS / "tables" / CROSS, cross_table(cross, scale), cross_markdown(cross, scale))
    _write_pictures(CROSS, CROSS, _drawn(cross_figures(cross, scale)))
    return replace(cross, links=table_links(CROSS))


def write_few_label_files(few: FewLabels, scale: str) -> FewLabels:
    """Write the few-label grid's table and plots; returns it with links to these."""
    table, markdown = few_label_table(few, scale), few_label_markdown(few, scale)
    write_table(REPORTS / "tables" / FEW_LABELS, table, markdown)
    _write_pictures(FEW_LABELS, FEW_LABELS, _drawn(few_label_figures(few, scale)))
    _write_pictures(FEW_LABELS, "overlays", few.overlays)
    return replace(few, links=table_links(FEW_LABELS))


def _drawn(groups: Iterable[FigureGroup]) -> list[Picture]:
    return [picture for group in groups for picture in group.pictures]


def _write_pictures(folder: str, kind: str, pictures: Sequence[Picture]) -> None:
    for number, picture in enumerate(pictures, start=1):
        write_bytes(REPORTS / "plots" / folder / f"{kind}-{number}.png", picture.png)
