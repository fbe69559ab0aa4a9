"""Figures, each readable alone: axis labels with units, and a title line that says scale and seeds.

They are drawn on the object interface of matplotlib with the Agg canvas, so nothing global is touched and
threads or a missing display do not matter. Figures are small on purpose: a page shows them side by side, a
telephone one below the other at a size where their text can still be read.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cadnet.evaluation.curves import Curve
from cadnet.reporting.data import MethodRun, by_method
from cadnet.reporting.published import published_name
from cadnet.reporting.tables import table_title

COLOURS = {
    "CADNet": "#0b6e8f",
    "SegFormer": "#d97b29",
    "DeepLabV3+": "#6a9a3b",
    "OCRNet": "#8a62a8",
    "DANet": "#b8475a",
    "PSPNet": "#8c7a5b",
    "FCN": "#7f8790",
    "DCT": "#8c7a5b",
    "UAMT": "#b8475a",
    "CPS": "#6a9a3b",
    "UCC": "#8a62a8",
    "UAPS": "#d97b29",
}
"""One colour per method of the paper, the same in every figure; methods that never meet in one share them."""

FURTHER_COLOURS = ("#1f2a44", "#d4b106", "#58b4e0", "#e08fb9", "#5a3a1e", "#2fb5a5")
"""For methods the paper does not have, in the order they appear; the colour-blind too can tell them apart."""

INK, FAINT, SOFT = "#2a3036", "#d9dee3", "#5b6570"
PAPER_MARK = "paper, at its full scale"
LEGEND_INSIDE = 4
MARKERS = "oDs^vPX<>p*h"
DASHES = ("-", "--", "-.", ":")
"""Of more than :data:`LEGEND_INSIDE` lines: not all readers can tell so many colours apart."""


def method_colours(titles: Sequence[str]) -> dict[str, str]:
    """Assign a colour to every method title."""
    named = {title: published_name(title, list(COLOURS)) for title in titles}
    further = [title for title, name in named.items() if name is None]
    return {
        title: COLOURS[name] if name else FURTHER_COLOURS[further.index(title) % len(FURTHER_COLOURS)]
        for title, name in named.items()
    }


def method_lines(titles: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and dash of every method's line; all are solid while they are few."""
    dashes = DASHES if len(titles) > LEGEND_INSIDE else DASHES[:1]
    return {
        title: {"color": colour, "linestyle": dashes[place % len(dashes)]}
        for place, (title, colour) in enumerate(method_colours(titles).items())
    }


