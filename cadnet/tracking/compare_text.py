"""A comparison as text: aligned or drawn columns for people, csv for programs, markdown for pages."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from cadnet.tracking.compare import REFERENCE, Block, Comparison, Row, Spread
from cadnet.tracking.metric_names import COSTS, is_ratio, lower_is_better
from cadnet.tracking.terms import Terms

Format = Literal["table", "csv", "markdown"]

_COST_TITLES = {
    "params_m": "Params M",
    "gmacs_paper": "GMACs paper",
    "gmacs_full": "GMACs full",
    "train_seconds": "Train s",
    "pairs_per_second": "Eval pairs/s",
    "latency_ms": "Latency ms",
    "peak_memory_mb": "Peak MB",
}
_ABSENT = "–"
_VERSUS = "vs "


@dataclass(frozen=True)
class Grid:
    """A table of ready texts: first ``left`` columns to the left, the others to the right."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    left: int = 1


def comparison_text(experiment: str, comparison: Comparison, form: Format, width: int | None = None) -> str:
    """Write a comparison.

    Args:
        experiment: its name.
        comparison: what to write.
        form: ``csv`` has every number in full and the ids of the runs behind it.
        width: columns of the terminal a ``table`` is drawn for; None gives plain aligned text.
    """
    if form == "csv":
        return _csv(experiment, comparison)
    grids = [_grid(experiment, block, comparison.metrics) for block in comparison.blocks]
    parts = [grid_text(grid, form, width) for grid in grids]
    return "\n\n".join([*parts, _footnotes(comparison, form)]) + "\n"


def grid_text(grid: Grid, form: Literal["table", "markdown"], width: int | None = None) -> str:
    """Write a table with its title above and its notes below."""
    title = f"## {grid.title}\n" if form == "markdown" else grid.title
    notes = [f"- {note}" if form == "markdown" else f"  {note}" for note in grid.notes]
    if form == "markdown":
        table = _markdown(grid)
        notes = ["", *notes] if notes else []
    else:
        table = _plain(grid) if width is None else _drawn(grid, width)
    return "\n".join([title, table, *notes])


def heading(experiment: str, terms: Terms) -> str:
    """Say on which terms the rows of a block were made."""
    data = ", ".join(f"{name} {digest[:12]}" for name, digest in terms.data) or "data unknown"
    return " | ".join(filter(None, [experiment, terms.variant, terms.scale or "scale unknown", data]))


def _grid(experiment: str, block: Block, metrics: Sequence[str]) -> Grid:
    costs = [name for name in COSTS if any(name in row.costs for row in block.rows)]
    others = len({row.method for row in block.rows}) > 1
    reference = others and any(row.method == REFERENCE for row in block.rows)
    header = ["Method", "Seeds"]
    for metric in metrics:
        unit, arrow = " %" if is_ratio(metric) else "", "↓" if lower_is_better(metric) else "↑"
        header.append(f"{metric}{unit} {arrow}")
        header += [f"{_VERSUS}best other"] * others + [f"{_VERSUS}CADNet"] * reference
    rows = []
    for row in block.rows:
        trials = [f"{row.method} ({row.settings})" if row.settings else row.method, str(len(row.runs))]
        for metric in metrics:
            trials.append(_spread_text(row.spreads.get(metric), metric, len(row.runs)))
            trials += [_difference(row.to_best.get(metric), metric)] * others
            trials += [_difference(row.to_reference.get(metric), metric)] * reference
        rows.append((*trials, *(_cost_text(row.costs.get(name), name) for name in costs)))
    titles = (*header, *(_COST_TITLES[name] for name in costs))
    return Grid(heading(experiment, block.terms), titles, tuple(rows), block.notes)


def _footnotes(comparison: Comparison, form: Format) -> str:
    lines = ["mean ± standard deviation over seeds; differences are between means, in the metric's unit"]
    if any(len(row.runs) < 3 for block in comparison.blocks for row in block.rows):
        lines.append("below three seeds a difference is no evidence of a better method")
    if comparison.ignored:
        counts = ", ".join(f"{number} {reason}" for reason, number in comparison.ignored.items())
        lines.append(f"runs that do not count: {counts}")
    return "\n".join(f"- {line}" if form == "markdown" else line for line in lines)


def _scaled(value: float, metric: str) -> float:
    return 100 * value if is_ratio(metric) else value


def _spread_text(spread: Spread | None, metric: str, seeds: int) -> str:
    if spread is None:
        return _ABSENT
    digits = 2 if is_ratio(metric) else 4
    text = f"{_scaled(spread.mean, metric):.{digits}f}"
    if spread.sd is not None:
        text += f" ± {_scaled(spread.sd, metric):.{digits}f}"
    return text if spread.seeds == seeds else f"{text} (n={spread.seeds})"


