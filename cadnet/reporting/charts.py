"""The charts, each drawn once by one function and used by the page and by the files beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.ticker import MaxNLocator

from cadnet.evaluation.bootstrap import LEVEL
from cadnet.reporting.pages import Picture
from cadnet.reporting.results import ScoredTrial, by_method, spread, values_of
from cadnet.reporting.style import (
    BETTER,
    INK,
    MARKERS,
    PAPER_MARK,
    SOFT,
    WORSE,
    Looks,
    blank_chart,
    legend_below,
    method_colours,
    method_looks,
    picture,
    plain_line,
)
from cadnet.reporting.tables import Measure, Methods, class_title, metric_titles, percent_label

MOST_BARS = 28
"""With more bars than this each class gets one line of dots instead."""
LOG_FROM = 10.0
"""Values of a varied number whose largest is so many times the smallest are drawn on a logarithmic axis."""
LEAST_SPAN = 10.0
"""Points of mIoU an axis covers at least, so that noise does not look like a trend."""
PAIR_COLOURS = ("#c3ced6", "#93a5b1", "#0b6e8f", "#d97b29", "#6a9a3b", "#8a62a8", "#b8475a", "#8c7a5b")
"""Pairs of one kind are pale, the crossed ones strong."""
UNITS = {"image": "images", "group": "groups of images"}
"""What is resampled, in legends."""
_WIDTHS = {"group": 3.6, "image": 1.6}
_RAMP = LinearSegmentedColormap.from_list("variants", ["#b9c7d1", "#5f879e"])
_RING: dict[str, Any] = {
    "marker": "o", "markersize": 13, "markerfacecolor": "none", "markeredgecolor": INK, "linestyle": "none",
}  # fmt: skip
_VALUE: dict[str, Any] = {"va": "center", "fontsize": 7, "color": INK, "annotation_clip": False}


def history_chart(methods: Methods, column: str, title: str, label: str) -> Picture | None:
    """A ratio over epochs in %: the mean of a method's seeds, and each seed faintly behind it.

    Args:
        methods: those without a history, or without the column, are left out; None without any.
        column: of the histories, in [0, 1], NaN where not known.
        title: of the chart.
        label: of the upright axis.
    """
    figure, axes = blank_chart(title)
    groups, last = by_method(methods.trials), {}
    looks = method_looks(list(groups), methods.reference)
    for method, group in groups.items():
        seeds = [values for trial in group if len(values := _column(trial.history, column))]
        if not seeds:
            continue
        look = plain_line(looks[method])
        for values in seeds if len(seeds) > 1 else ():
            axes.plot(values.index, 100 * values, color=look["color"], alpha=0.25, linewidth=0.8)
        mean = pd.concat(seeds, axis=1).mean(axis=1)
        points: dict[str, Any] = {"marker": "o" if len(mean) <= 12 else "", "markersize": 3.5}
        axes.plot(mean.index, 100 * mean, label=methods.title(method), **points, **look)
        last[methods.title(method)] = 100 * float(mean.iloc[-1])
    if not last:
        return None
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    legend_below(axes)
    return picture(figure, f"{title}, last epoch", last)


def loss_chart(trial: ScoredTrial, title: str, colour: str) -> Picture | None:
    """Training loss over epochs: the total in ``colour``, its parts before weighting; None when unknown."""
    total = _column(trial.history, "loss")
    if trial.history is None or not len(total):
        return None
    figure, axes = blank_chart(title)
    parts = [str(column) for column in trial.history if str(column).startswith("loss_")]
    # A single part is the total; drawn twice it would look like two losses that happen to agree.
    names = {"loss": "total"} | {part: part.removeprefix("loss_") for part in parts if len(parts) > 1}
    for (column, label), dash in zip(names.items(), ("-", "--", "-.", ":") * len(names), strict=False):
        values = _column(trial.history, column)
        ink = colour if column == "loss" else INK
        axes.plot(values.index, values, dash, color=ink, label=label, linewidth=1.6)
    axes.set(xlabel="epoch", ylabel="loss (mean over pixels)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    legend_below(axes)
    ends = {"first epoch": float(total.iloc[0]), "last epoch": float(total.iloc[-1])}
    return picture(figure, title, ends, "")


def curve_charts(methods: Methods, index: int) -> tuple[Picture, Picture]:
    """Precision over recall, and Fscore over threshold, of one class (paper Fig. 8).

    Of each method's first seed; dots mark the best threshold on the test images. ``index``: of the class,
    from 0.
    """
    firsts = {m: group[0].result.curves[index] for m, group in by_method(methods.trials).items()}
    looks = {m: plain_line(look) for m, look in method_looks(list(firsts), methods.reference).items()}
    name = class_title(methods.classes[index])
    left, recall_axes = blank_chart(f"Precision and recall, {name}")
    right, fscore_axes = blank_chart(f"Fscore by threshold, {name}")
    precision, best = {}, {}
    for method, line in firsts.items():
        title, look = methods.title(method), looks[method]
        known = line.average_precision
        ap = "AP not defined" if known is None else f"AP {100 * known:.1f} %"
        recall = np.array(line.recall)
        # Above the highest score nothing is predicted; that precision is a convention and would draw a spike.
        drawn = recall > 0
        values = 100 * np.array(line.precision)
        recall_axes.plot(100 * recall[drawn], values[drawn], label=f"{title}, {ap}", **look)
        fscore_axes.plot(line.thresholds, 100 * np.array(line.fscore), label=title, **look)
        if line.best_threshold is not None and line.best_fscore is not None:
            dot = {"marker": "o", "markersize": 4, "color": look["color"]}
            fscore_axes.plot(line.best_threshold, 100 * line.best_fscore, **dot)
        precision[title] = None if known is None else 100 * known
        best[title] = None if line.best_fscore is None else 100 * line.best_fscore
    recall_axes.set(
        xlabel=f"recall of {name} pixels (%)", ylabel="precision (%)", xlim=(0, 101), ylim=(0, 101)
    )
    fscore_axes.set(
        xlabel="probability threshold", ylabel=f"Fscore of {name} (%)", xlim=(0, 1), ylim=(0, 101)
    )
    for axes in (recall_axes, fscore_axes):
        axes.set_ylim(0, 101)
        legend_below(axes)
    return (
        picture(left, f"Precision-recall curves of {name}, average precision", precision),
        picture(right, f"Fscore over threshold of {name}, best Fscore", best),
    )


def iou_chart(
    table: pd.DataFrame, classes: Sequence[str], colours: Mapping[str, str] | None = None
) -> Picture:
    """IoU per class and mIoU in %, whiskers of one deviation over seeds; the paper's numbers are marks.

    A bar per method, or, where that would be more than :data:`MOST_BARS`, a line of dots per class.

    Args:
        table: :func:`~cadnet.reporting.tables.results_table`.
        classes: the defect classes.
        colours: by method id; those of the methods when not given.
    """
    colours = colours or method_colours(list(table.index))
    metrics = {m: t for m, t in metric_titles(classes).items() if m.startswith("iou_") or m == "miou"}
    count, dots = len(table), len(metrics) * len(table) > MOST_BARS
    height = 1.4 + 0.34 * len(metrics) + 0.1 * count if dots else 0.9 + len(metrics) * (0.22 * count + 0.2)
    figure, axes = blank_chart("IoU by class", max(height, 2.8))
    step = 0.5 / max(count - 1, 1) if dots else 0.8 / count
    marks: str | None = PAPER_MARK
    for row, (method, record) in enumerate(table.iterrows()):
        look: dict[str, Any] = {"color": colours[str(method)]}
        label: str | None = str(record["method"])
        for column, metric in enumerate(metrics):
            at = column + (row - (count - 1) / 2) * step
            ours, std, paper = (record[metric + part] for part in ("", "_std", "_paper"))
            whisker = None if pd.isna(std) else std
            if dots and not pd.isna(ours):
                mark = MARKERS[row % len(MARKERS)]
                axes.errorbar(
                    ours, at, xerr=whisker, marker=mark, markersize=5, ls="none", label=label, **look
                )
                label = None
            elif not dots:
                axes.barh(at, 0.0 if pd.isna(ours) else ours, step * 0.86, label=label, **look)
                label = None
                if whisker is not None:
                    axes.errorbar(ours, at, xerr=whisker, color=INK, linewidth=1, capsize=2)
            if not pd.isna(paper):
                reach = 0.22 if dots else 0.43 * step
                axes.plot([paper] * 2, [at - reach, at + reach], color=look["color"] if dots else INK,
                          linewidth=2, label=marks)  # fmt: skip
                marks = None
    axes.set_yticks(range(len(metrics)), list(metrics.values()))
    axes.invert_yaxis()
    axes.set(xlabel="IoU, pooled over the test images (%)", xlim=(-1 if dots else 0, 100))
    axes.grid(axis="y", visible=dots)
    legend_below(axes)
    return picture(
        figure, "Bars of IoU by class, mIoU", {str(r["method"]): r["miou"] for r in table.to_dict("records")}
    )


def interval_chart(rows: pd.DataFrame, title: str, of: str, group: str = UNITS["group"]) -> Picture | None:
    """Differences in points with their intervals, zero marked; None where none is defined.

    Green: the interval is above 0, red: below, grey: it contains 0. Where there are two, the wider one
    decides and the other is faint.

    Args:
        rows: of :func:`~cadnet.reporting.differences.differences`, with a ``label`` for each.
        title: of the chart.
        of: what is subtracted, such as ``CADNet minus SegFormer``.
        group: what a group of images is, in the plural.
    """
    shown = rows[rows["low"].notna()]
    if shown.empty:
        return None
    figure, axes = blank_chart(title, 1.5 + 0.42 * len(shown))
    named: set[str] = set()
    for position, row in enumerate(shown.to_dict("records")):
        both = [("group", -0.13), ("image", 0.13)]
        known = [(kind, shift) for kind, shift in both if not pd.isna(row[f"{kind}_low"])]
        for kind, shift in known:
            ends = row[f"{kind}_low"], row[f"{kind}_high"]
            colour = BETTER if ends[0] > 0 else WORSE if ends[1] < 0 else SOFT
            look: dict[str, Any] = {"linewidth": _WIDTHS[kind], "solid_capstyle": "butt"}
            # Labels come from invisible lines, so that the legend is grey whatever the first line's colour.
            if kind not in named:
                unit = group if kind == "group" else UNITS["image"]
                axes.plot([], [], color=SOFT, label=f"{LEVEL} % over {unit}", **look)
                named.add(kind)
            at = [position + (shift if len(known) > 1 else 0)] * 2
            axes.plot(ends, at, color=colour, alpha=1 if ends == (row["low"], row["high"]) else 0.4, **look)
        axes.plot(row["difference"], position, "o", color=INK, markersize=5, zorder=3)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(shown)), list(shown["label"]))
    axes.set_ylim(len(shown) - 0.5, -0.5)
    # In two lines, because long names of methods leave little room beneath.
    axes.set(xlabel=f"{of}\n(points)")
    axes.grid(axis="y", visible=False)
    legend_below(axes)
    said = dict(zip(shown["label"], shown["difference"], strict=True))
    return picture(figure, f"{of}, with {LEVEL} % intervals", said, " points")


def variant_colours(methods: Sequence[str], reference: str) -> dict[str, str]:
    """The reference in its method's colour, its variants from pale to less pale in their order."""
    others = [method for method in methods if method != reference]
    steps = np.linspace(0, 1, max(len(others), 2))
    ramp = {method: to_hex(_RAMP(step)) for method, step in zip(others, steps, strict=False)}
    return {method: ramp.get(method, method_colours([method])[method]) for method in methods}


