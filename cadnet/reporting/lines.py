"""Lines of scores over a number, through the means over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from cadnet.reporting.tables import spread


def seeded_line(
    axes: Axes,
    places: Sequence[float],
    scores: Sequence[Sequence[float]],
    look: Mapping[str, Any],
    *,
    zero: bool = False,
) -> None:
    """A line through the means of ``scores``, with whiskers of one deviation and single seeds behind it.

    Args:
        axes: to draw on.
        places: where each of ``scores`` stands.
        scores: of every seed; a place without any is left out.
        look: ``color, marker`` and further properties of the line.
        zero: the first place is a 0 that stands apart, joined by dots.
    """
    drawn = [(place, spread(row), row) for place, row in zip(places, scores, strict=True) if row]
    if not drawn:
        return
    look = {"linewidth": 1.6} | dict(look)
    at = [place for place, _, _ in drawn]
    means = [value.mean or 0.0 for _, value, _ in drawn]
    start = 1 if zero and at[0] == places[0] else 0
    axes.plot(at[start:], means[start:], **look)
    if start:
        axes.plot(at[:2], means[:2], ":", color=look["color"], marker=look["marker"], linewidth=1.6)
    for place, value, _ in drawn:
        if value.mean is not None and value.std is not None:
            axes.errorbar(place, value.mean, value.std, color=look["color"], capsize=3, linewidth=1.2)
    for place, _, row in drawn:
        if len(row) > 1:
            axes.plot([place] * len(row), row, ".", color=look["color"], alpha=0.35, markersize=6)
