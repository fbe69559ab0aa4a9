"""What is known at one share of labels, for the sentences about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cadnet.evaluation.bootstrap import Difference, Interval
from cadnet.reporting.claims import Decision, decide, seed_gaps
from cadnet.reporting.data import HERO, FewLabels, MethodRun
from cadnet.reporting.few_labels import POOLED, few_label_methods, few_label_shares, share_label
from cadnet.reporting.tables import Spread, metric_spread

IOU = POOLED["iou"]


@dataclass(frozen=True, eq=False)
class ShareCase:
    """What is known at one share of labels.

    ``groups`` are the runs of all methods by title, scored where their two scores are equal; ``validated``
    the same at thresholds chosen on validation images. ``combined`` and ``differences`` are those of
    :class:`~cadnet.reporting.data.FewLabels`.
    """

    share: float
    hero: str
    groups: Mapping[str, Sequence[MethodRun]]
    validated: Mapping[str, Sequence[MethodRun]]
    combined: Sequence[str]
    differences: Mapping[str, Difference]

    @property
    def at(self) -> str:
        """The share as it stands in sentences."""
        return f"{share_label(self.share)}\u00a0%"

    @property
    def rivals(self) -> list[str]:
        """Titles that the hero is compared with: those with a defined IoU that are not ``combined``."""
        others = [title for title in self.groups if title != self.hero and title not in self.combined]
        return [title for title in others if self.iou(title).mean is not None]

    @property
    def contestants(self) -> list[str]:
        """The hero, if it has an IoU here, and its rivals."""
        return [*([self.hero] if self.iou(self.hero).mean is not None else []), *self.rivals]

    @property
    def compared(self) -> bool:
        """Whether the hero has an IoU here, and another method too."""
        return self.iou(self.hero).mean is not None and bool(self.rivals)

    @property
    def decisions(self) -> dict[str, Decision]:
        """The hero against each of ``rivals``; see :func:`~cadnet.reporting.claims.decide`."""
        return {title: decide(*self.evidence(title)) for title in self.rivals}

    @property
    def clear(self) -> bool:
        """Whether the hero is clearly ahead of each of ``rivals``."""
        return set(self.decisions.values()) == {"ahead"}

    def iou(self, title: str, *, validated: bool = False) -> Spread:
        """IoU over the seeds of a method, in percent."""
        groups = self.validated if validated else self.groups
        return metric_spread(groups.get(title, ()), IOU)

    def means(self, titles: Sequence[str], *, validated: bool = False) -> dict[str, float]:
        """Mean IoU (%) of those of ``titles`` that have one, highest first, the hero first of equals."""
        known = {title: self.iou(title, validated=validated).mean for title in titles}
        found = {title: mean for title, mean in known.items() if mean is not None}
        order = sorted(found, key=lambda title: (-found[title], title != self.hero))
        return {title: found[title] for title in order}

    def first(self, titles: Sequence[str]) -> str:
        """The highest of ``titles``, of which one must have an IoU."""
        return next(iter(self.means(titles)))

    def evidence(self, other: str) -> tuple[list[float], Interval | None]:
        """The hero minus ``other``: on each common seed in points, and the interval over test images."""
        drawn = self.differences.get(other)
        gaps = seed_gaps(self.groups.get(self.hero, ()), self.groups.get(other, ()), IOU)
        return gaps, drawn.interval if drawn else None


def share_cases(few: FewLabels, hero: str = HERO) -> list[ShareCase]:
    """What is known at each share of labels, ascending.

    Raises:
        ValueError: as :func:`~cadnet.reporting.few_labels.few_label_methods`.
    """
    plain, validated = few_label_methods(few), few_label_methods(few, validated=True)
    return [
        ShareCase(
            share,
            hero,
            {title: groups[share] for title, groups in plain.items() if share in groups},
            {title: groups[share] for title, groups in validated.items() if share in groups},
            few.combined,
            few.differences.get(share, {}),
        )
        for share in few_label_shares(few)
    ]
