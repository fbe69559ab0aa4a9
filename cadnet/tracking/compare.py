"""Which method is better, where and at what cost: tracked runs reduced to one row per method."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from cadnet.tracking.metric_names import COSTS, lower_is_better
from cadnet.tracking.terms import Terms, inequalities, settings_of, terms_of
from cadnet.tracking.tracker import RunRecord, TrackingError
from cadnet.tracking.trials import TAG_KIND, TAG_SUPERSEDED

REFERENCE = "cadnet"
"""The method all others are held against."""

K = TypeVar("K", bound=Hashable)


class Spread(NamedTuple):
    """Mean over seeds, sample standard deviation (None for one), number of seeds."""

    mean: float
    sd: float | None
    seeds: int


@dataclass(frozen=True)
class Row:
    """One method with one set of settings.

    ``settings`` says what tells it from other rows of the method ("" for the only one). ``spreads`` and the
    differences of the means are by metric: to the best row of another method, and to CADNet's newest row;
    what does not exist is absent. ``costs`` are means over the runs, by the names in ``COSTS``.
    """

    method: str
    settings: str
    runs: tuple[RunRecord, ...]
    spreads: Mapping[str, Spread]
    costs: Mapping[str, float]
    to_best: Mapping[str, float] = field(default_factory=dict)
    to_reference: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Block:
    """Rows on equal terms, best first; ``notes`` say where the terms are not quite equal."""

    terms: Terms
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """The blocks of one experiment, newest first, and how many runs count in none, by reason."""

    metrics: tuple[str, ...]
    blocks: tuple[Block, ...]
    ignored: Mapping[str, int]


def compare_runs(
    runs: Iterable[RunRecord], metrics: Sequence[str], *, scale: str = "", digest: str = ""
) -> Comparison:
    """Reduce the runs of an experiment to blocks of comparable rows.

    A trial's newest finished run that holds the first metric counts, per method, seed, data, scale, variant
    and settings; all others are ignored and counted.

    Args:
        runs: trials and others, in any order.
        metrics: full names; rows are sorted by the first.
        scale: part of the scale's text, in any case; "" is any.
        digest: how the digest of (one of) the data begins; "" is any.

    Raises:
        TrackingError: no run that counts has this scale and digest.
    """
    trials = [run for run in runs if run.tags.get(TAG_KIND) == "trial"]
    wanted = [run for run in trials if _matches(run, scale, digest)]
    reasons = Counter(filter(None, (_reason_against(run, metrics[0]) for run in wanted)))
    sound = [run for run in wanted if _reason_against(run, metrics[0]) is None]
    newest: dict[object, RunRecord] = {}
    for run in sorted(sound, key=lambda item: item.start_time):
        newest[(terms_of(run), run.tags.get("method"), run.tags.get("seed"), settings_of(run))] = run
    if not newest:
        raise TrackingError(_nothing(trials, metrics[0], reasons, scale, digest))
    reasons["superseded"] += len(sound) - len(newest)
    blocks = _grouped(newest.values(), terms_of)
    order = sorted(blocks, key=lambda terms: -max(run.start_time for run in blocks[terms]))
    return Comparison(
        tuple(metrics),
        tuple(_block(terms, blocks[terms], metrics) for terms in order),
        {reason: number for reason, number in sorted(reasons.items()) if number},
    )


def _matches(run: RunRecord, scale: str, digest: str) -> bool:
    terms = terms_of(run)
    of_scale = scale.casefold() in terms.scale.casefold()
    return of_scale and (not digest or any(value.startswith(digest) for _, value in terms.data))


def _reason_against(run: RunRecord, metric: str) -> str | None:
    """Why a run does not count, or None."""
    if TAG_SUPERSEDED in run.tags:
        return "superseded"
    if run.status != "FINISHED":
        return "still running" if run.status == "RUNNING" else "failed or killed"
    return None if metric in run.metrics else f"without {metric}"


def _nothing(trials: Sequence[RunRecord], metric: str, reasons: Counter[str], scale: str, digest: str) -> str:
    found = ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items())) or "none matches"
    wanted = [f"--scale {scale!r}"] * bool(scale) + [f"--dataset-digest {digest}"] * bool(digest)
    text = f"no finished run with {metric}{' for ' + ' and '.join(wanted) if wanted else ''} ({found})"
    if not wanted:
        return f"{text}; let the pipeline finish: dvc repro"
    known = sorted({(run.tags.get("scale", ""), value) for run in trials for _, value in terms_of(run).data})
    return f"{text}; there are: " + "; ".join(f"{value[:12]} at {name!r}" for name, value in known)


def _grouped(runs: Iterable[RunRecord], key: Callable[[RunRecord], K]) -> dict[K, list[RunRecord]]:
    groups: dict[K, list[RunRecord]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups


def _block(terms: Terms, runs: Sequence[RunRecord], metrics: Sequence[str]) -> Block:
    rows = []
    for method, own in _grouped(runs, lambda run: run.tags.get("method", "?")).items():
        groups = _grouped(own, settings_of)
        shared = set.intersection(*(set(settings) for settings in groups))
        for settings, members in groups.items():
            text = ", ".join(
                f"{_short(key)}={value}" for key, value in settings if (key, value) not in shared
            )
            rows.append(_row(method, text or ("fewer settings" if len(groups) > 1 else ""), members, metrics))
    rows = [_with_differences(row, rows, metrics) for row in rows]
    sign = 1 if lower_is_better(metrics[0]) else -1
    rows.sort(key=lambda row: (sign * row.spreads[metrics[0]].mean, row.method))
    return Block(terms, tuple(rows), tuple(inequalities(runs)))


def _short(key: str) -> str:
    """A setting without the part that all of its kind begin with."""
    parts = key.split(".")
    if key.startswith("train.recipes."):
        return ".".join(parts[3:])
    return ".".join(parts[1:]) or key


def _row(method: str, settings: str, runs: Sequence[RunRecord], metrics: Sequence[str]) -> Row:
    values = {metric: [run.metrics[metric] for run in runs if metric in run.metrics] for metric in metrics}
    costs = {
        name: [cost for run in runs if (cost := _cost(run, keys)) is not None] for name, keys in COSTS.items()
    }
    return Row(
        method,
        settings,
        tuple(sorted(runs, key=lambda run: int(run.tags.get("seed", "0")))),
        {metric: _spread(found) for metric, found in values.items() if found},
        {name: statistics.fmean(found) for name, found in costs.items() if found},
    )


def _cost(run: RunRecord, keys: Sequence[str]) -> float | None:
    return next((run.metrics[key] for key in keys if key in run.metrics), None)


def _spread(values: Sequence[float]) -> Spread:
    return Spread(
        statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values)
    )


def _with_differences(row: Row, rows: Sequence[Row], metrics: Sequence[str]) -> Row:
    to_best, to_reference = {}, {}
    references = [other for other in rows if other.method == REFERENCE]
    newest = max(references, key=lambda other: max(run.start_time for run in other.runs), default=None)
    for metric in (name for name in metrics if name in row.spreads):
        mean = row.spreads[metric].mean
        others = [o.spreads[metric].mean for o in rows if o.method != row.method and metric in o.spreads]
        if others:
            to_best[metric] = mean - (min(others) if lower_is_better(metric) else max(others))
        if newest is not None and newest is not row and metric in newest.spreads:
            to_reference[metric] = mean - newest.spreads[metric].mean
    return Row(row.method, row.settings, row.runs, row.spreads, row.costs, to_best, to_reference)
