"""The results table: ours beside the paper's, with the difference, the seeds and their spread."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cadnet.files import write_text
from cadnet.reporting.data import MethodRun, by_method, seeds_text
from cadnet.reporting.published import published_rows

MEANS = {"miou": "mIoU", "macc": "mAcc", "mfscore": "mFscore"}
"""Means over the defect classes, pooled over images, and how the paper writes them."""

COSTS = {"params_m": "Params (M)", "gmacs": "GMACs"}
"""Columns of cost and how they are written."""

PARTS = ("", "_std", "_paper", "_diff")
"""What the columns of one number end with: mean and deviation over seeds, the paper's, ours minus it."""

BASIS = "Percent, pooled over the test images, means over defect classes only"


@dataclass(frozen=True)
class Spread:
    """Mean, sample standard deviation (None below two values) and number of values."""

    mean: float | None
    std: float | None
    count: int


def spread(values: Sequence[float | None]) -> Spread:
    """Summarise what is defined among ``values``."""
    known = [value for value in values if value is not None]
    return Spread(
        float(np.mean(known)) if known else None,
        float(np.std(known, ddof=1)) if len(known) > 1 else None,
        len(known),
    )


def metric_titles(class_names: Sequence[str]) -> dict[str, str]:
    """Names of the columns of a results table and how they are written, IoU per class first."""
    return {f"iou_{name}": f"IoU {name}" for name in class_names} | MEANS


def metric_spread(runs: Sequence[MethodRun], metric: str) -> Spread:
    """Summarise one of :meth:`EvaluationResult.scalars` over the seeds of a method, in percent."""
    values = [run.result.scalars().get(metric) for run in runs]
    return spread([None if value is None else 100 * value for value in values])


def results_table(
    runs: Sequence[MethodRun], published: str | pd.DataFrame | None, scale: str
) -> pd.DataFrame:
    """One row per method, numbers in percent, NaN where there is none.

    Columns: ``method, seeds, scale``; per metric (``iou_<class>..., miou, macc, mfscore``) ``<metric>``
    (mean over seeds), ``<metric>_std``, ``<metric>_paper``, ``<metric>_diff`` (ours minus the paper's);
    ``params_m, gmacs`` and the paper's ``params_m_paper, gmacs_paper``.

    Args:
        runs: scored networks.
        published: the paper's table, or its numbers by title; see :func:`published_rows`.
        scale: of the runs, in words.

    Raises:
        ValueError: no runs, a seed twice, differing classes, or an unknown published table.
    """
    if not runs:
        raise ValueError("there are no runs to make a table of; train and evaluate at least one method")
    classes = runs[0].result.class_names
    groups = by_method(runs)
    paper = published_rows(published, groups, classes)
    rows = []
    for title, group in groups.items():
        printed = paper.get(title, {})
        row: dict[str, Any] = {"method": title, "seeds": len(group), "scale": scale}
        for metric in metric_titles(classes):
            row |= beside_paper(metric, metric_spread(group, metric), printed.get(metric))
        size = group[0].efficiency
        row |= {"params_m": size.params_m, "gmacs": size.gmacs_paper}
        row |= {"params_m_paper": printed.get("params_m"), "gmacs_paper": printed.get("gmacs")}
        rows.append(row)
    table = pd.DataFrame(rows)
    numbers = [column for column in table if column not in ("method", "seeds", "scale")]
    return table.astype(dict.fromkeys(numbers, float))


def beside_paper(column: str, ours: Spread, paper: float | None) -> dict[str, float | None]:
    """The columns of one number: ``<column>``, its deviation, the paper's number, and ours minus it."""
    difference = None if ours.mean is None or paper is None else ours.mean - paper
    values = (ours.mean, ours.std, paper, difference)
    return {f"{column}{part}": value for part, value in zip(PARTS, values, strict=True)}


def table_title(what: str, scale: str, runs: Sequence[MethodRun]) -> str:
    """Return a title that says what, at which scale and from how many seeds."""
    return f"{what} ({scale}; {seeds_text(runs)})"


def results_markdown(
    table: pd.DataFrame, title: str, class_names: Sequence[str], differences: Sequence[str] = ()
) -> str:
    """Write a results table as GitHub markdown: ``ours ± spread (paper, difference)`` in percent."""
    titles = metric_titles(class_names)
    header = ["Method", "Seeds", *titles.values(), *COSTS.values()]
    rows = [
        [str(record["method"]), str(record["seeds"]), *result_cells(record, titles)]
        for record in table.to_dict("records")
    ]
    lines = [f"## {title}", "", *markdown_table(header, rows), "", f"{BASIS}; in brackets the paper's."]
    if differences:
        lines += ["", "Settings that differ from the paper's:", "", *(f"- {text}" for text in differences)]
    return "\n".join(lines) + "\n"


def result_cells(record: Mapping[Hashable, Any], metrics: Iterable[str]) -> list[str]:
    """Cells of ``metrics`` and of :data:`COSTS` in one row of a results table, for markdown."""
    cells = [number_cell(record, metric) for metric in metrics]
    return cells + [markdown_cell(record[cost], None, record[f"{cost}_paper"]) for cost in COSTS]


def number_cell(record: Mapping[Hashable, Any], column: str) -> str:
    """The cell of one number for markdown, with what the row has of its :data:`PARTS`."""
    return markdown_cell(*(record.get(f"{column}{part}") for part in PARTS))


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a markdown table, all columns but the first to the right."""
    return [_row(header), _row(["---"] + ["---:"] * (len(header) - 1)), *map(_row, rows)]


def markdown_cell(
    ours: float | None, std: float | None = None, paper: float | None = None, diff: float | None = None
) -> str:
    """``ours ± std (paper, diff)`` with what is known of it."""
    text = "–" if _missing(ours) else f"{ours:.2f}"
    if not _missing(std):
        text += f" ± {std:.2f}"
    if not _missing(paper):
        text += f" ({paper:.2f})" if _missing(diff) else f" ({paper:.2f}, {round(diff or 0.0, 2) + 0.0:+.2f})"
    return text


def write_table(path: Path | str, table: pd.DataFrame, markdown: str | None = None) -> None:
    """Write ``<path>.csv`` (full precision, empty for NaN) and, if given, ``<path>.md``, each atomically."""
    path = Path(path)
    write_text(path.with_suffix(".csv"), table.to_csv(index=False, lineterminator="\n"))
    if markdown is not None:
        write_text(path.with_suffix(".md"), markdown)


def differing_settings(ours: Mapping[str, Any], paper: Mapping[str, Any]) -> list[str]:
    """Lines ``key: ours (paper: theirs)`` for each setting of ``ours`` that ``paper`` has otherwise."""
    here, there = _flat(ours), _flat(paper)
    return [
        f"{key}: {here[key]} (paper: {there.get(key, 'not set')})"
        for key in sorted(here)
        if key not in there or here[key] != there[key]
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _missing(value: float | None) -> bool:
    return value is None or bool(np.isnan(value))
