"""Figures of scores: IoU by class of every method, and differences with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cadnet.evaluation.bootstrap import LEVEL, Difference
from cadnet.reporting.data import MethodRun, by_method
from cadnet.reporting.plots import (
    INK,
    MARKERS,
    PAPER_MARK,
    SOFT,
    blank_figure,
    legend_below,
    method_colours,
)
from cadnet.reporting.published import published_rows
from cadnet.reporting.tables import metric_spread, metric_titles, table_title

MOST_BARS = 28
"""With more bars than this each class gets one line of dots instead."""
BETTER, WORSE = "#1d7a46", "#b03a3a"
_WIDTHS = {"group": 3.6, "image": 1.6}


def iou_bar_figure(
    runs: Sequence[MethodRun],
    published: str | pd.DataFrame | None,
    scale: str,
    colours: Mapping[str, str] | None = None,
) -> Figure:
    """IoU per class and mIoU in %, with a whisker of one deviation over seeds; the paper's numbers are marks.

    A bar per method, or, where that would be more than :data:`MOST_BARS`, a line of dots per class.

    Args:
        runs: scored networks.
        published: the paper's table, or its numbers by title.
        scale: of the runs, in words.
        colours: by title; those of the methods when not given.
    """
    groups = by_method(runs)
    classes = runs[0].result.class_names
    metrics = {m: t for m, t in metric_titles(classes).items() if m.startswith("iou_") or m == "miou"}
    paper = published_rows(published, groups, classes)
    dots = len(metrics) * len(groups) > MOST_BARS
    height = 1.4 + 0.34 * len(metrics) if dots else 0.9 + len(metrics) * (0.22 * len(groups) + 0.2)
    height += 0.1 * len(groups) if dots else 0.0
    figure, axes = blank_figure(table_title("IoU by class", scale, runs), height=max(height, 3.2))
    draw = _dots if dots else _bars
    draw(axes, groups, list(metrics), paper, colours or method_colours(list(groups)))
    axes.set_yticks(range(len(metrics)), list(metrics.values()))
    axes.invert_yaxis()
    axes.set(xlabel="IoU, pooled over the test images (%)", xlim=(-1 if dots else 0, 100))
    axes.grid(axis="y", visible=dots)
    legend_below(figure, axes)
    return figure


def interval_figure(
    differences: Mapping[str, Difference], title: str, of: str, unit: Mapping[str, str]
) -> Figure:
    """Differences in points with their intervals, zero marked; what does not decide is faint.

    Args:
        differences: by what is written beside the line; undefined ones are left out.
        title: as for all figures; in brackets scale and seeds.
        of: what is subtracted, such as ``CADNet minus SegFormer``.
        unit: what ``image`` and ``group`` are called in the legend.
    """
    shown = {name: one for name, one in differences.items() if one.interval is not None}
    figure, axes = blank_figure(title, height=1.7 + 0.42 * len(shown))
    named: set[str] = set()
    for place, one in enumerate(shown.values()):
        both = [("group", one.by_group, -0.13), ("image", one.by_image, 0.13)]
        known = [(kind, interval, shift) for kind, interval, shift in both if interval is not None]
        for kind, interval, shift in known:
            at = place + (shift if len(known) > 1 else 0)
            colour = BETTER if interval.low > 0 else WORSE if interval.high < 0 else SOFT
            look: dict[str, Any] = {"linewidth": _WIDTHS[kind], "solid_capstyle": "butt"}
            # Labels come from invisible lines, so that the legend is grey whatever the first line's colour.
            if kind not in named:
                axes.plot([], [], color=SOFT, label=f"{LEVEL} % over {unit[kind]}", **look)
                named.add(kind)
            ends = 100 * np.array([interval.low, interval.high])
            axes.plot(ends, [at, at], color=colour, alpha=1 if interval == one.interval else 0.4, **look)
        if one.observed is not None:
            axes.plot(100 * one.observed, place, "o", color=INK, markersize=5, zorder=3)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(shown)), list(shown))
    axes.set_ylim(len(shown) - 0.5, -0.5)
    # In two lines, because long names of methods leave little room beneath.
    axes.set(xlabel=f"{of}\n(points of IoU)")
    axes.grid(axis="y", visible=False)
    if named:
        legend_below(figure, axes)
    return figure


def _bars(
    axes: Axes,
    groups: Mapping[str, Sequence[MethodRun]],
    metrics: Sequence[str],
    paper: Mapping[str, Mapping[str, float]],
    colours: Mapping[str, str],
) -> None:
    width = 0.8 / len(groups)
    marks: str | None = PAPER_MARK
    for row, (title, group) in enumerate(groups.items()):
        printed = paper.get(title, {})
        for column, metric in enumerate(metrics):
            place = column + (row - (len(groups) - 1) / 2) * width
            ours = metric_spread(group, metric)
            label = title if column == 0 else None
            axes.barh(place, ours.mean or 0.0, width * 0.86, color=colours[title], label=label)
            if ours.mean is not None and ours.std is not None:
                axes.errorbar(ours.mean, place, xerr=ours.std, color=INK, linewidth=1, capsize=2)
            if metric in printed:
                ends = place + np.array([-0.43, 0.43]) * width
                axes.plot(np.full(2, printed[metric]), ends, color=INK, linewidth=2, label=marks)
                marks = None


def _dots(
    axes: Axes,
    groups: Mapping[str, Sequence[MethodRun]],
    metrics: Sequence[str],
    paper: Mapping[str, Mapping[str, float]],
    colours: Mapping[str, str],
) -> None:
    step = 0.5 / max(len(groups) - 1, 1)
    marks: str | None = PAPER_MARK
    for row, (title, group) in enumerate(groups.items()):
        printed = paper.get(title, {})
        label: str | None = title
        look: dict[str, Any] = {"color": colours[title], "marker": MARKERS[row % len(MARKERS)]}
        for column, metric in enumerate(metrics):
            place = column + (row - (len(groups) - 1) / 2) * step
            ours = metric_spread(group, metric)
            if ours.mean is not None:
                axes.errorbar(
                    ours.mean, place, xerr=ours.std, markersize=5, linestyle="none", label=label, **look
                )
                label = None
            if metric in printed:
                axes.plot(printed[metric], place, "|", color=colours[title], markersize=9, label=marks)
                marks = None
