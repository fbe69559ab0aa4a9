"""Which figures a report shows, drawn and captioned, for the page and for the files beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from cadnet.evaluation.bootstrap import LEVEL, Difference
from cadnet.reporting.bars import interval_figure, iou_bar_figure
from cadnet.reporting.comparison import metric_title
from cadnet.reporting.data import Comparison, MethodRun, Picture, by_method, seeds_text
from cadnet.reporting.plots import (
    figure_png,
    fscore_threshold_figure,
    loss_figure,
    method_colours,
    precision_recall_figure,
    validation_figure,
)
from cadnet.reporting.tables import table_title

INTERVALS_READ = (
    "Dots: the difference as measured. Green: the interval lies above 0, red: below, grey: it contains 0. "
    "Where there are two, the wider one decides and the other is faint. Intervals cover which images were "
    "tested on, not the luck of a training."
)
"""How to read a figure of intervals."""
INTERVAL_UNIT = {"image": "images", "group": "groups of images"}
"""What is resampled, as the legend calls it where it has no name of its own."""
FEW_LOSSES = 3
"""Losses of so many methods are shown beside the validation; of more they make a group of their own."""


@dataclass(frozen=True)
class FigureGroup:
    """Pictures that belong side by side under one caption. ``name`` is fit for a file name."""

    name: str
    pictures: tuple[Picture, ...]
    caption: str


def training_figures(groups: Mapping[str, Sequence[MethodRun]], scale: str) -> tuple[FigureGroup, ...]:
    """Validation mIoU of all methods, then each method's losses (first seed); nothing without histories.

    With more than :data:`FEW_LOSSES` methods the losses of all but the first are a second group.
    """
    runs = [run for group in groups.values() for run in group if run.history is not None]
    if not runs:
        return ()
    title = table_title("Validation mIoU", scale, runs)
    pictures = [Picture(figure_png(validation_figure(runs, scale)), title, _alt_validation(runs))]
    colours = method_colours(list(groups))
    for run in (group[0] for group in by_method(runs).values()):
        last = run.history["loss"].dropna().iloc[[0, -1]].tolist() if run.history is not None else [0.0, 0.0]
        alt = f"Training loss of {run.title}, seed {run.seed}: first {last[0]:.3g}, last {last[1]:.3g}."
        pictures.append(Picture(figure_png(loss_figure(run, scale, colours[run.title])), alt, alt))
    caption = (
        f"{title}. Lines are means over seeds, faint lines single seeds. Losses are of the first seed; parts "
        "are shown before weighting."
    )
    if len(pictures) <= 1 + FEW_LOSSES:
        return (FigureGroup("training", tuple(pictures), caption),)
    further = f"Training losses of the other methods ({scale}; first seed). Parts are shown before weighting."
    return (
        FigureGroup("training", tuple(pictures[:2]), caption),
        FigureGroup("losses", tuple(pictures[2:]), further),
    )


def curve_figures(groups: Mapping[str, Sequence[MethodRun]], scale: str) -> tuple[FigureGroup, ...]:
    """Per class the precision-recall and the Fscore-threshold curves of every method's first seed."""
    firsts = {title: group[0] for title, group in groups.items() if group[0].result.curves}
    if not firsts:
        return ()
    seeds = sorted({run.seed for run in firsts.values()})
    shown = f"{scale}; seed {', '.join(map(str, seeds))}"
    figures = []
    for k, name in enumerate(next(iter(firsts.values())).result.class_names):
        lines = {title: run.result.curves[k] for title, run in firsts.items()}
        known = {t: c.average_precision for t, c in lines.items() if c.average_precision is not None}
        alt = f"Precision-recall curves of {name}; average precision: " + _listed(known)
        best = {t: c.best_fscore for t, c in lines.items() if c.best_fscore is not None}
        alt_f = f"Fscore over threshold for {name}; best Fscore: " + _listed(best)
        left = figure_png(precision_recall_figure(lines, name, f"Precision and recall, {name} ({shown})"))
        right = figure_png(fscore_threshold_figure(lines, name, f"Fscore by threshold, {name} ({shown})"))
        caption = (
            f"Class {name} against all else, pixel by pixel over the test set ({shown}). AP is the average "
            "precision; dots mark the best threshold, read off the test set, which flatters every method. "
            "Thresholds are probabilities of the class, 0 to 1."
        )
        pictures = (Picture(left, caption, alt), Picture(right, caption, alt_f))
        figures.append(FigureGroup(f"curves_{name}", pictures, caption))
    return tuple(figures)