def figure_png(figure: Figure, dpi: int = 160) -> bytes:
    """Render a figure as PNG bytes; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def validation_figure(runs: Sequence[MethodRun], scale: str) -> Figure:
    """Validation mIoU in % over epochs; see :func:`history_figure`."""
    title = table_title("Validation mIoU", scale, runs)
    return history_figure(runs, "val_miou", title, "mIoU over defect classes (%)")


def history_figure(
    runs: Sequence[MethodRun],
    column: str,
    title: str,
    label: str,
    looks: Mapping[str, Mapping[str, Any]] | None = None,
) -> Figure:
    """A share over epochs, in %: the mean of a method's seeds, and each seed faintly behind it.

    Args:
        runs: those without a history are left out.
        column: of the histories, in [0, 1], NaN where not known.
        title: as for all figures; in brackets scale and seeds.
        label: of the upright axis.
        looks: ``color`` and further properties of each method's line; :func:`method_lines` when not given.
    """
    figure, axes = blank_figure(title)
    groups = by_method(runs)
    looks = looks or method_lines(list(groups))
    for name, group in groups.items():
        seeds = [_column(run.history, column) for run in group if run.history is not None]
        if len(seeds) > 1:
            for values in seeds:
                axes.plot(values.index, 100 * values, color=looks[name]["color"], alpha=0.25, linewidth=0.8)
        if seeds:
            mean = pd.concat(seeds, axis=1).mean(axis=1)
            axes.plot(mean.index, 100 * mean, label=name, **looks[name], **_marks(len(mean)))
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    _legend(axes, loc="lower right")
    return figure


def loss_figure(run: MethodRun, scale: str, colour: str | None = None) -> Figure:
    """Training loss of one run over epochs: the total, in ``colour``, and its parts before weighting.

    Raises:
        ValueError: the run has no history.
    """
    if run.history is None:
        raise ValueError(f"{run.title}, seed {run.seed}, has no training history to draw")
    figure, axes = blank_figure(f"Training loss of {run.title} ({scale}; seed {run.seed})")
    colour = colour or method_colours([run.title])[run.title]
    parts = [str(column) for column in run.history if str(column).startswith("loss_")]
    # A single part is the total; drawn twice it would look like two losses that agree by a miracle.
    names = {"loss": "total"} | {part: part.removeprefix("loss_") for part in parts if len(parts) > 1}
    for (column, label), dash in zip(names.items(), DASHES * len(names), strict=False):
        values = _column(run.history, column)
        axes.plot(
            values.index, values, dash, color=colour if column == "loss" else INK, label=label, linewidth=1.6
        )
    axes.set(xlabel="epoch", ylabel="loss (mean over pixels)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    _legend(axes, loc="upper right")
    return figure


def precision_recall_figure(curves: Mapping[str, Curve], name: str, title: str) -> Figure:
    """Precision over recall of every method for class ``name`` (paper Fig. 8, left)."""
    figure, axes = blank_figure(title)
    looks = method_lines(list(curves))
    for method, line in curves.items():
        recall, precision = np.array(line.recall), np.array(line.precision)
        # Above the highest score nothing is predicted; that precision is a convention and would draw a spike.
        drawn = recall > 0
        ap = (
            "AP not defined" if line.average_precision is None else f"AP {100 * line.average_precision:.1f} %"
        )
        axes.plot(100 * recall[drawn], 100 * precision[drawn], label=f"{method}, {ap}", **looks[method])
    axes.set(xlabel=f"recall of {name} pixels (%)", ylabel="precision (%)", xlim=(0, 101), ylim=(0, 101))
    _legend(axes, loc="lower left")
    return figure


def fscore_threshold_figure(curves: Mapping[str, Curve], name: str, title: str) -> Figure:
    """Fscore over the threshold of every method for class ``name`` (paper Fig. 8, right); dots: the best."""
    figure, axes = blank_figure(title)
    looks = method_lines(list(curves))
    for method, line in curves.items():
        axes.plot(line.thresholds, 100 * np.array(line.fscore), label=method, **looks[method])
        if line.best_threshold is not None and line.best_fscore is not None:
            dot = {"marker": "o", "markersize": 4, "color": looks[method]["color"]}
            axes.plot(line.best_threshold, 100 * line.best_fscore, **dot)
    axes.set(xlabel="probability threshold", ylabel=f"Fscore of {name} (%)", xlim=(0, 1), ylim=(0, 101))
    _legend(axes, loc="lower center")
    return figure


def blank_figure(title: str, height: float = 3.5) -> tuple[Figure, Axes]:
    """A figure of one axes; what stands in the last brackets of ``title`` goes into a second line."""
    figure = Figure(figsize=(4.7, height), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    what, rest = split_title(title)
    lines = textwrap.wrap(rest, 58)
    axes.set_title(what, loc="left", fontsize=11, fontweight="bold", color=INK, pad=7 + 12.5 * len(lines))
    below: dict[str, Any] = {
        "xytext": (0, 5),
        "textcoords": "offset points",
        "fontsize": 9,
        "color": SOFT,
    }
    axes.annotate("\n".join(lines), (0, 1), xycoords="axes fraction", va="bottom", **below)
    axes.grid(color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#9aa4ad")
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    return figure, axes


def split_title(title: str) -> tuple[str, str]:
    """What comes before the brackets at the end of a title, and what stands in them; they may hold others."""
    depth = 0
    for place in range(len(title) - 1, 0, -1):
        depth += (title[place] == ")") - (title[place] == "(")
        if depth == 0:
            return (title[:place].rstrip(), title[place + 1 : -1]) if title.endswith(")") else (title, "")
    return title, ""


def _column(history: pd.DataFrame, name: str) -> pd.Series:
    """The defined values of a column over ``epoch``; empty when there is no such column."""
    if name not in history:
        return pd.Series(dtype=float, name=name)
    return history.set_index("epoch")[name].dropna().astype(float)


def _marks(points: int) -> dict[str, Any]:
    return {"linewidth": 1.8, "marker": "o" if points <= 12 else "", "markersize": 3.5}


def _legend(axes: Axes, loc: Any) -> None:
    """A legend inside the axes while it is short; longer it would cover the lines and goes below."""
    entries = len(axes.get_legend_handles_labels()[0])
    figure = axes.figure
    if entries > LEGEND_INSIDE and isinstance(figure, Figure):
        figure.set_figheight(figure.get_figheight() + 0.2 * ((entries + 1) // 2))
        legend_below(figure, axes)
    elif entries:
        axes.legend(loc=loc, fontsize=9, framealpha=0.85, edgecolor="none")


def legend_below(figure: Figure, axes: Axes) -> None:
    """A legend under the axes in two columns, the paper's mark last."""
    entries = sorted(zip(*axes.get_legend_handles_labels(), strict=True), key=lambda e: e[1] == PAPER_MARK)
    handles, labels = zip(*entries, strict=True)
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