def axis_chart(methods: Methods, label: str, values: Mapping[str, float], chosen: str | None) -> Picture:
    """Test and validation mIoU in % over a number that is varied, whiskers of one deviation over seeds.

    Single seeds are faint dots. A ring marks what validation chooses; the tick of the reference is bold. On
    a logarithmic axis 0 stands apart at the left, joined by dots.

    Args:
        methods: the variants.
        label: of the number.
        values: of the number, by method id.
        chosen: the variant with the highest validation mIoU; None where it is not known.
    """
    ordered = sorted(by_method(methods.trials), key=lambda method: values[method])
    positions, zero = axis_positions([values[method] for method in ordered])
    figure, axes = blank_chart("Test and validation mIoU")
    known, test = [], {}
    for name, metric, colour, mark in (
        ("test", "miou", method_colours([methods.reference])[methods.reference], "o"),
        ("validation", "val_miou", SOFT, "s"),
    ):
        scores = [list(values_of(methods.trials, method, metric).values()) for method in ordered]
        known += [value for row in scores for value in row]
        _seeded_line(axes, positions, scores, {"color": colour, "marker": mark, "label": name}, zero=zero)
        if name == "test":
            test = {f"{values[m]:g}": spread(row).mean for m, row in zip(ordered, scores, strict=True)}
    if chosen is not None and (ours := test[f"{values[chosen]:g}"]) is not None:
        axes.plot(positions[ordered.index(chosen)], ours, label="chosen by validation", **_RING)
    axes.set_xticks(positions, [f"{values[method]:g}" for method in ordered])
    for method, tick in zip(ordered, axes.get_xticklabels(), strict=True):
        tick.set_fontweight("bold" if method == methods.reference else "normal")
    axes.set(xlabel=label, ylabel="mIoU over defect classes (%)")
    if known:
        middle, half = (max(known) + min(known)) / 2, max(LEAST_SPAN, 1.3 * (max(known) - min(known))) / 2
        axes.set_ylim(max(middle - half, -1), min(middle + half, 101))
    legend_below(axes)
    return picture(figure, f"Test mIoU by {label}", test)


