"""When a difference between two methods is claimed, and how numbers are written in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from cadnet.evaluation.bootstrap import LEVEL, Interval
from cadnet.reporting.data import MethodRun
from cadnet.reporting.tables import Spread

MIN_SEEDS = 3
"""Below this many common seeds a difference is reported but not claimed."""

Decision = Literal["ahead", "behind", "open"]


def decide(gaps: Sequence[float], interval: Interval | None) -> Decision:
    """``ahead`` or ``behind`` when every common seed and the whole interval say so, else ``open``.

    Args:
        gaps: difference on each common seed (:func:`seed_gaps`); below :data:`MIN_SEEDS` nothing is decided.
        interval: of the difference over the test images; without one nothing is decided.
    """
    if len(gaps) < MIN_SEEDS or interval is None:
        return "open"
    if interval.low > 0 and min(gaps) > 0:
        return "ahead"
    return "behind" if interval.high < 0 and max(gaps) < 0 else "open"


def why_open(gaps: Sequence[float], interval: Interval | None) -> tuple[str, ...]:
    """Why :func:`decide` leaves a difference open, a clause each; none where it does not."""
    if decide(gaps, interval) != "open":
        return ()
    reasons = []
    if len(gaps) < MIN_SEEDS:
        reasons.append(f"{seeds_word(len(gaps)).lower()} in common, a claim takes {MIN_SEEDS}")
    elif min(gaps) <= 0 <= max(gaps):
        reasons.append("the order changes with the seed")
    if interval is None:
        reasons.append("no interval over the test images was computed")
    elif interval.low <= 0 <= interval.high:
        reasons.append("the interval contains 0")
    return tuple(reasons) or ("seeds and interval disagree",)


def seed_gaps(one: Sequence[MethodRun], other: Sequence[MethodRun], metric: str) -> list[float]:
    """Difference ``one - other`` in percentage points on each seed both have."""
    theirs = {run.seed: run.result.scalars().get(metric) for run in other}
    pairs = ((run.result.scalars().get(metric), theirs.get(run.seed)) for run in one)
    return [100 * (a - b) for a, b in pairs if a is not None and b is not None]


def interval_text(interval: Interval) -> str:
    """An interval of a difference in points, such as ``25.3 to 34.6``."""
    return f"{points_text(100 * interval.low)} to {points_text(100 * interval.high)}"


def evidence_text(gaps: Sequence[float], interval: Interval | None) -> str:
    """What :func:`decide` is given, as a clause: the interval where there is one, and the seeds."""
    known = [f"{LEVEL}\u00a0% interval {interval_text(interval)}"] if interval else []
    ahead = sum(gap > 0 for gap in gaps)
    known.append(f"ahead on {ahead} of {len(gaps)} common seed{'s' if len(gaps) != 1 else ''}")
    return ", ".join(known)


def points_text(value: float, *, signed: bool = False) -> str:
    """Points with one decimal and a true minus sign."""
    # Rounded first, so that a small negative number is not written as minus zero.
    return f"{round(value, 1) + 0.0:{'+' if signed else ''}.1f}".replace("-", "\u2212")


def value_text(value: Spread) -> str:
    """A mean in percent with its deviation over seeds, as far as they are defined."""
    text = "not defined" if value.mean is None else f"{value.mean:.1f}\u00a0%"
    return text if value.std is None else f"{text} (± {value.std:.1f} over seeds)"


def seeds_word(count: int) -> str:
    """A number of seeds at the beginning of a sentence."""
    return {0: "No seed", 1: "One seed"}.get(count, f"{count} seeds")


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: ``A``, ``A and B``, ``A, B and C``."""
    return " and ".join([*([", ".join(names[:-1])] if len(names) > 1 else []), *names[-1:]])
