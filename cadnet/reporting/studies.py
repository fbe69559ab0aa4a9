"""The table of a study: variants of one method beside the complete one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cadnet.evaluation.bootstrap import LEVEL, Interval
from cadnet.reporting.claims import seed_gaps
from cadnet.reporting.comparison import validation_spread
from cadnet.reporting.data import MethodRun, Study, by_method
from cadnet.reporting.tables import (
    BASIS,
    COSTS,
    markdown_cell,
    markdown_table,
    metric_spread,
    metric_titles,
    result_cells,
    results_table,
    table_title,
)


@dataclass(frozen=True)
class Gap:
    """The base minus another row in points of mIoU: of the means over seeds, and on each common seed."""

    points: float | None
    gaps: tuple[float, ...]
    interval: Interval | None

    @property
    def ahead(self) -> int:
        """Number of common seeds on which the base is ahead."""
        return sum(gap > 0 for gap in self.gaps)


def study_rows(study: Study) -> dict[str, list[MethodRun]]:
    """Runs by title, in the order the titles first appear.

    Raises:
        ValueError: as :func:`by_method`, or the study's parts do not fit its runs.
    """
    groups = by_method(study.runs)
    if study.base not in groups:
        raise ValueError(f"study {study.name}: its base {study.base!r} has no run; there are {list(groups)}")
    keys = list(study.factors.get(study.base, {}))
    odd = [title for title in groups if list(study.factors.get(title, {})) != keys]
    if odd:
        raise ValueError(
            f"study {study.name}: every row needs the factors {keys} of {study.base}; not so: {odd}"
        )
    if study.axis is not None and set(groups) - set(study.axis[1]):
        missing = sorted(set(groups) - set(study.axis[1]))
        raise ValueError(f"study {study.name}: {study.axis[0]} has no value for {missing}")
    if study.axis is not None and len({study.axis[1][title] for title in groups}) < len(groups):
        raise ValueError(f"study {study.name}: two rows have the same {study.axis[0]}")
    return groups


def variant_name(study: Study, title: str) -> str:
    """What tells a row from the others: the value of the number that is varied, else its title."""
    return title if study.axis is None else f"{study.axis[1][title]:g}"


def base_gaps(study: Study) -> dict[str, Gap]:
    """The base minus each other row, by title, in the rows' order; errors as :func:`study_rows`."""
    groups = study_rows(study)
    first = metric_spread(groups[study.base], "miou").mean
    found = {}
    for title, group in groups.items():
        if title != study.base:
            second, drawn = metric_spread(group, "miou").mean, study.differences.get(title)
            points = None if first is None or second is None else first - second
            gaps = tuple(seed_gaps(groups[study.base], group, "miou"))
            found[title] = Gap(points, gaps, drawn.interval if drawn else None)
    return found


def study_table(study: Study, scale: str) -> pd.DataFrame:
    """One row per variant in the order the titles first appear, numbers in percent, NaN where there is none.

    Columns: those of :func:`~cadnet.reporting.tables.results_table`, the factors after ``method``; then
    ``val_miou, val_miou_std`` (best epoch); of the base minus the row, in points of mIoU, ``base_minus`` and
    the ends of the interval that decides, ``base_low, base_high``; ``common_seeds`` and on how many of them
    the base is ahead, ``seeds_ahead``.

    Raises:
        ValueError: no runs, or a study whose parts do not fit its runs.
    """
    groups, gaps = study_rows(study), base_gaps(study)
    table = results_table(study.runs, study.published, scale)
    for place, key in enumerate(study.factors[study.base], start=1):
        table.insert(place, key, [study.factors[title][key] for title in groups])
    rows = []
    for title, group in groups.items():
        seen, gap = validation_spread(group), gaps.get(title)
        row: dict[str, float | None] = {"val_miou": seen.mean, "val_miou_std": seen.std}
        row["base_minus"] = gap.points if gap else None
        row["base_low"] = 100 * gap.interval.low if gap and gap.interval else None
        row["base_high"] = 100 * gap.interval.high if gap and gap.interval else None
        row["common_seeds"] = len(gap.gaps) if gap else None
        row["seeds_ahead"] = gap.ahead if gap else None
        rows.append(row)
    return pd.concat([table, pd.DataFrame(rows, dtype=float)], axis=1)


def study_markdown(study: Study, scale: str) -> str:
    """Write :func:`study_table` as GitHub markdown under a title with scale and seeds; errors as there."""
    table = study_table(study, scale)
    metrics = metric_titles(study.runs[0].result.class_names)
    factors = list(study.factors[study.base])
    seen = ["Validation mIoU"] if study.axis else []
    names = ["Method", *factors, "Seeds"]
    header = [*names, *metrics.values(), *seen, *COSTS.values(), f"{study.base} minus it"]
    rows = []
    for record in table.to_dict("records"):
        scores = result_cells(record, metrics)
        if seen:
            scores.insert(len(metrics), markdown_cell(record["val_miou"], record["val_miou_std"]))
        parts = [str(record[key]) for key in ("method", *factors, "seeds")]
        rows.append([*parts, *scores, _gap_cell(record)])
    paper = "; in brackets the paper's" if study.published is not None else ""
    title = table_title(study.title, scale, study.runs)
    lines = [f"## {title}", "", *markdown_table(header, rows), "", f"{BASIS}{paper}."]
    lines.append(
        f"Last column: difference in mIoU in points, its {LEVEL} % interval over the test images, and on how "
        f"many of the common seeds {study.base} is ahead."
    )
    return "\n".join([*lines, *(["", *study.text] if study.text else [])]) + "\n"


def _gap_cell(record: Mapping[Any, Any]) -> str:
    """``+5.10 (3.20 to 7.00; 3 of 3)`` with what is known of it."""
    if pd.isna(record["base_minus"]):
        return "–"
    seeds = f"{record['seeds_ahead']:.0f} of {record['common_seeds']:.0f}"
    known = [] if pd.isna(record["base_low"]) else [f"{record['base_low']:.2f} to {record['base_high']:.2f}"]
    return f"{record['base_minus']:+.2f} ({'; '.join([*known, seeds])})"