def axis_positions(values: Sequence[float]) -> tuple[list[float], bool]:
    """Positions of ascending values, and whether 0 stands apart: logarithmic when they span a wide range."""
    positive = [value for value in values if value > 0]
    if min(values) < 0 or not positive or max(positive) / min(positive) < LOG_FROM:
        return list(values), False
    logs = np.log10(positive)
    gap = max(0.3, 0.25 * float(logs[-1] - logs[0]))
    return [float(np.log10(value)) if value > 0 else float(logs[0] - gap) for value in values], 0 in values


def cross_chart(
    table: pd.DataFrame,
    conditions: Mapping[str, Sequence[ScoredTrial]],
    names: Mapping[str, str],
    measure: Measure,
) -> Picture:
    """A row per method with a bar per pair: a measure of all defect classes as one in %, its value beside it.

    Args:
        table: :func:`~cadnet.reporting.tables.condition_table` of cross-tests.
        conditions: :func:`~cadnet.reporting.tables.cross_conditions`.
        names: of the datasets, for people.
        measure: which.
    """
    count, heading = len(conditions), measure.title
    figure, axes = blank_chart(
        f"{heading} by kind trained and tested on", max(1.2 + len(table) * (0.15 * count + 0.14), 2.8)
    )
    width, pale, strong = 0.82 / count, iter(PAIR_COLOURS[:2] * count), iter(PAIR_COLOURS[2:] * count)
    said = {}
    for column, (letters, trials) in enumerate(conditions.items()):
        trained, tested = trials[0].trained_on, trials[0].tested_on
        colour = next(pale if trained == tested else strong)
        label: str | None = f"{letters}: {names[trained]}, tested on {names[tested]}"
        for row, record in enumerate(table.to_dict("records")):
            at = row + (column - (count - 1) / 2) * width
            (metric,) = measure.columns([letters])
            ours, std = record[metric], record[f"{metric}_std"]
            if pd.isna(ours):
                continue
            axes.barh(at, ours, width * 0.9, color=colour, label=label)
            label = None
            if not pd.isna(std):
                axes.errorbar(ours, at, xerr=std, color=INK, linewidth=0.8, capsize=1.5)
            end = ours + (0.0 if pd.isna(std) else std)
            axes.annotate(f"{ours:.1f}", (end, at), (3, 0), textcoords="offset points", **_VALUE)
            said[f"{record['method']} {letters}"] = ours
    axes.set_yticks(range(len(table)), list(table["method"]))
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set(xlabel=f"{heading} of defects, pooled over the test images (%)", xlim=(0, 100))
    axes.grid(axis="y", visible=False)
    legend_below(axes)
    return picture(figure, f"{heading} of defects by pair", said)


