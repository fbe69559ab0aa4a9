"""Who won, said in plain words and computed from the numbers; it admits when nobody can say."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from cadnet.evaluation.bootstrap import LEVEL, Interval
from cadnet.reporting.claims import (
    MIN_SEEDS,
    Decision,
    decide,
    interval_text,
    points_text,
    seed_gaps,
    seeds_word,
    value_text,
)
from cadnet.reporting.comparison import choose_rival
from cadnet.reporting.data import HERO, Comparison, MethodRun, by_method
from cadnet.reporting.tables import MEANS, metric_spread, metric_titles

NAMED_CLASSES = 6
"""With more classes than this their leaders are counted, not listed."""

Outcome = Literal["wins", "loses", "open", "alone"]


@dataclass(frozen=True)
class Verdict:
    """``outcome`` of the hero method on mIoU, one headline sentence and further sentences.

    ``wins``/``loses``: ahead of/behind the best other method on every common seed and with the whole
    bootstrap interval (:func:`~cadnet.reporting.claims.decide`); a win further needs that no method has a
    higher mean on the test images. ``open``: anything between, too few seeds, or no interval. ``alone``:
    nothing to compare with.
    """

    outcome: Outcome
    headline: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class _Case:
    """What the verdict rests on: mean test mIoU (%) by method, gaps by common seed and interval in points."""

    hero: str
    rival: str
    means: dict[str, float]
    gaps: list[float]
    interval: Interval | None

    @property
    def gap(self) -> float:
        return self.means[self.hero] - self.means[self.rival]

    @property
    def first(self) -> str:
        """The highest on the test images, the hero if it shares that place."""
        return max(self.means, key=lambda title: (self.means[title], title == self.hero))

    @property
    def outcome(self) -> Outcome:
        found = decide(self.gaps, self.interval)
        if found == "ahead" and self.first == self.hero:
            return "wins"
        return "loses" if found == "behind" else "open"


def overall(found: Collection[Decision]) -> Outcome:
    """The outcome of several comparisons: ``loses`` if one is lost, ``wins`` if all are won."""
    if "behind" in found:
        return "loses"
    return "open" if "open" in found else "wins"


def verdict(runs: Sequence[MethodRun], hero: str = HERO, comparison: Comparison | None = None) -> Verdict:
    """Compare ``hero`` with the best other method on pooled mIoU, then every metric of the table.

    Args:
        runs: scored networks.
        hero: title of the method in question.
        comparison: its bootstrap; without it nothing is claimed.

    Raises:
        ValueError: no runs.
    """
    if not runs:
        raise ValueError("there are no runs to judge")
    groups = by_method(runs)
    known = {title: metric_spread(group, "miou").mean for title, group in groups.items()}
    means = {title: mean for title, mean in known.items() if mean is not None}
    chosen = choose_rival(groups, hero)
    if chosen is None:
        best = max(means, key=lambda title: means[title], default=None)
        found = f"{best} reaches {means[best]:.1f}\u00a0% mIoU" if best else "No method has a defined mIoU"
        return Verdict("alone", f"{found}; there is nothing to compare {hero} with.", ())
    rival, basis = (comparison.rival, comparison.basis) if comparison else chosen
    interval = comparison.bootstrap.difference("miou").interval if comparison else None
    case = _Case(hero, rival, means, seed_gaps(groups[hero], groups[rival], "miou"), interval)
    spreads = [metric_spread(groups[title], "miou") for title in (hero, rival)]
    texts = [f"mIoU is {value_text(spreads[0])} for {hero} and {value_text(spreads[1])} for {rival}."]
    texts += [
        _on_interval(case, comparison),
        *_on_seeds(case),
        *_on_choice(case, basis),
        _leaders(groups, hero),
    ]
    return Verdict(case.outcome, _headline(case), tuple(texts))


def _headline(case: _Case) -> str:
    points = f"{abs(case.gap):.1f} points of mIoU"
    behind = [f"{LEVEL}\u00a0% interval {interval_text(case.interval)}"] if case.interval else []
    stands = ", ".join([*behind, seeds_word(len(case.gaps)).lower()])
    if case.outcome in ("wins", "loses"):
        side = "better" if case.outcome == "wins" else "worse"
        return f"{case.hero} is {side} than {case.rival} by {points}, {stands}."
    side = "ahead of" if case.gap > 0 else "behind" if case.gap < 0 else "from"
    return f"No claim: {case.hero} is {points} {side} {case.rival} ({stands})."


def _on_interval(case: _Case, comparison: Comparison | None) -> str:
    if case.interval is None or comparison is None:
        return "No interval over the test images was computed, so nothing is claimed."
    drawn = comparison.bootstrap
    miou = drawn.difference("miou")
    images, groups = f"{drawn.images:,} test images", f"{drawn.groups} {comparison.group_title}s"
    if miou.by_group is None:
        unit, other = f"the {images}", ""
        if drawn.groups == 1:
            other = f" They are all of one {comparison.group_title}: of another one this says nothing."
    elif miou.by_image is None:
        unit, other = f"the {groups} that the {images} come from", ""
    else:
        wide = case.interval == miou.by_group
        unit, less = (f"the {groups}", "single images") if wide else (f"the {images}", f"the {groups}")
        narrow = miou.by_image if wide else miou.by_group
        other = f" Resampling {less} instead gives {interval_text(narrow)}; the wider interval decides."
        other += f" {groups} are few: intervals over them are coarse and rather too narrow."
    zero = ""
    if case.interval.low <= 0 <= case.interval.high:
        zero = " It contains 0: these images do not tell which of the two is better."
    return (
        f"The interval is of {drawn.resamples:,} paired resamples of {unit}, and {case.hero} is better in "
        f"{100 * case.interval.wins:.1f}\u00a0% of them.{zero}{other}"
    )


def _on_seeds(case: _Case) -> list[str]:
    if len(case.gaps) < MIN_SEEDS:
        count = seeds_word(len(case.gaps))
        return [
            f"{count} in common: too few for a claim, which takes {MIN_SEEDS}, because a training too has "
            "its luck, which the test images do not show."
        ]
    ahead = sum(gap > 0 for gap in case.gaps)
    texts = [
        f"{case.hero} is ahead on {ahead} of {len(case.gaps)} common seeds (differences "
        f"{points_text(min(case.gaps), signed=True)} to {points_text(max(case.gaps), signed=True)} points)."
    ]
    if 0 < ahead < len(case.gaps):
        texts.append("The order changes with the seed, so it is not stable.")
    return texts


def _on_choice(case: _Case, basis: str) -> list[str]:
    texts = []
    if basis == "validation":
        texts.append(
            f"{case.rival} is the best other method by validation mIoU, which the test had no say in."
        )
    elif basis == "test":
        texts.append(
            f"{case.rival} is the best other method on the test images themselves, because validation mIoU "
            f"is not known of all; that choice favours {case.rival}, so the comparison is conservative."
        )
    if case.first not in (case.hero, case.rival):
        points = case.means[case.first] - case.means[case.hero]
        if points > 0:
            texts.append(f"On the test images {case.first} is {points:.1f} points ahead of {case.hero}.")
    return texts


def _leaders(groups: dict[str, list[MethodRun]], hero: str) -> str:
    names = groups[hero][0].result.class_names
    leads: dict[str, tuple[str, float]] = {}
    for metric in metric_titles(names):
        scores = {name: metric_spread(group, metric).mean for name, group in groups.items()}
        known = {name: score for name, score in scores.items() if score is not None}
        if known:
            best = max(known.values())
            first = [name for name, score in known.items() if score == best]
            leads[metric] = first[0] if len(first) == 1 else "shared", best
    named = {m: t for m, t in metric_titles(names).items() if m in MEANS or len(names) <= NAMED_CLASSES}
    parts = [f"{title}: {leads[m][0]} ({leads[m][1]:.1f}\u00a0%)" for m, title in named.items() if m in leads]
    text = "Best by metric, mean over seeds: " + "; ".join(parts) + "."
    if len(names) > NAMED_CLASSES:
        scored = {name: leads[f"iou_{name}"][0] for name in names if f"iou_{name}" in leads}
        won = sum(title == hero for title in scored.values())
        lost = [name for name, title in scored.items() if title != hero]
        text += f" {hero} has the highest IoU in {won} of {len(scored)} classes"
        text += f"; not in {', '.join(lost)}." if lost and won else "."
    return text
