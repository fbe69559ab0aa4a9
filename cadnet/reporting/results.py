"""All results as one tidy table, one number a row. Every table and chart of the report is a pivot of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from cadnet.evaluation.bootstrap import Interval, value_intervals
from cadnet.evaluation.counts import Counts
from cadnet.evaluation.metrics import merge_defects
from cadnet.evaluation.result import EvaluationResult

COLUMNS = (
    "grid", "method", "trained_on", "tested_on", "fraction", "seed", "part", "metric", "value", "low", "high",
)  # fmt: skip
"""Columns of :func:`tidy`."""
WHOLE = ""
"""The ``part`` of numbers that are of the whole test split."""
NUMBERS = ("images", "defective", "clean", "misplaced")
"""Metrics that are numbers of images."""
DEFECT = "defect"
"""All defect classes as one, in the names of metrics."""


@dataclass(frozen=True, eq=False)
class ScoredTrial:
    """One trained network, scored on one test split.

    ``grid``: ``main``, ``ablation``, ``cross`` or ``few-label``. ``method``: its id in the parameters.
    ``trained_on``, ``tested_on``: names of datasets. ``fraction``: of the labels, in [0, 1]; None outside of
    the few-label grid. ``groups``: the group of each image, in the order of ``counts.index``. ``cost``: what
    the stage ``evaluate`` measures, and ``train_seconds``. ``history``: one row per epoch with
    ``epoch`` (1, 2, ...), ``loss``, its parts ``loss_<part>``, ``val_miou`` in [0, 1], and of methods that
    use unlabelled images ``pseudo_precision, pseudo_recall, disagreement`` in [0, 1]; None when not known.
    ``validated``: scores at the threshold that validation images choose, by metric.
    """

    grid: str
    method: str
    trained_on: str
    tested_on: str
    seed: int
    result: EvaluationResult
    counts: Counts
    groups: Sequence[str] | None = None
    fraction: float | None = None
    cost: Mapping[str, float | None] = field(default_factory=dict)
    device: str = ""
    history: pd.DataFrame | None = None
    validated: Mapping[str, float] = field(default_factory=dict)
    run_id: str | None = None

    @cached_property
    def merged(self) -> Counts:
        """The counts with all defect classes as one."""
        none = np.zeros((1, 2, 0), np.int64)
        return Counts(self.counts.index, merge_defects(self.counts.confusion), none)

    @cached_property
    def scores(self) -> dict[str, float]:
        """Every number of the whole test split, by metric, as in :func:`tidy`."""
        level = self.result.image_level
        known = {name: float(getattr(level, name)) for name in NUMBERS if name != "images"}
        known |= {"images": float(self.result.num_images), **self.result.scalars(), **self.validated}
        if self.history is not None and "val_miou" in self.history and self.history["val_miou"].notna().any():
            known["val_miou"] = float(self.history["val_miou"].max())
        return known | {f"cost_{name}": value for name, value in self.cost.items() if value is not None}

    @cached_property
    def rows(self) -> list[tuple[object, ...]]:
        """The rows of :func:`tidy`, computed once."""
        key = (self.grid, self.method, self.trained_on, self.tested_on, self.fraction, self.seed)
        ends = self._intervals()
        rows: list[tuple[object, ...]] = []
        for metric, value in self.scores.items():
            known = ends.get(metric)
            low, high = (None, None) if known is None else (known.low, known.high)
            rows.append((*key, WHOLE, metric, value, low, high))
        for one in self.result.slices:
            level, part = one.image_level, part_name(one.by, one.name)
            numbers = {"images": one.metrics.images, "defective": level.defective, "miou": one.metrics.miou}
            rows += [(*key, part, m, v, None, None) for m, v in numbers.items() if v is not None]
        return rows

    def _intervals(self) -> dict[str, Interval | None]:
        names, pixels = self.result.class_names, self.result.image_level.min_pixels
        merged = value_intervals(self.merged, [DEFECT], self.groups)
        found = value_intervals(self.counts, names, self.groups, min_pixels=pixels)
        return {f"iou_{DEFECT}": merged[f"iou_{DEFECT}"]} | found


def tidy(trials: Sequence[ScoredTrial]) -> pd.DataFrame:
    """Return every number of ``trials``, one a row, under :data:`COLUMNS`.

    ``fraction``: in [0, 1], NaN outside of the few-label grid. ``part``: "" for the whole test split, else
    ``<column>: <name>`` of a slice. ``metric``: the names of
    :meth:`~cadnet.evaluation.result.EvaluationResult.scalars`, ``val_miou`` (best epoch), ``cost_<name>``,
    :data:`NUMBERS`, and ``<metric>_validated``. ``value``: ratios in [0, 1], as logged; undefined ones have
    no row. ``low, high``: 95 % bootstrap interval over the test images of IoUs, escape and overkill, else
    NaN.

    Raises:
        ValueError: a trial is given twice.
    """
    keys = [(t.grid, t.method, t.trained_on, t.tested_on, t.fraction, t.seed) for t in trials]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise ValueError(f"trials given twice: {sorted(map(str, twice))}; give each its own seed")
    frame = pd.DataFrame([row for trial in trials for row in trial.rows], columns=list(COLUMNS))
    return frame.astype({"fraction": float, "value": float, "low": float, "high": float})


class Spread(NamedTuple):
    """Mean and sample standard deviation over seeds; None below one and two values."""

    mean: float | None
    std: float | None


def spread(values: Iterable[float]) -> Spread:
    """Summarise the values of a metric over seeds."""
    known = list(values)
    mean = float(np.mean(known)) if known else None
    return Spread(mean, float(np.std(known, ddof=1)) if len(known) > 1 else None)


def factor(metric: str) -> float:
    """What a value is multiplied with for people: ratios are shown in percent."""
    return 1.0 if metric.startswith("cost_") or metric in NUMBERS else 100.0


def values_of(trials: Sequence[ScoredTrial], method: str, metric: str) -> dict[int, float]:
    """Values of one metric of ``method`` by seed, as people see them (:func:`factor`)."""
    return {
        trial.seed: factor(metric) * trial.scores[metric]
        for trial in trials
        if trial.method == method and metric in trial.scores
    }


def pivot(trials: Sequence[ScoredTrial], metrics: Sequence[str]) -> pd.DataFrame:
    """Numbers of the whole test split, scaled by :func:`factor`: one row per method, in the trials' order.

    Columns: per metric ``<metric>``, the mean over seeds, and ``<metric>_std``, their sample standard
    deviation; NaN where not defined.
    """
    scores = _shown(trials, metrics)
    wanted = scores[scores["part"] == WHOLE]
    found = {
        "": wanted.pivot_table("value", "method", "metric", "mean"),
        "_std": wanted.pivot_table("value", "method", "metric", "std"),
    }
    columns = [(metric, ending) for metric in metrics for ending in found]
    table = {metric + ending: found[ending].get(metric, np.nan) for metric, ending in columns}
    methods = pd.Index(method_ids(trials), name="method")
    return pd.DataFrame(table, index=methods, dtype=float)


def by_part(trials: Sequence[ScoredTrial], metric: str) -> pd.DataFrame:
    """Means over seeds on slices: one row per ``part``, one column per method, scaled by :func:`factor`.

    NaN where not defined; slices come in the order of the first trial's.
    """
    wanted = _shown(trials, [metric])
    parts = [part_name(one.by, one.name) for one in trials[0].result.slices]
    return wanted.pivot_table("value", "part", "method", "mean").reindex(parts, columns=method_ids(trials))


def part_name(by: str, name: str) -> str:
    """Return how :func:`tidy` calls the slice ``name`` by the column ``by``."""
    return f"{by}: {name}"


def _shown(trials: Sequence[ScoredTrial], metrics: Sequence[str]) -> pd.DataFrame:
    """The rows of some metrics, as people see them."""
    scores = tidy(trials)
    wanted = scores[scores["metric"].isin(metrics)]
    scale = np.array([factor(metric) for metric in wanted["metric"]], float)
    return wanted.assign(value=wanted["value"] * scale)


def method_ids(trials: Sequence[ScoredTrial]) -> list[str]:
    """The methods of ``trials`` in the order in which they first appear."""
    return list(dict.fromkeys(trial.method for trial in trials))


def by_method(trials: Sequence[ScoredTrial], *, merged: bool = False) -> dict[str, list[ScoredTrial]]:
    """Trials of each method, seeds ascending; with ``merged`` their classes count as one and may differ.

    Raises:
        ValueError: there are none, or methods were scored on different classes.
    """
    if not trials:
        raise ValueError("there are no trials to compare; train and evaluate at least one method")
    classes = trials[0].result.class_names
    odd = {trial.method for trial in trials if trial.result.class_names != classes}
    if odd and not merged:
        raise ValueError(
            f"{sorted(odd)} were scored on other classes than {classes}; they cannot share a table"
        )
    groups = {method: [trial for trial in trials if trial.method == method] for method in method_ids(trials)}
    return {method: sorted(group, key=lambda trial: trial.seed) for method, group in groups.items()}


def seed_counts(trials: Sequence[ScoredTrial]) -> dict[str, int]:
    """The number of seeds of each method: the fewest, where it was scored under several conditions."""
    groups: dict[tuple[object, ...], set[int]] = {}
    for trial in trials:
        key = (trial.method, trial.trained_on, trial.tested_on, trial.fraction)
        groups.setdefault(key, set()).add(trial.seed)
    return {
        method: min(len(seeds) for key, seeds in groups.items() if key[0] == method)
        for method in method_ids(trials)
    }


def seeds_text(trials: Sequence[ScoredTrial]) -> str:
    """Return how many seeds the numbers rest on, such as ``3 seeds`` or ``1-3 seeds per method``."""
    numbers = sorted(set(seed_counts(trials).values()))
    if not numbers:
        return "no runs"
    if len(numbers) > 1:
        return f"{numbers[0]}-{numbers[-1]} seeds per method"
    return "1 seed" if numbers == [1] else f"{numbers[0]} seeds"