def misalignment_chart(rows: pd.DataFrame, looks: Looks, titles: Mapping[str, str], title: str) -> Picture:
    """IoU of defects in % over the amount by which pairs are apart, a line per method, mean over seeds.

    Args:
        rows: ``method, amount, iou_defect`` (ratios), of one kind of motion.
        looks: of the methods.
        titles: of the methods, by id.
        title: of the chart, with the unit of the amount.
    """
    figure, axes = blank_chart(title)
    means = 100 * rows.pivot_table("iou_defect", "amount", "method", "mean", dropna=False)
    for method in means:
        axes.plot(
            means.index, means[method], label=titles.get(str(method), str(method)), **looks[str(method)]
        )
    axes.set(xlabel=title, ylabel="IoU of defects (%)")
    axes.set_ylim(bottom=0)
    legend_below(axes)
    last = {titles.get(str(m), str(m)): float(means[m].iloc[-1]) for m in means}
    return picture(figure, f"{title}, at {means.index[-1]:g}", last)


Points = Mapping[str, Mapping[float, Sequence[float]]]
"""IoU (%) of every seed, by method id and labelled fraction in [0, 1]."""


def fraction_chart(points: Points, looks: Looks, titles: Mapping[str, str], title: str) -> Picture:
    """IoU in % over the labelled fraction in %, a line per method, whiskers of one deviation over seeds."""
    figure, axes = blank_chart(title, 3.9)
    fractions = sorted({fraction for of in points.values() for fraction in of})
    # Beside each other, or the whiskers of methods that are equally good would hide each other.
    nearest = min((100 * (b - a) for a, b in pairwise(fractions)), default=5.0)
    step = min(0.3 * nearest / max(len(points) - 1, 1), 0.15)
    said = {}
    for number, (method, of) in enumerate(points.items()):
        shift = step * (number - (len(points) - 1) / 2)
        scores = [of.get(fraction, ()) for fraction in fractions]
        look = {"label": titles.get(method, method)} | dict(looks[method])
        _seeded_line(axes, [100 * fraction + shift for fraction in fractions], scores, look)
        for fraction, row in zip(fractions, scores, strict=True):
            said[f"{titles.get(method, method)} at {percent_label(fraction)} %"] = spread(row).mean
    ticks = [100 * fraction for fraction in fractions]
    axes.set_xticks(ticks, [percent_label(fraction) for fraction in fractions])
    axes.set(xlabel="labelled training samples (%)", ylabel="IoU of defects (%)", ylim=(-2, 100))
    legend_below(axes)
    return picture(figure, title, said)