def iou_figures(
    runs: Sequence[MethodRun],
    published: str | pd.DataFrame | None,
    scale: str,
    colours: Mapping[str, str] | None = None,
) -> tuple[FigureGroup, ...]:
    """IoU per class of every method beside the paper's; see :func:`~cadnet.reporting.bars.iou_bar_figure`."""
    title = table_title("IoU by class", scale, runs)
    caption = f"{title}. Whiskers are one standard deviation over seeds."
    if published is not None:
        caption += (
            " Upright marks are the paper's numbers, at its full scale: they show what to reach, not a race."
        )
    values = [(run.title, run.seed, run.result.metrics.miou) for run in runs]
    said = "; ".join(f"{t} seed {s} mIoU {100 * m:.1f} %" for t, s, m in values if m is not None)
    picture = Picture(
        figure_png(iou_bar_figure(runs, published, scale, colours)), caption, f"Bars of IoU by class: {said}."
    )
    return (FigureGroup("iou", (picture,), caption),)


def interval_figures(
    comparison: Comparison | None, runs: Sequence[MethodRun], scale: str
) -> tuple[FigureGroup, ...]:
    """Differences with intervals: by metric to the best other method, and on mIoU to each other one."""
    if comparison is None:
        return ()
    hero, rival, drawn = comparison.hero, comparison.rival, comparison.bootstrap
    shown = f"{scale}; {seeds_text(runs)}"
    unit = {"image": "images", "group": f"{comparison.group_title}s"}
    metrics = {metric_title(d.metric): d for d in drawn.differences if not d.lower_is_better}
    pictures = []
    for title, of, differences in (
        (f"{hero} against {rival} ({shown})", f"{hero} minus {rival}", metrics),
        (f"{hero} against each other method ({shown})", f"mIoU of {hero} minus the other's", comparison.miou),
    ):
        pictures.append(interval_picture(differences, title, of, unit))
    caption = (
        f"Differences in points of IoU with {LEVEL} % intervals ({shown}; {drawn.resamples:,} paired "
        f"resamples, seed {drawn.seed}). {INTERVALS_READ}"
    )
    several = pictures if len(comparison.miou) > 1 else pictures[:1]
    return (FigureGroup("intervals", tuple(several), caption),)


def interval_picture(
    differences: Mapping[str, Difference], title: str, of: str, unit: Mapping[str, str]
) -> Picture:
    """Draw :func:`~cadnet.reporting.bars.interval_figure` with the intervals as its text."""
    known = {name: d.interval for name, d in differences.items() if d.interval is not None}
    said = "; ".join(f"{name} {100 * i.low:.1f} to {100 * i.high:.1f}" for name, i in known.items())
    alt = f"{of}, points, {LEVEL} % intervals: {said or 'not defined'}."
    return Picture(figure_png(interval_figure(differences, title, of, unit)), title, alt)


def _alt_validation(runs: Sequence[MethodRun]) -> str:
    best = {}
    for run in runs:
        if run.history is not None and "val_miou" in run.history and run.history["val_miou"].notna().any():
            best[f"{run.title} seed {run.seed}"] = float(run.history["val_miou"].max())
    return "Validation mIoU by epoch; best: " + _listed(best)


def _listed(values: Mapping[str, float]) -> str:
    return ("; ".join(f"{name} {100 * value:.1f} %" for name, value in values.items()) or "not defined") + "."
