"""How far two methods are apart, how sure that is, and what may be claimed of it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cadnet.evaluation.bootstrap import LEVEL, RESAMPLES, Difference, paired_bootstrap
from cadnet.reporting.pages import Headline, Verdict, number
from cadnet.reporting.results import DEFECT, ScoredTrial, by_method, spread, values_of

MIN_SEEDS = 3
"""Below this many common seeds a difference is shown but not claimed."""

COMPARED = ("other", "difference", "low", "high", "common_seeds", "seeds_ahead", "verdict")
"""Columns of :func:`compared`, which are the last ones of every table of results."""


def decide(gaps: Sequence[float], low: float | None, high: float | None) -> Verdict:
    """Return ``ahead`` or ``behind`` if every common seed and the whole interval agree, else ``open``.

    Args:
        gaps: difference on each common seed; below :data:`MIN_SEEDS` nothing is decided.
        low, high: ends of the interval over the test images; without one nothing is decided.
    """
    if len(gaps) < MIN_SEEDS or low is None or high is None:
        return "open"
    if low > 0 and min(gaps) > 0:
        return "ahead"
    return "behind" if high < 0 and max(gaps) < 0 else "open"


def differences(
    trials: Sequence[ScoredTrial], reference: str, *, merged: bool = False, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """Compare ``reference`` with each other method by the paired bootstrap over test images.

    All trials are of one condition: one test split, and one fraction of labels. One row per other method and
    metric, in percent and points: ``method`` (the reference), ``other, metric, value, other_value,
    difference`` (reference minus other), ``low, high`` of the interval that decides, ``better`` (share of its
    resamples in which the reference is better), ``image_low, image_high, group_low, group_high`` of what was
    resampled; ``images, groups`` (numbers of them; 0 groups: images are not grouped); ``common_seeds,
    seeds_ahead, seeds_behind, least, most`` (of the difference on single seeds) and ``verdict``. Of escape
    and overkill less is better: there a negative difference is ahead.

    Args:
        trials: of all methods.
        reference: id of a method.
        merged: compare the IoU of all defect classes as one, and nothing else.
        resamples: number of draws.

    Raises:
        ValueError: methods that scored different images or classes.
    """
    groups, rows = by_method(trials, merged=merged), []
    for other in groups:
        if other == reference or reference not in groups:
            continue
        pair = groups[reference], groups[other]
        first, second = ([t.merged if merged else t.counts for t in group] for group in pair)
        one = trials[0]
        drawn = paired_bootstrap(
            first,
            second,
            [DEFECT] if merged else one.result.class_names,
            one.groups,
            resamples=resamples,
            min_pixels=one.result.image_level.min_pixels,
        )
        found = [drawn.difference(f"iou_{DEFECT}")] if merged else drawn.differences
        about = {"images": drawn.images, "groups": drawn.groups}
        for difference in found:
            key = {"method": reference, "other": other, "metric": difference.metric}
            rows.append(key | _numbers(difference) | about | _seeds(trials, reference, other, difference))
    return pd.DataFrame(rows)


def _numbers(difference: Difference) -> dict[str, float]:
    decides, image, group = difference.interval, difference.by_image, difference.by_group
    values: dict[str, float | None] = {
        "value": difference.first,
        "other_value": difference.second,
        "difference": difference.observed,
        "low": decides.low if decides else None,
        "high": decides.high if decides else None,
        "better": decides.wins if decides else None,
        "image_low": image.low if image else None,
        "image_high": image.high if image else None,
        "group_low": group.low if group else None,
        "group_high": group.high if group else None,
    }
    return {name: float("nan") if value is None else 100 * value for name, value in values.items()}


def _seeds(
    trials: Sequence[ScoredTrial], reference: str, other: str, difference: Difference
) -> dict[str, object]:
    """The difference on single seeds, and what is claimed."""
    ours, theirs = (values_of(trials, method, difference.metric) for method in (reference, other))
    gaps = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    sign = -1 if difference.lower_is_better else 1
    interval = difference.interval
    ends = sorted((sign * interval.low, sign * interval.high)) if interval else [None, None]
    return {
        "common_seeds": len(gaps),
        "seeds_ahead": sum(sign * gap > 0 for gap in gaps),
        "seeds_behind": sum(sign * gap < 0 for gap in gaps),
        "least": min(gaps, default=float("nan")),
        "most": max(gaps, default=float("nan")),
        "verdict": decide([sign * gap for gap in gaps], *ends),
    }


def best_other(
    trials: Sequence[ScoredTrial], reference: str, metric: str = "miou", exclude: Sequence[str] = ()
) -> str | None:
    """Return the method that ``reference`` is set against; None when there is none, or no reference.

    For mIoU that with the highest validation mIoU, mean over seeds, where it is known of every trial of every
    other method, so that the test has no say in the choice; else that with the highest ``metric`` on the test
    images, which favours it and so makes the comparison conservative.
    """
    groups = by_method(trials, merged=metric == f"iou_{DEFECT}")
    means = {m: spread(values_of(trials, m, metric).values()).mean for m in groups}
    others = {m: mean for m, mean in means.items() if m not in (reference, *exclude) and mean is not None}
    if means.get(reference) is None or not others:
        return None
    seen = {m: values_of(trials, m, "val_miou") for m in others}
    if metric == "miou" and all(len(seen[m]) == len(groups[m]) for m in others):
        return max(others, key=lambda m: spread(seen[m].values()).mean or 0.0)
    return max(others, key=lambda m: others[m])


def compared(found: pd.DataFrame, reference: str, rival: str | None, metric: str) -> pd.DataFrame:
    """Return :data:`COMPARED` by method: every other one minus the reference, the reference minus ``rival``.

    Args:
        found: :func:`differences`.
        reference: id of the method that the others are compared with.
        rival: the method that the reference is compared with, see :func:`best_other`.
        metric: one that ``found`` has.
    """
    rows: dict[str, dict[str, object]] = {}
    for record in found.to_dict("records"):
        if record["metric"] != metric:
            continue
        plain = {name: record[name] for name in COMPARED if name != "other"}
        turned = {
            "other": reference,
            "difference": -record["difference"],
            "low": -record["high"],
            "high": -record["low"],
            "common_seeds": record["common_seeds"],
            "seeds_ahead": record["seeds_behind"],
            "verdict": {"ahead": "behind", "behind": "ahead", "open": "open"}[record["verdict"]],
        }
        rows[str(record["other"])] = turned
        if record["other"] == rival:
            rows[reference] = {"other": rival, **plain}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(COMPARED))


@dataclass(frozen=True, eq=False)
class Condition:
    """What a headline rests on under one condition, such as a fraction of labels.

    ``where``: the condition in words, "" where there is only one. ``table``: :func:`compared`. ``value`` of
    the reference in percent, None where not defined. ``rivals``: ids of the methods that count.
    """

    where: str
    table: pd.DataFrame
    value: float | None
    rivals: Sequence[str]

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """Of the reference against each rival."""
        turned: dict[str, Verdict] = {"ahead": "behind", "behind": "ahead", "open": "open"}
        return {m: turned[str(self.table["verdict"][m])] for m in self.rivals if m in self.table.index}

    @property
    def verdict(self) -> Verdict:
        """``ahead`` of every rival, ``behind`` at least one of them, or ``open``."""
        found = set(self.verdicts.values())
        return "behind" if "behind" in found else "open" if "open" in found else "ahead"


def headline(
    reference: str, conditions: Sequence[Condition], titles: Mapping[str, str], metric: str
) -> Headline:
    """Return who is ahead, by how much and how sure that is.

    Args:
        reference: id of the method in question.
        conditions: under which it was compared; those without a rival are left out.
        titles: of the methods, by id.
        metric: as it is written.
    """
    name = titles.get(reference, reference)
    known = [one for one in conditions if one.value is not None and one.verdicts]
    if not known:
        return Headline("alone", f"There is nothing to compare {name} with.")
    found = [one.verdict for one in known]
    outcome: Verdict = "behind" if "behind" in found else "open" if "open" in found else "ahead"
    if len(known) == 1 and not known[0].where:
        return Headline(outcome, _sentence(name, known[0], reference, titles, metric))
    parts = []
    for verdict in ("ahead", "open", "behind"):
        at = [f"{one.where} ({one.value:.1f} %)" for one in known if one.verdict == verdict]
        if verdict == "behind":
            at = [f"{one.where} (behind {_behind(one, titles)})" for one in known if one.verdict == verdict]
        says = {"ahead": "ahead of every other method", "open": "open", "behind": "behind another method"}
        if at:
            parts.append(f"{says[verdict]} at {', '.join(at)}")
    return Headline(outcome, f"{name}, {metric}: {'; '.join(parts)}.")


def _behind(one: Condition, titles: Mapping[str, str]) -> str:
    return ", ".join(titles.get(m, m) for m, verdict in one.verdicts.items() if verdict == "behind")


def _sentence(name: str, one: Condition, reference: str, titles: Mapping[str, str], metric: str) -> str:
    known = reference in one.table.index
    row = one.table.loc[reference if known else one.table.index[0]].to_dict()
    other = titles.get(str(row["other"]), str(row["other"]))
    gap = f"{number(row['difference'], signed=True)} points against {other}"
    if not pd.isna(row["low"]):
        gap += f", {LEVEL} % interval {number(row['low'])} to {number(row['high'])}"
    seeds = row["common_seeds"]
    gap += f", ahead on {row['seeds_ahead']} of {seeds} seed{'s' if seeds != 1 else ''}"
    found, value = one.verdicts, f"{one.value:.1f} % {metric}"
    if one.verdict == "ahead":
        whom = other if len(found) == 1 else f"each of the {len(found)} others"
        return f"{name} is ahead of {whom}: {value}, {gap}."
    if one.verdict == "behind":
        return f"{name} is behind {_behind(one, titles)}: {value}, {gap}."
    return f"No claim: {name} has {value}, {gap}. {_why_open(row, one, titles)}"


def _why_open(row: Mapping[Hashable, Any], one: Condition, titles: Mapping[str, str]) -> str:
    if row["common_seeds"] < MIN_SEEDS:
        return f"A claim takes {MIN_SEEDS} seeds."
    if row["verdict"] == "ahead":
        unclear = [titles.get(m, m) for m, verdict in one.verdicts.items() if verdict == "open"]
        return f"It is not clearly ahead of {', '.join(unclear)}."
    if pd.isna(row["low"]):
        return "No interval over the test images is known."
    if row["low"] <= 0 <= row["high"]:
        return "The interval contains 0."
    return "The order changes with the seed."
