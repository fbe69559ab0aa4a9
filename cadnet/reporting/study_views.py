"""What the page says about studies and cross-tests, computed; the templates only place it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from cadnet.evaluation.bootstrap import LEVEL
from cadnet.reporting.cross import MERGED, Pair, cross_pairs, cross_seeds, cross_table, pair_words
from cadnet.reporting.cross_finding import cross_finding
from cadnet.reporting.data import CrossTest, Study, seeds_text
from cadnet.reporting.figures import FigureGroup
from cadnet.reporting.studies import Gap, base_gaps, study_rows, study_table
from cadnet.reporting.study_figures import cross_figures, study_figures
from cadnet.reporting.study_finding import study_finding
from cadnet.reporting.tables import COSTS, MEANS, metric_titles
from cadnet.reporting.verdict import Verdict
from cadnet.reporting.views import WIDE, Cell, result_rows


@dataclass(frozen=True)
class VariantRow:
    """One variant: what it is made of, its scores in percent, and the base minus it (None of the base)."""

    title: str
    factors: tuple[str, ...]
    seeds: int
    cells: tuple[Cell, ...]
    validation: Cell
    costs: tuple[Cell, ...]
    gap: Gap | None


@dataclass(frozen=True, eq=False)
class StudyView:
    """A study's part of the page.

    ``narrowed``: there are too many classes for columns of their own. ``same_costs``: all variants have the
    same size, so that it needs no columns.
    """

    study: Study
    finding: Verdict
    seeds: str
    factors: tuple[str, ...]
    header: tuple[str, ...]
    rows: tuple[VariantRow, ...]
    figures: tuple[FigureGroup, ...]
    narrowed: bool
    same_costs: bool
    level: int = LEVEL


@dataclass(frozen=True, eq=False)
class CrossView:
    """The cross-tests' part of the page; a row is a method's title, its seeds and a cell per pair."""

    cross: CrossTest
    finding: Verdict
    seeds: str
    pairs: tuple[Pair, ...]
    rows: tuple[tuple[str, int, tuple[Cell, ...]], ...]
    words: str
    figures: tuple[FigureGroup, ...]
    merged: str = MERGED


def study_view(study: Study, scale: str) -> StudyView:
    """Compute everything the page says about one study.

    Raises:
        ValueError: no runs, or a study whose parts do not fit its runs.
    """
    study_rows(study)
    classes = study.runs[0].result.class_names
    titles = metric_titles(classes)
    shown = list(titles) if len(classes) <= WIDE else list(MEANS)
    table, gaps, factors = study_table(study, scale), base_gaps(study), tuple(study.factors[study.base])
    chosen = table["val_miou"].max()
    rows = []
    scores = result_rows(table, shown)
    for record, (title, seeds, cells) in zip(table.to_dict("records"), scores, strict=True):
        seen, deviation = _known(record["val_miou"]), _known(record["val_miou_std"])
        rows.append(
            VariantRow(
                title=title,
                factors=tuple(str(record[name]) for name in factors),
                seeds=seeds,
                cells=cells,
                validation=Cell(seen, deviation, best=len(table) > 1 and seen == chosen),
                costs=tuple(Cell(_known(record[c]), paper=_known(record[f"{c}_paper"])) for c in COSTS),
                gap=gaps.get(title),
            )
        )
    return StudyView(
        study=study,
        finding=study_finding(study),
        seeds=seeds_text(study.runs),
        factors=factors,
        header=tuple(titles[metric] for metric in shown),
        rows=tuple(rows),
        figures=study_figures(study, scale),
        narrowed=len(classes) > WIDE,
        same_costs=len({row.costs for row in rows}) == 1,
    )


def cross_view(cross: CrossTest, scale: str) -> CrossView:
    """Compute everything the page says about the cross-tests.

    Raises:
        ValueError: a dataset without a letter of its own, a seed twice.
    """
    pairs = cross_pairs(cross)
    table = cross_table(cross, scale) if pairs else pd.DataFrame()
    names = [f"iou_defect_{pair.letters}" for pair in pairs]
    rows = []
    for record in table.to_dict("records"):
        cells = [
            Cell(
                _known(record[name]),
                _known(record[f"{name}_std"]),
                best=len(table) > 1 and record[name] == table[name].max(),
            )
            for name in names
        ]
        rows.append((str(record["method"]), int(record["seeds"]), tuple(cells)))
    return CrossView(
        cross=cross,
        finding=cross_finding(cross),
        seeds=cross_seeds(cross),
        pairs=tuple(pairs),
        rows=tuple(rows),
        words=pair_words(pairs),
        figures=cross_figures(cross, scale),
    )


def _known(value: float) -> float | None:
    return None if pd.isna(value) else float(value)
