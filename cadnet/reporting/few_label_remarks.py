"""Further sentences on few labels: none at all, thresholds by validation, the paper, combined methods."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from cadnet.evaluation.bootstrap import Interval
from cadnet.reporting.claims import decide, evidence_text, listed, points_text, why_open
from cadnet.reporting.data import FewLabels
from cadnet.reporting.few_label_cases import IOU, ShareCase
from cadnet.reporting.few_labels import share_label
from cadnet.reporting.published import published_few_labels

NOTHING = 5.0
"""Per cent of IoU up to which a method is said to find next to nothing."""
MOST_NAMED = 3
"""With more pairs of methods than this that change places they are counted, not named."""


def unseen_remark(few: FewLabels, cases: Sequence[ShareCase]) -> str | None:
    """Which methods find anything where no label of the tested images was seen; None if nobody was tested."""
    case = next((case for case in cases if case.share == 0 and case.contestants), None)
    if case is None:
        return None
    above, printed = _above(case), published_few_labels()["iou_0"]
    said = f"With no label of {few.tested_on} seen, only {few.pretrained_on}, {_those(case, above)}."
    there = [str(title) for title in printed.index if printed[title] > NOTHING]
    highest = printed.drop(there).max()
    said += (
        f" The paper found {'the same' if there == above else 'otherwise'}: only {listed(there)}, "
        f"{printed[there].max():.2f}\u00a0% against at most {highest:.2f}\u00a0%."
    )
    chosen = _above(case, validated=True)
    same = f"that is still so of {listed(above) or 'no method'}"
    changed = _those(case, chosen, validated=True) if chosen != above else same
    return f"{said} At thresholds chosen on validation images of {few.pretrained_on} defects {changed}."


def threshold_remark(cases: Sequence[ShareCase]) -> str | None:
    """Whether thresholds chosen on validation images change the order by IoU; None without two methods."""
    several = [case for case in cases if len(case.contestants) > 1]
    if not several:
        return None
    what = "Thresholds chosen on validation images"
    passes = {case.at: _passes(case) for case in several}
    changed = [f"at {at} {text}" for at, text in passes.items() if text]
    said = f"{what} leave the order by IoU as it is at every share."
    if changed:
        rest = [at for at, text in passes.items() if not text]
        kept = f"; they leave it as it is at {listed(rest)}" if rest else ""
        said = f"{what} change the order by IoU: {'; '.join(changed)}{kept}. Nothing is claimed of that."
    moves = [
        (after[title] - mean, title, case.at, mean)
        for case in several
        for after in [case.means(case.contestants, validated=True)]
        for title, mean in case.means(case.contestants).items()
        if title in after
    ]
    move, title, at, mean = max(moves, key=lambda one: abs(one[0]), default=(0.0, "", "", 0.0))
    if abs(move) < 0.05:
        return said
    return f"{said} They move {title} at {at} most, from {mean:.1f} to {mean + move:.1f}\u00a0%."


def paper_remark(cases: Sequence[ShareCase]) -> str | None:
    """The hero minus the best other method in the paper and here; None if no share is one of the paper's."""
    table = published_few_labels()
    there, here = [], []
    for case in cases:
        column = f"iou_{share_label(case.share)}"
        if column in table and case.hero in table.index:
            gap = table[column][case.hero] - table[column].drop(case.hero).max()
            there.append(f"{points_text(gap, signed=True)} at {case.at}")
            means = case.means([case.hero, *case.rivals])
            best = means[case.first(case.rivals)]
            here.append(f"{points_text(means[case.hero] - best, signed=True)} at {case.at}")
    if not there:
        return None
    hero = cases[0].hero
    return (
        f"{hero} minus the best other method, in points of IoU: {listed(there)} in the paper; "
        f"{listed(here)} here."
    )


def combined_remarks(few: FewLabels, cases: Sequence[ShareCase]) -> list[str]:
    """What each combined method adds to the hero at each share, a sentence per method that was run."""
    found = [_combined(title, cases) for title in few.combined]
    return [text for text in found if text]


def _combined(title: str, cases: Sequence[ShareCase]) -> str | None:
    shown: list[str] = []
    claimed: dict[str, list[str]] = {}
    for case in cases:
        means = case.means([case.hero, title])
        if len(means) == 2:
            gaps, interval = _turned(*case.evidence(title))
            points = points_text(means[title] - means[case.hero], signed=True)
            shown.append(f"{points} at {case.at} ({evidence_text(gaps, interval)})")
            why = f"no claim, because {' and '.join(why_open(gaps, interval))}"
            found = {"ahead": "it adds", "behind": "it costs", "open": why}[decide(gaps, interval)]
            claimed.setdefault(found, []).append(case.at)
    if not shown:
        return None
    said = "; ".join(f"at {listed(at)} {what}" for what, at in claimed.items())
    if len(claimed) == 1 and len(shown) > 1:
        said = f"at every one of these shares {next(iter(claimed))}"
    what = f"{title}, which the paper does not have, minus {cases[0].hero}, in points of IoU"
    return f"{what}: {'; '.join(shown)}. {said[0].upper()}{said[1:]}."


def _turned(gaps: Sequence[float], interval: Interval | None) -> tuple[list[float], Interval | None]:
    """The same evidence with the other method first."""
    turned = (
        Interval(-interval.high, -interval.low, 1 - interval.wins, interval.resamples) if interval else None
    )
    return [-gap for gap in gaps], turned


def _above(case: ShareCase, *, validated: bool = False) -> list[str]:
    means = case.means(case.contestants, validated=validated)
    return [title for title, mean in means.items() if mean > NOTHING]


def _those(case: ShareCase, above: Sequence[str], *, validated: bool = False) -> str:
    """The methods above the limit with their seeds, and the highest of the others."""
    means = case.means(case.contestants, validated=validated)
    groups = case.validated if validated else case.groups
    named = []
    for title in above:
        scores = [run.result.scalars().get(IOU) for run in groups[title]]
        found = sum(score is not None and 100 * score > NOTHING for score in scores)
        seeds = f"{found} of {len(scores)} seed{'s' if len(scores) != 1 else ''}"
        named.append(f"{title} ({means[title]:.1f}\u00a0%; {seeds})")
    limit = f"above {NOTHING:g}\u00a0% IoU"
    said = (
        f"{listed(named)} {'is' if len(above) == 1 else 'are'} {limit}" if above else f"no method is {limit}"
    )
    rest = [title for title in means if title not in above]
    if len(rest) > 1:
        said += f", the highest of the {len(rest)} others being {rest[0]} with {means[rest[0]]:.1f}\u00a0%"
    elif rest:
        said += f", {rest[0]} reaching {means[rest[0]]:.1f}\u00a0%"
    return said


def _passes(case: ShareCase) -> str:
    """Which methods pass which when thresholds are chosen on validation images; empty when none does."""
    before = case.means(case.contestants)
    after = case.means(case.contestants, validated=True)
    known = [title for title in before if title in after]
    passed = [
        (low, high)
        for high, low in combinations(known, 2)
        if before[high] > before[low] and after[low] > after[high]
    ]
    if len(passed) > MOST_NAMED:
        first = next(iter(after))
        comes = f", and {first} comes first" if first != known[0] else ""
        return f"{len(passed)} pairs of methods change places{comes}"
    return listed(
        [f"{low} passes {high} ({after[low]:.1f} against {after[high]:.1f}\u00a0%)" for low, high in passed]
    )