def _difference(value: float | None, metric: str) -> str:
    return _ABSENT if value is None else f"{_scaled(value, metric):+.{2 if is_ratio(metric) else 4}f}"


def _cost_text(value: float | None, name: str) -> str:
    """Sizes with two decimals, as the paper prints them; what was measured with about three figures."""
    if value is None:
        return _ABSENT
    if name in ("params_m", "gmacs_paper", "gmacs_full") or value < 10:
        return f"{value:.2f}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _plain(grid: Grid) -> str:
    widths = [max(map(len, column)) for column in zip(grid.header, *grid.rows, strict=True)]
    lines = []
    for trials in (grid.header, *grid.rows):
        texts = [
            trial.ljust(width) if index < grid.left else trial.rjust(width)
            for index, (trial, width) in enumerate(zip(trials, widths, strict=True))
        ]
        lines.append("  ".join(texts).rstrip())
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _markdown(grid: Grid) -> str:
    ruler = ["---" if index < grid.left else "---:" for index in range(len(grid.header))]
    lines = [[trial.replace("|", "\\|") for trial in trials] for trials in (grid.header, *grid.rows)]
    return "\n".join(f"| {' | '.join(trials)} |" for trials in (lines[0], ruler, *lines[1:]))


def _drawn(grid: Grid, width: int) -> str:
    """Draw a table; what is too wide goes on below, so that no number is broken."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=io.StringIO(), force_terminal=True, width=width, highlight=False)
    columns = list(zip(grid.header, *grid.rows, strict=True))
    with console.capture() as capture:
        for panel in _panels(columns, grid.left, width):
            table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
            for index in panel:
                side: Literal["left", "right"] = "left" if index < grid.left else "right"
                table.add_column(Text(_wrapped(columns[index])), justify=side, no_wrap=True)
            for number, trials in enumerate(grid.rows):
                best = number == 0 and len(grid.rows) > 1
                table.add_row(*(Text(trials[index]) for index in panel), style="bold" if best else None)
            console.print(table)
    return capture.get().strip("\n")


def _wrapped(column: Sequence[str]) -> str:
    """A column's title in as many lines as keep it as narrow as its trials."""
    title, *trials = column
    return "\n".join(textwrap.wrap(title, max(map(len, [*trials, *title.split()]))))


def _panels(columns: Sequence[Sequence[str]], left: int, width: int) -> list[list[int]]:
    """Numbers of the columns drawn beside each other; the first ``left`` are in every panel.

    A metric and its differences stay together where the width allows it.
    """
    fixed = list(range(left))

    def fits(panel: Sequence[int]) -> bool:
        return width >= sum(
            3 + max(map(len, [*_wrapped(columns[i]).splitlines(), *columns[i][1:]])) for i in panel
        )

    groups: list[list[int]] = []
    for index in range(left, len(columns)):
        if groups and columns[index][0].startswith(_VERSUS):
            groups[-1].append(index)
        else:
            groups.append([index])
    panels = [fixed]
    for group in groups:
        for part in [group] if fits(fixed + group) else [[index] for index in group]:
            if panels[-1] == fixed or fits(panels[-1] + part):
                panels[-1] = panels[-1] + part
            else:
                panels.append(fixed + part)
    return panels


def _csv(experiment: str, comparison: Comparison) -> str:
    """One line per row of every block, ratios as they were logged (0 to 1)."""
    header = ["experiment", "data", "digest", "scale", "variant", "method", "settings", "seeds"]
    for metric in comparison.metrics:
        header += [f"{metric}_{what}" for what in ("mean", "sd", "n", "vs_best_other", f"vs_{REFERENCE}")]
    lines: list[Sequence[object]] = [[*header, *COSTS, "runs"]]
    for block in comparison.blocks:
        terms = block.terms
        names, digests = (" ".join(pair[index] for pair in terms.data) for index in (0, 1))
        for row in block.rows:
            seeds = " ".join(run.tags.get("seed", "?") for run in row.runs)
            where = [experiment, names, digests, terms.scale, terms.variant, row.method, row.settings, seeds]
            costs = [row.costs.get(name) for name in COSTS]
            ids = " ".join(run.run_id for run in row.runs)
            lines.append([*where, *_csv_metrics(row, comparison.metrics), *costs, ids])
    return csv_text(lines)


def csv_text(lines: Iterable[Sequence[object]]) -> str:
    """Write lines of trials as csv; None is an empty trial."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue()


def _csv_metrics(row: Row, metrics: Sequence[str]) -> list[float | None]:
    trials: list[float | None] = []
    for metric in metrics:
        trials += row.spreads.get(metric) or (None, None, 0)
        trials += [row.to_best.get(metric), row.to_reference.get(metric)]
    return trials
