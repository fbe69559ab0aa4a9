"""What the cross-tests show: who finds defects of an unseen kind, and what it costs not to have seen them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cadnet.evaluation.bootstrap import Interval
from cadnet.reporting.claims import (
    Decision,
    decide,
    evidence_text,
    listed,
    points_text,
    seed_gaps,
    value_text,
    why_open,
)
from cadnet.reporting.cross import Pair, cross_methods, cross_pairs
from cadnet.reporting.data import HERO, CrossTest, MethodRun
from cadnet.reporting.tables import Spread, metric_spread
from cadnet.reporting.verdict import Verdict, overall

UNSEEN_LIMIT = 0.5
"""Per cent that other methods stay below on unseen kinds, as the paper found of most."""
METRICS = ("iou_defect", "acc_defect", "fscore_defect")
"""In which the paper found so: IoU, Acc and Fscore, here of all defect classes as one."""

Methods = Mapping[str, Mapping[tuple[str, str], Sequence[MethodRun]]]


def cross_finding(cross: CrossTest, hero: str = HERO) -> Verdict:
    """Compare ``hero`` with every other method on the crossed pairs, in the IoU of all classes as one.

    ``wins``: clearly better than each other method on every crossed pair
    (:func:`~cadnet.reporting.claims.decide`); ``loses``: a method is clearly better on one of them.

    Raises:
        ValueError: a dataset without a letter of its own, a seed twice.
    """
    methods = cross_methods(cross)
    crossed = [pair for pair in cross_pairs(cross) if pair.crossed]
    others = [title for title in methods if title != hero]
    if not crossed or hero not in methods or not others:
        return _alone(methods, crossed, hero)
    found = {
        (pair.letters, title): decide(*_evidence(cross, methods, pair, hero, title))
        for pair in crossed
        for title in others
    }
    outcome = overall(found.values())
    texts = [_against_best(cross, methods, pair, hero) for pair in crossed]
    texts.append(_below_limit(methods, crossed, others))
    texts += [_drop(methods, pair, hero) for pair in crossed]
    return Verdict(outcome, _headline(methods, crossed, hero, found), tuple(texts))


def _alone(methods: Methods, crossed: Sequence[Pair], hero: str) -> Verdict:
    if not crossed:
        return Verdict("alone", "No method was tested on a kind of defect that it was not trained on.", ())
    if hero not in methods:
        best = [_best(methods, list(methods), pair) for pair in crossed]
        return Verdict("alone", f"Highest IoU on unseen kinds: {'; '.join(filter(None, best))}.", ())
    values = [_short_value(methods, hero, pair) for pair in crossed]
    said = f"IoU of {hero} on unseen kinds is {listed(values)}; there is nothing to compare it with."
    return Verdict("alone", said, tuple(_drop(methods, pair, hero) for pair in crossed))


def _headline(
    methods: Methods, crossed: Sequence[Pair], hero: str, found: Mapping[tuple[str, str], Decision]
) -> str:
    others = [title for title in methods if title != hero]
    values = listed([_short_value(methods, hero, pair) for pair in crossed])
    better = [f"{title} ({letters})" for (letters, title), one in found.items() if one == "behind"]
    if better:
        verb = "is" if len(better) == 1 else "are"
        return f"{listed(better)} {verb} better than {hero} on unseen kinds of defect."
    if "open" not in found.values():
        whom = others[0] if len(others) == 1 else f"each of the {len(others)} other methods"
        return f"{hero} finds defects of an unseen kind better than {whom}: IoU {values}."
    leads = [pair for pair in crossed if _first(methods, list(methods), pair) == hero]
    if len(leads) == len(crossed):
        return f"No claim: {hero} has the highest IoU on unseen kinds of defect, {values}."
    best = "; ".join(filter(None, (_best(methods, list(methods), pair) for pair in crossed)))
    return f"No claim: the highest IoU on unseen kinds of defect has {best}; {hero} has {values}."


def _against_best(cross: CrossTest, methods: Methods, pair: Pair, hero: str) -> str:
    """The hero against the best other method of one pair: points, interval, seeds."""
    where = f"{pair.letters}, trained on {pair.trained} and tested on {pair.tested}"
    other = _first(methods, [title for title in methods if title != hero], pair)
    ours = _iou(methods, hero, pair)
    if other is None or ours.mean is None:
        return f"{where}: not defined of {hero} and another method."
    theirs = _iou(methods, other, pair)
    gaps, interval = _evidence(cross, methods, pair, hero, other)
    points = points_text(ours.mean - (theirs.mean or 0.0), signed=True)
    why = " and ".join(why_open(gaps, interval))
    evidence = f"{points} points, {evidence_text(gaps, interval)}"
    return (
        f"{where}: {hero} reaches {value_text(ours)} IoU, the best other method on these images, {other}, "
        f"{value_text(theirs)}; {evidence}.{f' No claim: {why}.' if why else ''}"
    )


def _below_limit(methods: Methods, crossed: Sequence[Pair], others: Sequence[str]) -> str:
    """Whether the other methods find next to nothing on unseen kinds, as in the paper."""
    parts = []
    for pair in crossed:
        scores = {
            title: [metric_spread(methods[title].get(pair.key, ()), metric).mean for metric in METRICS]
            for title in others
        }
        known = {title: [value for value in row if value is not None] for title, row in scores.items()}
        below = sum(max(row) < UNSEEN_LIMIT for row in known.values() if row)
        parts.append(f"{below} of {sum(bool(row) for row in known.values())} ({pair.letters})")
    return (
        f"The paper found that most other methods stay below {UNSEEN_LIMIT}\u00a0% in IoU, Acc and Fscore on "
        f"unseen kinds; here {listed(parts)} do, in the mean over seeds."
    )


def _drop(methods: Methods, pair: Pair, hero: str) -> str:
    """What it costs not to have seen the kind: on the same images, and of the same networks."""
    letter = pair.letters
    score = _iou(methods, hero, pair).mean
    if score is None:
        return f"{letter}: the IoU of {hero} is not defined."
    parts = []
    for key, what in (
        ((pair.tested, pair.tested), f"on the same images when trained on {pair.tested}"),
        ((pair.trained, pair.trained), f"when the same networks are tested on {pair.trained}"),
    ):
        same = metric_spread(methods[hero].get(key, ()), "iou_defect").mean
        if same is not None:
            parts.append(f"{same:.1f}\u00a0% {what} ({points_text(score - same, signed=True)} points)")
    against = f", against {' and '.join(parts)}" if parts else ""
    return f"{letter}: {hero} reaches {score:.1f}\u00a0% IoU{against}."


def _evidence(
    cross: CrossTest, methods: Methods, pair: Pair, hero: str, other: str
) -> tuple[list[float], Interval | None]:
    gaps = seed_gaps(methods[hero].get(pair.key, ()), methods[other].get(pair.key, ()), "iou_defect")
    drawn = cross.differences.get(pair.key, {}).get(other)
    return gaps, drawn.interval if drawn else None


def _iou(methods: Methods, title: str, pair: Pair) -> Spread:
    return metric_spread(methods[title].get(pair.key, ()), "iou_defect")


def _first(methods: Methods, titles: Sequence[str], pair: Pair) -> str | None:
    """The title with the highest mean, or None where none is defined; the first of equals."""
    means = {title: _iou(methods, title, pair).mean for title in titles}
    known = {title: mean for title, mean in means.items() if mean is not None}
    return max(known, key=lambda title: known[title], default=None)


def _best(methods: Methods, titles: Sequence[str], pair: Pair) -> str | None:
    first = _first(methods, titles, pair)
    return None if first is None else f"{first}, {_short_value(methods, first, pair)}"


def _short_value(methods: Methods, title: str, pair: Pair) -> str:
    ours = _iou(methods, title, pair)
    return f"{value_text(replace(ours, std=None))} ({pair.letters})"
