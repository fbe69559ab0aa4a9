"""The method of the report against each other one, with intervals, from the counts of all runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from cadnet.evaluation.bootstrap import RESAMPLES, Difference, Interval, paired_bootstrap
from cadnet.evaluation.counts import Counts
from cadnet.evaluation.metrics import merge_defects
from cadnet.reporting.data import HERO, Comparison, MethodRun, by_method
from cadnet.reporting.tables import Spread, metric_spread, spread


def compare_methods(
    runs: Sequence[MethodRun],
    counts: Sequence[Counts],
    groups: Sequence[str] | None = None,
    *,
    hero: str = HERO,
    group_title: str = "group",
    resamples: int = RESAMPLES,
) -> Comparison | None:
    """Bootstrap ``hero`` against every other method; None when there is none, or nothing to compare.

    Args:
        runs: scored networks.
        counts: of each run, in the same order, all over the same images.
        groups: the group of each image, in the order of ``counts.index``.
        hero: title of the method in question.
        group_title: what a group is, in the singular.
        resamples: number of draws.

    Raises:
        ValueError: counts that do not belong to the runs, or methods that scored different images.
    """
    parts = _by_method(runs, counts)
    chosen = choose_rival(by_method(runs), hero)
    if chosen is None:
        return None
    rival, basis = chosen
    names = runs[0].result.class_names
    min_pixels = runs[0].result.image_level.min_pixels
    found = {
        title: paired_bootstrap(
            parts[hero], parts[title], names, groups, resamples=resamples, min_pixels=min_pixels
        )
        for title in parts
        if title != hero
    }
    miou = {title: one.difference("miou") for title, one in found.items()}
    return Comparison(hero, rival, basis, found[rival], miou, group_title)


def merged_differences(
    runs: Sequence[MethodRun],
    counts: Sequence[Counts],
    groups: Sequence[str] | None = None,
    *,
    hero: str = HERO,
    resamples: int = RESAMPLES,
) -> dict[str, Difference]:
    """Bootstrap the IoU of all defect classes as one of ``hero`` minus every other method, by title.

    Arguments and errors are those of :func:`compare_methods`; empty without ``hero``.
    """
    merged = [
        Counts(part.index, merge_defects(part.confusion), np.zeros((1, 2, 0), np.int64)) for part in counts
    ]
    parts = _by_method(runs, merged)
    return {
        title: paired_bootstrap(parts[hero], other, ["defect"], groups, resamples=resamples).difference(
            "iou_defect"
        )
        for title, other in parts.items()
        if title != hero and hero in parts
    }


def choose_rival(
    methods: Mapping[str, Sequence[MethodRun]], hero: str = HERO
) -> tuple[str, Literal["validation", "test", "only"]] | None:
    """Return the best other method and by what it was chosen; None without a hero or others to compare.

    By the mean over seeds of the best validation mIoU where it is known of every run of every other method,
    else by test mIoU.
    """
    test = {title: metric_spread(group, "miou").mean for title, group in methods.items()}
    others = [title for title, value in test.items() if title != hero and value is not None]
    if test.get(hero) is None or not others:
        return None
    if len(others) == 1:
        return others[0], "only"
    seen = {title: validation_spread(methods[title]) for title in others}
    if all(value.count == len(methods[title]) for title, value in seen.items()):
        return max(others, key=lambda title: seen[title].mean or 0.0), "validation"
    return max(others, key=lambda title: test[title] or 0.0), "test"


def interval_table(comparison: Comparison) -> pd.DataFrame:
    """One row per metric, then one per further method on mIoU; per cent and points.

    Columns: ``metric, method, other, value, other_value, difference``; ``low, high`` of the
    interval that decides and ``better`` (share of its resamples in which ``method`` is better, %);
    ``image_low, image_high, group_low, group_high`` of what was resampled. NaN where not defined.
    """
    rows = [(comparison.rival, difference) for difference in comparison.bootstrap.differences]
    rows += [(title, one) for title, one in comparison.miou.items() if title != comparison.rival]
    return pd.DataFrame([_row(comparison.hero, title, difference) for title, difference in rows])


def metric_title(metric: str) -> str:
    """How a metric of a :class:`Difference` is written."""
    return "mIoU" if metric == "miou" else metric.replace("iou_", "IoU ", 1)


def best_validation(run: MethodRun) -> float | None:
    """The highest validation mIoU of any epoch, in percent: that of the weights kept. None if not known."""
    if run.history is None or "val_miou" not in run.history or run.history["val_miou"].isna().all():
        return None
    return 100 * float(run.history["val_miou"].max())


def validation_spread(runs: Sequence[MethodRun]) -> Spread:
    """Summarise :func:`best_validation` over the seeds of a method, in percent."""
    return spread([best_validation(run) for run in runs])


def _by_method(runs: Sequence[MethodRun], counts: Sequence[Counts]) -> dict[str, list[Counts]]:
    if len(counts) != len(runs):
        raise ValueError(f"{len(counts)} counts were given for {len(runs)} runs")
    of = {(run.title, run.seed): part for run, part in zip(runs, counts, strict=True)}
    return {title: [of[run.title, run.seed] for run in group] for title, group in by_method(runs).items()}


def _row(hero: str, other: str, difference: Difference) -> dict[str, str | float]:
    interval = difference.interval
    low, high = _ends(interval)
    image, group = _ends(difference.by_image), _ends(difference.by_group)
    return {
        "metric": metric_title(difference.metric),
        "method": hero,
        "other": other,
        "value": _percent(difference.first),
        "other_value": _percent(difference.second),
        "difference": _percent(difference.observed),
        "low": low,
        "high": high,
        "better": _percent(None if interval is None else interval.wins),
        "image_low": image[0],
        "image_high": image[1],
        "group_low": group[0],
        "group_high": group[1],
    }


def _ends(interval: Interval | None) -> tuple[float, float]:
    if interval is None:
        return float("nan"), float("nan")
    return 100 * interval.low, 100 * interval.high


def _percent(value: float | None) -> float:
    return float("nan") if value is None else 100 * value
