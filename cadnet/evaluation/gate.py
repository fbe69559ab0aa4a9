"""The gate: whether a challenger replaces the champion, with every figure of the decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from cadnet.config.operate import GateParams
from cadnet.evaluation.bootstrap import LEVEL, paired_bootstrap
from cadnet.evaluation.counts import Counts
from cadnet.evaluation.metrics import image_level_metrics, segmentation_metrics
from cadnet.evaluation.slices import Slice, all_slices

NONE = "none"


@dataclass(frozen=True)
class Check:
    """One condition: ``value`` against ``limit``, both formatted; ``passed`` decides."""

    name: str
    passed: bool
    value: str
    limit: str


@dataclass(frozen=True)
class Decision:
    """Result of the gate; it passes when every check does."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether the challenger becomes champion."""
        return all(check.passed for check in self.checks)

    @property
    def reasons(self) -> str:
        """The checks that failed, one line each; empty where none did."""
        return "\n".join(
            f"{check.name}: {check.value}, wanted {check.limit}" for check in self.checks if not check.passed
        )


@dataclass(frozen=True, eq=False)
class Measured:
    """Measurements of one product.

    ``counts``: over the acceptance set, at its own threshold. ``min_pixels``: from which it judges an image
    defective. ``planted``: fraction of planted defects that it finds; None where none could be planted.
    ``latency_ms``: median of single pairs. ``false_fractions``: fraction of pixels classified as defective,
    by disturbance of a clean pair, the undisturbed one under ``identical``. ``export_difference``: see
    :class:`~cadnet.config.operate.GateParams`; None where it was not exported.
    """

    counts: Counts
    min_pixels: int
    planted: float | None
    latency_ms: float = 0.0
    false_fractions: Mapping[str, float] = field(default_factory=dict)
    export_difference: float | None = None


IDENTICAL = "identical"


def decide(
    challenger: Measured,
    champion: Counts | None,
    class_names: Sequence[str],
    rows: pd.DataFrame,
    params: GateParams,
    defect_sizes: Sequence[float] = (),
) -> Decision:
    """Compare a challenger with the champion, or without one with the limits alone.

    Args:
        challenger: all fields of :class:`Measured`.
        champion: its counts over the same images; None without one. Nothing else of it is compared.
        class_names: the defect classes 1..K.
        rows: the acceptance set's manifest, whose row numbers are ``counts.index``.
        params: the limits.
        defect_sizes: edges of the size slices, as fractions of the image.

    Raises:
        ValueError: champion and challenger were scored on different images.
    """
    checks = [_least(challenger, params), *_decisions(challenger, params)]
    if champion is not None:
        checks.append(_better(challenger, champion, class_names, rows, params))
        checks.append(_no_slice_worse(challenger, champion, rows, params, defect_sizes))
    checks += _behaviour(challenger, params)
    if challenger.export_difference is not None:
        value, limit = challenger.export_difference, params.export_difference
        wanted = f"at most {limit:.1e}"
        checks.append(Check("exported equals trained", value <= limit, f"{value:.1e}", wanted))
    value, limit = challenger.latency_ms, params.latency_ms
    checks.append(Check("latency", value <= limit, f"{value:.1f} ms", f"at most {limit:g} ms"))
    return Decision(tuple(checks))


def _least(challenger: Measured, params: GateParams) -> Check:
    value = segmentation_metrics(challenger.counts).miou
    passed = value is not None and value >= params.least
    return Check("mIoU on the acceptance set", passed, _percent(value), f"at least {_percent(params.least)}")


def _decisions(challenger: Measured, params: GateParams) -> list[Check]:
    """What a line would see: images judged wrongly at the product's own operating point."""
    found = image_level_metrics(challenger.counts, challenger.min_pixels)
    return [
        _at_most("defective images judged good (escape)", found.escape, params.escape),
        _at_most("good images judged defective (overkill)", found.overkill, params.overkill),
    ]


def _at_most(name: str, value: float | None, limit: float) -> Check:
    """A rate in 0-1 against its limit; one that could not be measured passes only where any would."""
    passed = limit >= 1 or (value is not None and value <= limit)
    return Check(name, passed, _percent(value), f"at most {_percent(limit)}")


def _better(
    challenger: Measured,
    champion: Counts,
    class_names: Sequence[str],
    rows: pd.DataFrame,
    params: GateParams,
) -> Check:
    if challenger.counts.index.tolist() != champion.index.tolist():
        raise ValueError("champion and challenger were scored on different images; score both anew")
    groups = rows["group"].astype(str).iloc[challenger.counts.index].tolist()
    found = paired_bootstrap([challenger.counts], [champion], class_names, groups)
    difference = found.difference("miou")
    interval, observed = difference.interval, difference.observed
    value = NONE
    if observed is not None and interval is not None:
        ends = f"{_points(interval.low)} to {_points(interval.high)}"
        value = f"{_points(observed)} ({LEVEL} % interval {ends})"
    if params.mode == "better":
        passed = interval is not None and interval.low > params.margin
        limit = f"an interval above {_points(params.margin)}"
    else:
        passed = interval is not None and interval.low >= -params.tolerance
        limit = f"an interval not below {_points(-params.tolerance)}"
    return Check("mIoU, challenger minus champion", passed, value, limit)


def _no_slice_worse(
    challenger: Measured,
    champion: Counts,
    rows: pd.DataFrame,
    params: GateParams,
    defect_sizes: Sequence[float],
) -> Check:
    mine, theirs = (all_slices(one, rows, defect_sizes) for one in (challenger.counts, champion))
    drops = {
        f"{new.by} {new.name}": _iou(old) - _iou(new)
        for new, old in zip(mine, theirs, strict=True)
        if new.image_level.defective >= params.slice_images
    }
    limit = f"at most {_points(params.slice_drop)}"
    if not drops:
        return Check("largest fall of a slice", True, NONE, limit)
    name, drop = max(drops.items(), key=lambda item: item[1])
    return Check("largest fall of a slice", drop <= params.slice_drop, f"{_points(drop)} ({name})", limit)


def _behaviour(challenger: Measured, params: GateParams) -> list[Check]:
    checks = []
    for name, fraction in challenger.false_fractions.items():
        limit = 0.0 if name == IDENTICAL else params.behaviour.false_fraction
        wanted = f"at most {100 * limit:g} % of the pixels"
        value = f"{100 * fraction:.3g} % classified as defective"
        checks.append(Check(f"clean pair, {name}", fraction <= limit, value, wanted))
    least, found = params.behaviour.planted, challenger.planted
    passed = least <= 0 or (found is not None and found >= least)
    value = NONE if found is None else f"{100 * found:.0f} % found"
    return [*checks, Check("planted defects", passed, value, f"at least {100 * least:g} % found")]


def _iou(one: Slice) -> float:
    """Return the IoU with all defects as one class; 1 where neither truth nor prediction has any."""
    return 1.0 if one.metrics.defect.iou is None else one.metrics.defect.iou


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.2f} %"


def _points(value: float) -> str:
    return f"{100 * value:+.2f} points"