def _seeded_line(
    axes: Axes,
    positions: Sequence[float],
    scores: Sequence[Sequence[float]],
    look: Mapping[str, Any],
    *,
    zero: bool = False,
) -> None:
    """A line through the means of ``scores``, with whiskers of one deviation and single seeds behind it.

    ``scores``: of every seed, at each of ``positions``; one without any is left out. ``zero``: the first
    position is a 0 that stands apart, joined by dots.
    """
    drawn = [(at, spread(row), row) for at, row in zip(positions, scores, strict=True) if row]
    if not drawn:
        return
    look = {"linewidth": 1.6} | dict(look)
    at = [position for position, _, _ in drawn]
    means = [value.mean or 0.0 for _, value, _ in drawn]
    start = 1 if zero and at[0] == positions[0] else 0
    axes.plot(at[start:], means[start:], **look)
    if start:
        axes.plot(at[:2], means[:2], ":", color=look["color"], marker=look["marker"], linewidth=1.6)
    for position, value, row in drawn:
        if value.mean is not None and value.std is not None:
            axes.errorbar(position, value.mean, value.std, color=look["color"], capsize=3, linewidth=1.2)
        if len(row) > 1:
            axes.plot([position] * len(row), row, ".", color=look["color"], alpha=0.35, markersize=6)


def _column(history: pd.DataFrame | None, name: str) -> pd.Series:
    """The defined values of a column over ``epoch``; empty when there is no such column."""
    if history is None or name not in history:
        return pd.Series(dtype=float, name=name)
    return history.set_index("epoch")[name].dropna().astype(float)
