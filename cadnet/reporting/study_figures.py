"""Figures of studies and cross-tests, drawn and captioned, for the page and for the files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure

from cadnet.evaluation.bootstrap import LEVEL
from cadnet.reporting.comparison import best_validation
from cadnet.reporting.cross import MERGED, Pair, cross_methods, cross_pairs, cross_title, pair_words
from cadnet.reporting.data import HERO, CrossTest, MethodRun, Picture, Study
from cadnet.reporting.figures import INTERVAL_UNIT, INTERVALS_READ, FigureGroup, interval_picture, iou_figures
from cadnet.reporting.lines import seeded_line
from cadnet.reporting.plots import COLOURS, INK, SOFT, blank_figure, figure_png, legend_below
from cadnet.reporting.studies import study_rows, variant_name
from cadnet.reporting.study_finding import chosen_by_validation
from cadnet.reporting.tables import metric_spread, spread, table_title

LOG_FROM = 10.0
"""Values of a varied number whose largest is so many times the smallest are drawn on a logarithmic axis."""
LEAST_SPAN = 10.0
"""Points of mIoU an axis covers at least, so that noise does not look like a trend."""
PAIR_COLOURS = ("#c3ced6", "#93a5b1", "#0b6e8f", "#d97b29", "#6a9a3b", "#8a62a8", "#b8475a", "#8c7a5b")
"""Pairs of one kind are pale, the crossed ones strong."""
_RAMP = LinearSegmentedColormap.from_list("variants", ["#b9c7d1", "#5f879e"])
_RING: dict[str, Any] = {
    "marker": "o", "markersize": 13, "markerfacecolor": "none", "markeredgecolor": INK, "linestyle": "none",
}  # fmt: skip
_NUMBER: dict[str, Any] = {"va": "center", "fontsize": 7, "color": INK, "annotation_clip": False}


def study_figures(study: Study, scale: str) -> tuple[FigureGroup, ...]:
    """Bars of IoU by class, or the line of a varied number; beside it the differences with intervals.

    Raises:
        ValueError: no runs, or a study whose parts do not fit its runs.
    """
    groups = study_rows(study)
    if study.axis is None:
        (shown,) = iou_figures(study.runs, study.published, scale, _colours(list(groups), study.base))
        pictures, caption = list(shown.pictures), shown.caption
    else:
        caption = _axis_caption(study, scale)
        pictures = [Picture(figure_png(axis_figure(study, scale)), caption, _axis_alt(study))]
    known = {title: study.differences[title] for title in groups if title in study.differences}
    if any(one.interval is not None for one in known.values()):
        title = table_title(f"{study.base} against each variant", scale, study.runs)
        at = "" if study.axis is None else "at "
        shown_as = {at + variant_name(study, title): one for title, one in known.items()}
        pictures.append(
            interval_picture(shown_as, title, f"mIoU of {study.base} minus the other's", INTERVAL_UNIT)
        )
        caption += f" Differences come with {LEVEL} % intervals of paired resamples. {INTERVALS_READ}"
    return (FigureGroup(study.name, tuple(pictures), caption),)


def axis_figure(study: Study, scale: str) -> Figure:
    """Test and validation mIoU in % over the number that is varied, with a whisker of one deviation.

    Single seeds are faint dots. A ring marks what validation chooses; the tick of the base is bold. On a
    logarithmic axis 0 stands apart at the left, joined by dots.

    Raises:
        ValueError: the study varies no number, or its parts do not fit its runs.
    """
    if study.axis is None:
        raise ValueError(f"study {study.name} varies no number")
    label, value_of = study.axis
    groups = study_rows(study)
    ordered = sorted(groups, key=lambda title: value_of[title])
    values = [value_of[title] for title in ordered]
    places, zero = axis_places(values)
    figure, axes = blank_figure(table_title("Test and validation mIoU", scale, study.runs))
    chosen, known = chosen_by_validation(groups), []
    for name, colour, mark, seen in (("test", COLOURS[HERO], "o", False), ("validation", SOFT, "s", True)):
        scores = [_miou(groups[title], validation=seen) for title in ordered]
        known += [value for row in scores for value in row]
        seeded_line(axes, places, scores, {"color": colour, "marker": mark, "label": name}, zero=zero)
    for title, place in zip(ordered, places, strict=True):
        ours = spread(_miou(groups[title], validation=False)).mean
        if title in chosen and ours is not None:
            axes.plot(place, ours, label="chosen by validation" if title == chosen[0] else "_", **_RING)
    axes.set_xticks(places, [f"{value:g}" for value in values])
    for title, tick in zip(ordered, axes.get_xticklabels(), strict=True):
        tick.set_fontweight("bold" if title == study.base else "normal")
    axes.set(xlabel=label, ylabel="mIoU over defect classes (%)")
    if known:
        middle, half = (max(known) + min(known)) / 2, max(LEAST_SPAN, 1.3 * (max(known) - min(known))) / 2
        axes.set_ylim(max(middle - half, -1), min(middle + half, 101))
        legend_below(figure, axes)
    return figure


def axis_places(values: Sequence[float]) -> tuple[list[float], bool]:
    """Where ascending values stand, and whether 0 stands apart: logarithmic when they span a wide range."""
    positive = [value for value in values if value > 0]
    if min(values) < 0 or not positive or max(positive) / min(positive) < LOG_FROM:
        return list(values), False
    logs = np.log10(positive)
    gap = max(0.3, 0.25 * float(logs[-1] - logs[0]))
    return [float(np.log10(value)) if value > 0 else float(logs[0] - gap) for value in values], 0 in values


def cross_figures(cross: CrossTest, scale: str) -> tuple[FigureGroup, ...]:
    """Bars of every method's IoU on each pair; nothing without runs.

    Raises:
        ValueError: a dataset without a letter of its own, a seed twice.
    """
    pairs, methods = cross_pairs(cross), cross_methods(cross)
    if not pairs:
        return ()
    title = cross_title(cross, scale, "IoU by kind trained on and tested on")
    said = []
    for name, groups in methods.items():
        means = {p.letters: metric_spread(groups.get(p.key, ()), "iou_defect").mean for p in pairs}
        said.append(f"{name} {', '.join(f'{k} {v:.1f} %' for k, v in means.items() if v is not None)}")
    caption = (
        f"{title}. {pair_words(pairs)} {MERGED} Bars are means over seeds, whiskers one standard deviation."
    )
    picture = Picture(figure_png(cross_bar_figure(cross, scale)), caption, f"Bars of IoU: {'; '.join(said)}.")
    return (FigureGroup("cross", (picture,), caption),)


def cross_bar_figure(cross: CrossTest, scale: str) -> Figure:
    """A row per method with a bar per pair: IoU of all defect classes as one, in %, its value beside it."""
    pairs, methods = cross_pairs(cross), cross_methods(cross)
    height = 1.5 + len(methods) * (0.15 * len(pairs) + 0.14)
    title = cross_title(cross, scale, "IoU by kind trained and tested")
    figure, axes = blank_figure(title, height=max(height, 3.2))
    width = 0.82 / len(pairs)
    for column, (pair, colour) in enumerate(zip(pairs, _pair_colours(pairs), strict=True)):
        label: str | None = f"{pair.letters}: {pair.trained}, tested on {pair.tested}"
        for row, groups in enumerate(methods.values()):
            place = row + (column - (len(pairs) - 1) / 2) * width
            ours = metric_spread(groups.get(pair.key, ()), "iou_defect")
            if ours.mean is None:
                continue
            axes.barh(place, ours.mean, width * 0.9, color=colour, label=label)
            label = None
            if ours.std is not None:
                axes.errorbar(ours.mean, place, xerr=ours.std, color=INK, linewidth=0.8, capsize=1.5)
            end = ours.mean + (ours.std or 0.0)
            axes.annotate(f"{ours.mean:.1f}", (end, place), (3, 0), textcoords="offset points", **_NUMBER)
    axes.set_yticks(range(len(methods)), list(methods))
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.set(xlabel="IoU of defects, pooled over the test images (%)", xlim=(0, 100))
    axes.grid(axis="y", visible=False)
    if axes.patches:
        legend_below(figure, axes)
    return figure


def _pair_colours(pairs: Sequence[Pair]) -> list[str]:
    """Pale colours for pairs of one kind, strong ones for the crossed."""
    pale, strong = PAIR_COLOURS[:2], PAIR_COLOURS[2:]
    same = sum(not pair.crossed for pair in pairs)
    return [pale[k % 2] if k < same else strong[(k - same) % len(strong)] for k in range(len(pairs))]


def _colours(titles: Sequence[str], base: str) -> dict[str, str]:
    """The base in the method's colour, its variants from pale to less pale in their order."""
    others = [title for title in titles if title != base]
    steps = np.linspace(0, 1, max(len(others), 2))
    ramp = {title: to_hex(_RAMP(step)) for title, step in zip(others, steps, strict=False)}
    return {title: ramp.get(title, COLOURS[HERO]) for title in titles}


def _miou(runs: Sequence[MethodRun], *, validation: bool) -> list[float]:
    """Test or validation mIoU of each run where it is defined, in percent."""
    if validation:
        found = [best_validation(run) for run in runs]
    else:
        scores = [run.result.metrics.miou for run in runs]
        found = [None if score is None else 100 * score for score in scores]
    return [value for value in found if value is not None]


def _axis_caption(study: Study, scale: str) -> str:
    return (
        f"{table_title('Test and validation mIoU', scale, study.runs)}. Whiskers are one standard deviation "
        "over seeds, faint dots single seeds. The ring marks the value that validation chooses, bold type "
        f"that of {study.base}. Validation is that of the best epoch. The upright axis need not start at 0."
    )


def _axis_alt(study: Study) -> str:
    assert study.axis is not None
    said = []
    for title, group in study_rows(study).items():
        numbers = []
        for name, seen in (("test", False), ("validation", True)):
            value = spread(_miou(group, validation=seen)).mean
            numbers.append(f"{name} {'not known' if value is None else f'{value:.1f} %'}")
        said.append(f"at {study.axis[1][title]:g} {', '.join(numbers)}")
    return f"mIoU by {study.axis[0]}: {'; '.join(said)}."
