"""Who won, said in plain words and computed from the numbers; it admits when nobody can say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cadnet.reporting.data import MethodRun, by_method
from cadnet.reporting.tables import metric_spread, metric_titles

MIN_SEEDS = 3
"""Below this many common seeds a difference is reported but not claimed."""


@dataclass(frozen=True)
class Verdict:
    """``outcome`` of the hero method on mIoU, one headline sentence and further sentences.

    ``wins``/``loses``: ahead/behind the best other method on the mean and on every common seed, at least
    :data:`MIN_SEEDS` of them. ``open``: anything between, or too few seeds. ``alone``: nothing to compare
    with.
    """

    outcome: Literal["wins", "loses", "open", "alone"]
    headline: str
    sentences: tuple[str, ...]


def verdict(runs: Sequence[MethodRun], hero: str = "CADNet") -> Verdict:
    """Compare ``hero`` with the best other method on pooled mIoU, then every metric of the table.

    Raises:
        ValueError: no runs.
    """
    if not runs:
        raise ValueError("there are no runs to judge")
    groups = by_method(runs)
    means = {title: metric_spread(group, "miou").mean for title, group in groups.items()}
    others = {title: mean for title, mean in means.items() if title != hero and mean is not None}
    if means.get(hero) is None or not others:
        best = max(
            (m for m in means.items() if m[1] is not None), key=lambda item: item[1] or 0, default=None
        )
        found = f"{best[0]} reaches {best[1]:.1f}\u00a0% mIoU; " if best else "No method has a defined mIoU; "
        return Verdict("alone", f"{found}there is nothing to compare {hero} with.", ())
    rival = max(others, key=lambda title: others[title])
    gaps = seed_gaps(groups[hero], groups[rival], "miou")
    gap = (means[hero] or 0.0) - others[rival]
    outcome = _outcome(gap, gaps)
    return Verdict(outcome, _headline(outcome, hero, rival, gap), _sentences(groups, hero, rival, gap, gaps))


def seed_gaps(one: Sequence[MethodRun], other: Sequence[MethodRun], metric: str) -> list[float]:
    """Difference ``one - other`` in percentage points on each seed both have."""
    theirs = {run.seed: run.result.scalars().get(metric) for run in other}
    pairs = ((run.result.scalars().get(metric), theirs.get(run.seed)) for run in one)
    return [100 * (a - b) for a, b in pairs if a is not None and b is not None]


def _outcome(gap: float, gaps: Sequence[float]) -> Literal["wins", "loses", "open"]:
    if len(gaps) < MIN_SEEDS:
        return "open"
    if gap > 0 and min(gaps) > 0:
        return "wins"
    return "loses" if gap < 0 and max(gaps) < 0 else "open"


def _headline(outcome: str, hero: str, rival: str, gap: float) -> str:
    points = f"{abs(gap):.1f} points of mIoU"
    if outcome == "wins":
        return f"{hero} wins: {points} ahead of {rival}, the best other method."
    if outcome == "loses":
        return f"{hero} does not win: {points} behind {rival}."
    side = "ahead of" if gap > 0 else "behind" if gap < 0 else "from"
    return f"No claim yet: {hero} is {points} {side} {rival}, the best other method."


def _sentences(
    groups: dict[str, list[MethodRun]], hero: str, rival: str, gap: float, gaps: Sequence[float]
) -> tuple[str, ...]:
    means = {title: metric_spread(group, "miou") for title, group in groups.items()}
    texts = [f"mIoU is {_value(means[hero])} for {hero} and {_value(means[rival])} for {rival}."]
    ahead = sum(g > 0 for g in gaps)
    if len(gaps) < MIN_SEEDS:
        texts.append(
            f"{_seeds(len(gaps))} in common: too few for a claim: below {MIN_SEEDS} it may be chance."
        )
    else:
        texts.append(
            f"{hero} is ahead on {ahead} of {len(gaps)} common seeds (differences {min(gaps):+.1f} to "
            f"{max(gaps):+.1f} points)."
        )
    leads = []
    for metric, title in metric_titles(groups[hero][0].result.class_names).items():
        scores = {name: metric_spread(group, metric).mean for name, group in groups.items()}
        known = {name: score for name, score in scores.items() if score is not None}
        if known:
            best = max(known, key=lambda name: known[name])
            leads.append(f"{title}: {best} ({known[best]:.1f}\u00a0%)")
    texts.append("Best by metric, mean over seeds: " + "; ".join(leads) + ".")
    if gap > 0 and ahead < len(gaps):
        texts.append("The order changes with the seed, so the lead is not stable.")
    return tuple(texts)


def _value(value: object) -> str:
    mean, std = getattr(value, "mean", None), getattr(value, "std", None)
    text = "not defined" if mean is None else f"{mean:.1f}\u00a0%"
    return text if std is None else f"{text} (± {std:.1f} over seeds)"


def _seeds(count: int) -> str:
    return {0: "No seed", 1: "One seed"}.get(count, f"{count} seeds")
