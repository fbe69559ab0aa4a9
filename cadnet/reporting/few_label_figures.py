"""Figures of few labels, drawn and captioned, for the page and for the files beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cadnet.evaluation.bootstrap import LEVEL
from cadnet.reporting.data import HERO, FewLabels, MethodRun, Picture
from cadnet.reporting.few_label_cases import ShareCase, share_cases
from cadnet.reporting.few_labels import (
    POOLED,
    few_label_methods,
    few_label_shares,
    few_label_title,
    share_label,
)
from cadnet.reporting.figures import INTERVAL_UNIT, INTERVALS_READ, FigureGroup, interval_picture
from cadnet.reporting.lines import seeded_line
from cadnet.reporting.plots import (
    MARKERS,
    SOFT,
    blank_figure,
    figure_png,
    history_figure,
    legend_below,
    method_lines,
)
from cadnet.reporting.published import published_few_labels

VISIBLE = 1.0
"""Points of IoU that a threshold has to change for the thresholds to be worth a figure."""
QUANTITIES = {
    "pseudo_precision": ("Precision of pseudo-labels", "precision of defect pixels (%)"),
    "pseudo_recall": ("Recall of pseudo-labels", "recall of defect pixels (%)"),
    "disagreement": ("Disagreement", "share of pixels (%)"),
}
"""Columns of a history, with title and axis of their figures."""
Points = Mapping[str, Mapping[float, Sequence[float]]]


def few_label_figures(few: FewLabels, scale: str) -> tuple[FigureGroup, ...]:
    """IoU by share of labels beside the paper's, intervals, thresholds, and pseudo-labels in training.

    Names of the groups: ``few_labels``, ``few_labels_intervals``, ``few_labels_thresholds``, and
    ``few_labels_training_<share in percent>`` per share; those that have nothing to show are left out.

    Raises:
        ValueError: a seed twice, or a run that was not scored on the one class ``defect``.
    """
    if not few_label_shares(few):
        return ()
    cases = share_cases(few)
    groups = [
        _share_group(few, scale),
        _interval_group(few, cases, scale),
        _threshold_group(few, cases, scale),
    ]
    groups += [_training_group(few, share, scale) for share in few_label_shares(few)]
    return tuple(group for group in groups if group.pictures)


def share_figure(points: Points, looks: Mapping[str, Mapping[str, Any]], title: str) -> Figure:
    """IoU in % over the share of labels in %, a line per method, whiskers of one deviation over seeds.

    Args:
        points: IoU (%) of every seed, by title and share in [0, 1].
        looks: of each title, see :func:`method_looks`.
        title: as for all figures; in brackets scale and seeds.
    """
    figure, axes = blank_figure(title, height=4.2 + 0.2 * ((len(points) + 1) // 2))
    shares = sorted({share for of in points.values() for share in of})
    # Beside each other, or the whiskers of methods that are equally good would hide each other.
    nearest = min((100 * (b - a) for a, b in pairwise(shares)), default=5.0)
    step = min(0.3 * nearest / max(len(points) - 1, 1), 0.15)
    for place, (name, of) in enumerate(points.items()):
        shift = step * (place - (len(points) - 1) / 2)
        at = [100 * share + shift for share in shares]
        seeded_line(axes, at, [of.get(share, ()) for share in shares], {"label": name} | dict(looks[name]))
    axes.set_xticks([100 * share for share in shares], [share_label(share) for share in shares])
    axes.set(xlabel="labelled training samples (%)", ylabel="IoU of defects (%)", ylim=(-2, 100))
    legend_below(figure, axes)
    return figure


def threshold_figure(case: ShareCase, looks: Mapping[str, Mapping[str, Any]], title: str) -> Figure:
    """A row per method: IoU where the two scores are equal, and at the threshold that validation chooses."""
    plain, chosen = case.means(list(looks)), case.means(list(looks), validated=True)
    shown = [name for name in looks if name in plain and name in chosen]
    figure, axes = blank_figure(title, height=1.6 + 0.27 * len(shown))
    for place, name in enumerate(shown):
        colour, ends = looks[name]["color"], (plain[name], chosen[name])
        axes.plot(ends, (place, place), color=colour, linewidth=1.6)
        axes.plot(ends[0], place, "o", color=colour, markersize=6)
        axes.plot(ends[1], place, "o", color=colour, markersize=6, markerfacecolor="white")
    # Labels come from invisible dots, so that the legend is grey whatever the first method's colour.
    axes.plot([], [], "o", color=SOFT, label="scores equal")
    axes.plot([], [], "o", color=SOFT, markerfacecolor="white", label="chosen by validation")
    axes.set_yticks(range(len(shown)), shown)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set(xlabel="IoU of defects (%)")
    axes.grid(axis="y", visible=False)
    legend_below(figure, axes)
    return figure


def method_looks(titles: Sequence[str], hero: str = HERO) -> dict[str, dict[str, Any]]:
    """Colour, dash, marker and weight of every method's line; the hero is solid, thick and on top."""
    order = sorted(titles, key=lambda title: title != hero)
    looks = method_lines(order)
    for place, title in enumerate(order):
        weight = {"linewidth": 2.4, "zorder": 3} if title == hero else {"linewidth": 1.3}
        looks[title] |= {"marker": MARKERS[place % len(MARKERS)], "markersize": 5} | weight
    return {title: looks[title] for title in titles}


