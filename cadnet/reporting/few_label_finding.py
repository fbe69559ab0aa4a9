"""Who leads with few labels, said at each share of labels; it admits where nobody can say."""

from __future__ import annotations

from collections.abc import Sequence

from cadnet.reporting.claims import evidence_text, listed, points_text, value_text, why_open
from cadnet.reporting.data import HERO, FewLabels
from cadnet.reporting.few_label_cases import ShareCase, share_cases
from cadnet.reporting.few_label_remarks import combined_remarks, paper_remark, threshold_remark, unseen_remark
from cadnet.reporting.verdict import Verdict, overall

CHOICE = (
    "At each share the best other method is the one with the highest mean IoU on the test images themselves; "
    "that choice favours it, so the comparison is conservative."
)
"""How the method is chosen that the hero is set against."""


def few_label_finding(few: FewLabels, hero: str = HERO) -> Verdict:
    """Compare ``hero`` with every other method at each share of labels, in the IoU of defects.

    ``wins``: clearly better than each other method at every share at which both were run
    (:func:`~cadnet.reporting.claims.decide`); ``loses``: a method is clearly better at one of them. Combined
    methods are no rivals: they are compared with ``hero`` in sentences of their own.

    Raises:
        ValueError: a seed twice, or a run that was not scored on the one class ``defect``.
    """
    cases = share_cases(few, hero)
    compared = [case for case in cases if case.compared]
    said = [CHOICE] if any(len(case.rivals) > 1 for case in compared) else []
    said += [_share_sentence(case) for case in cases]
    for remark in (unseen_remark(few, cases), threshold_remark(cases), paper_remark(compared)):
        said += [remark] if remark else []
    said += combined_remarks(few, cases)
    if not compared:
        return Verdict("alone", _alone(cases, hero), tuple(said))
    outcome = overall([one for case in compared for one in case.decisions.values()])
    return Verdict(outcome, _headline(compared, hero), tuple(said))


def _alone(cases: Sequence[ShareCase], hero: str) -> str:
    if not any(case.contestants for case in cases):
        return "Nothing was trained with few labels."
    if not any(hero in case.groups for case in cases):
        return f"{hero} was not trained with few labels, so there is nothing to compare the others with."
    return f"There is nothing to compare {hero} with."


def _headline(cases: Sequence[ShareCase], hero: str) -> str:
    """Where the hero leads, where it is only the highest, and where it is not; each share in one clause."""
    clear = [case for case in cases if case.clear]
    if len(clear) == len(cases):
        others = max(len(case.rivals) for case in cases)
        whom = cases[0].rivals[0] if others == 1 else f"each of the {others} other methods"
        means = [f"{case.iou(hero).mean:.1f}\u00a0% ({case.at}" for case in cases]
        values = listed([f"{means[0]} labelled)", *(f"{mean})" for mean in means[1:])])
        every = " at every share of labels" if len(cases) > 1 else ""
        return f"{hero} leads {whom}{every}: IoU {values}."
    rest = [case for case in cases if not case.clear]
    highest = [case for case in rest if case.first(case.contestants) == hero]
    behind = [case for case in rest if case not in highest]
    clauses = [f"{hero} leads at {_shares(clear)} of the labels"] if clear else []
    if highest:
        name = "it" if clear else hero
        of = "" if clear else " of the labels"
        clauses.append(f"no claim at {_shares(highest)}{of}, where {name} has the highest IoU")
    if behind:
        name = "it" if clauses else hero
        of = "" if clauses else " of the labels"
        clauses.append(f"{name} does not lead at {listed([_lost(case, of) for case in behind])}")
    text = "; ".join(clauses)
    return f"{text[0].upper()}{text[1:]}."


def _lost(case: ShareCase, of: str) -> str:
    """A share at which another method is higher, and whether that can be claimed."""
    first = case.first(case.rivals)
    better = "is better" if case.decisions[first] == "behind" else "is higher, no claim"
    return f"{case.at}{of} ({first} {better})"


def _share_sentence(case: ShareCase) -> str:
    """The hero against the best other method at one share: points, interval, seeds, and what is claimed."""
    where, hero = f"{case.at} of the labels", case.hero
    if not case.compared:
        known = case.means(case.contestants)
        if hero in known:
            return f"{where}: {hero} has an IoU of {value_text(case.iou(hero))}; no other method was run."
        if known:
            best = case.first(case.rivals)
            return f"{where}: {hero} was not run; {best} has the highest IoU, {known[best]:.1f}\u00a0%."
        return f"{where}: no IoU is defined."
    other = case.first(case.rivals)
    ours, theirs = case.iou(hero), case.iou(other)
    lead = "does not lead: it has an IoU of"
    if case.first(case.contestants) == hero:
        lead = "leads with an IoU of" if case.clear else "has the highest IoU,"
    whom = f"the best other method, {other}," if len(case.rivals) > 1 else f"{other}, the only other method,"
    points = points_text((ours.mean or 0.0) - (theirs.mean or 0.0), signed=True)
    return (
        f"{where}: {hero} {lead} {value_text(ours)}; {whom} reaches {value_text(theirs)}; {points} points, "
        f"{evidence_text(*case.evidence(other))}.{_claim(case, other)}"
    )


def _claim(case: ShareCase, other: str) -> str:
    """Who is clearly better than the hero, and of whom nothing is claimed and why."""
    found = case.decisions
    better = [title for title, one in found.items() if one == "behind"]
    unclear = [title for title, one in found.items() if one == "open" and title != other]
    said = f" {listed(better)} {'is' if len(better) == 1 else 'are'} clearly better." if better else ""
    if found[other] == "open":
        return f"{said} No claim: {' and '.join(why_open(*case.evidence(other)))}."
    if unclear and found[other] == "ahead":
        return f"{said} It is not clearly ahead of {listed(unclear)}."
    return said


def _shares(cases: Sequence[ShareCase]) -> str:
    return listed([case.at for case in cases])
