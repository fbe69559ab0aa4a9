"""What the page says about few labels, computed; the template only places it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from cadnet.reporting.data import FewLabels
from cadnet.reporting.few_label_figures import few_label_figures
from cadnet.reporting.few_label_finding import few_label_finding
from cadnet.reporting.few_labels import (
    MEASURES,
    few_label_methods,
    few_label_seeds,
    few_label_shares,
    few_label_table,
    share_label,
)
from cadnet.reporting.figures import FigureGroup
from cadnet.reporting.verdict import Verdict
from cadnet.reporting.views import Cell, result_rows

OPEN_TABLES = 2
"""IoU and Fscore are shown, the other measures folded away."""


@dataclass(frozen=True)
class ShareTable:
    """A table of one measure; a row is a method's title, its seeds and a cell per share."""

    title: str
    caption: str
    rows: tuple[tuple[str, int, tuple[Cell, ...]], ...]


@dataclass(frozen=True, eq=False)
class FewLabelView:
    """The part of the page about few labels.

    ``labels`` are the shares in percent. ``uneven``: methods differ in the number of seeds, which needs a
    column then. ``further_...`` is what is folded away; ``combined`` are titles.
    """

    few: FewLabels
    finding: Verdict
    seeds: str
    uneven: bool
    images: int
    labels: tuple[str, ...]
    tables: tuple[ShareTable, ...]
    further_tables: tuple[ShareTable, ...]
    figures: tuple[FigureGroup, ...]
    further_figures: tuple[FigureGroup, ...]
    combined: tuple[str, ...]


def few_label_view(few: FewLabels, scale: str) -> FewLabelView:
    """Compute everything the page says about few labels.

    Raises:
        ValueError: a seed twice, or a run that was not scored on the one class ``defect``.
    """
    methods, shares = few_label_methods(few), few_label_shares(few)
    table = few_label_table(few, scale) if methods else pd.DataFrame()
    tables = [
        ShareTable(measure.title, measure.caption, result_rows(table, list(measure.columns(shares).values())))
        for measure in MEASURES
        if methods
    ]
    figures = few_label_figures(few, scale)
    training = [group for group in figures if group.name.startswith("few_labels_training")]
    return FewLabelView(
        few=few,
        finding=few_label_finding(few),
        seeds=few_label_seeds(few),
        uneven=len({seeds for one in tables for _, seeds, _ in one.rows}) > 1,
        images=few.runs[shares[0]][0].run.result.num_images if shares else 0,
        labels=tuple(map(share_label, shares)),
        tables=tuple(tables[:OPEN_TABLES]),
        further_tables=tuple(tables[OPEN_TABLES:]),
        figures=tuple(group for group in figures if group not in training),
        further_figures=tuple(training),
        combined=tuple(title for title in methods if title in few.combined),
    )