def _share_group(few: FewLabels, scale: str) -> FigureGroup:
    methods = few_label_methods(few)
    looks, iou = method_looks(list(methods)), POOLED["iou"]
    ours = {
        title: {share: _scores(runs, iou) for share, runs in groups.items()}
        for title, groups in methods.items()
    }
    title = few_label_title(few, scale, "IoU by share of labels")
    alt = f"IoU by share of labels: {_said(ours)}"
    pictures = [Picture(figure_png(share_figure(ours, looks, title)), title, alt)]
    caption = f"{title}. Whiskers are one standard deviation over seeds, faint dots single seeds."
    printed = _printed(list(methods))
    if printed:
        of = "IoU by share of labels in the paper (its Table 6, at its full scale)"
        drawn = figure_png(share_figure(printed, looks, of))
        pictures.append(Picture(drawn, of, f"{of}: {_said(printed)}"))
        caption += " Beside it the paper's numbers, at its full scale: they show what to reach, not a race."
    caption += " Points of one share are drawn beside each other so that none hides another."
    return FigureGroup("few_labels", tuple(pictures), caption)


def _interval_group(few: FewLabels, cases: Sequence[ShareCase], scale: str) -> FigureGroup:
    pictures = []
    for case in cases:
        known = {title: case.differences[title] for title in case.groups if title in case.differences}
        if any(one.interval is not None for one in known.values()):
            title = few_label_title(few, scale, f"{HERO} against each, {case.at} of the labels", case.share)
            pictures.append(interval_picture(known, title, f"{HERO} minus the other", INTERVAL_UNIT))
    caption = (
        f"{few_label_title(few, scale, 'Differences in IoU of defects')} with {LEVEL} % intervals of paired "
        f"resamples. {INTERVALS_READ}"
    )
    return FigureGroup("few_labels_intervals", tuple(pictures), caption)


def _threshold_group(few: FewLabels, cases: Sequence[ShareCase], scale: str) -> FigureGroup:
    """A picture per share at which a threshold changes something that can be seen."""
    looks, pictures = method_looks(list(few_label_methods(few))), []
    for case in cases:
        plain, chosen = case.means(list(looks)), case.means(list(looks), validated=True)
        both = [name for name in looks if name in plain and name in chosen]
        if any(abs(chosen[name] - plain[name]) >= VISIBLE for name in both):
            title = few_label_title(few, scale, f"Two thresholds, {case.at} of the labels", case.share)
            said = "; ".join(f"{name} {plain[name]:.1f} and {chosen[name]:.1f} %" for name in both)
            alt = f"IoU at {case.at} of the labels with equal scores and with chosen thresholds: {said}."
            pictures.append(Picture(figure_png(threshold_figure(case, looks, title)), title, alt))
    caption = (
        f"{few_label_title(few, scale, 'IoU of defects at two thresholds')}: where a network's two scores "
        "are equal, and the probability that validation images choose. Dots are means over seeds. Shares at "
        f"which no method changes by {VISIBLE:g} point are not shown. The axes need not start at 0."
    )
    return FigureGroup("few_labels_thresholds", tuple(pictures), caption)


def _training_group(few: FewLabels, share: float, scale: str) -> FigureGroup:
    """Pseudo-labels over epochs at one share: a picture per quantity, of the methods that have it."""
    methods = few_label_methods(few)
    looks = {
        title: {key: look[key] for key in ("color", "linestyle")}
        for title, look in method_looks(list(methods)).items()
    }
    pictures, at = [], f"{share_label(share)} % of the labels"
    for column, (what, label) in QUANTITIES.items():
        runs = [run for groups in methods.values() for run in groups.get(share, ()) if _has(run, column)]
        if runs:
            title = few_label_title(few, scale, f"{what}, {at}", share)
            ends = {name: _last([run for run in runs if run.title == name], column) for name in looks}
            said = "; ".join(f"{name} {value:.1f} %" for name, value in ends.items() if value is not None)
            drawn = figure_png(history_figure(runs, column, title, label, looks))
            pictures.append(Picture(drawn, title, f"{what} by epoch, {at}; in the last epoch {said}."))
    caption = (
        f"{few_label_title(few, scale, f'Pseudo-labels of unlabelled images in training, {at}', share)}, "
        "against the truth that training does not see. Precision: of the pixels labelled as defect, those "
        "that are; recall: of the defect pixels, those labelled so; disagreement: pixels on which two "
        "predictions differ. Lines are means over seeds, faint lines single seeds; a method without "
        "a quantity is left out."
    )
    return FigureGroup(f"few_labels_training_{share_label(share)}", tuple(pictures), caption)


def _printed(titles: Sequence[str]) -> dict[str, dict[float, list[float]]]:
    """The paper's IoU (%) of those of ``titles`` that it has, by share."""
    table = published_few_labels()
    iou = [str(column) for column in table if str(column).startswith("iou_")]
    return {
        title: {float(column.removeprefix("iou_")) / 100: [float(table[column][title])] for column in iou}
        for title in titles
        if title in table.index
    }


def _scores(runs: Sequence[MethodRun], metric: str) -> list[float]:
    return [100 * score for run in runs if (score := run.result.scalars().get(metric)) is not None]


def _said(points: Points) -> str:
    """The means of a figure, for who cannot see it."""
    rows = [
        f"{name} "
        + ", ".join(f"{np.mean(of[share]):.1f} at {share_label(share)} %" for share in of if of[share])
        for name, of in points.items()
    ]
    return f"{'; '.join(rows)}."


def _has(run: MethodRun, column: str) -> bool:
    return run.history is not None and column in run.history and bool(run.history[column].notna().any())


def _last(runs: Sequence[MethodRun], column: str) -> float | None:
    """The last known value of a column, mean over seeds, in percent."""
    values = [100 * float(run.history[column].dropna().iloc[-1]) for run in runs if run.history is not None]
    return float(np.mean(values)) if values else None
