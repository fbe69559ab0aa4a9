"""What the names of metrics say: which short name is meant, which direction is better, which unit."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from cadnet.tracking.tracker import TrackingError

COSTS: dict[str, tuple[str, ...]] = {
    "params_m": ("cost_params_m",),
    "gmacs_paper": ("cost_gmacs_paper",),
    "gmacs_full": ("cost_gmacs_full",),
    "train_seconds": ("cost_train_seconds",),
    "pairs_per_second": ("cost_pairs_per_second", "eval_pairs_per_second"),
    "latency_ms": ("cost_latency_ms",),
    "peak_memory_mb": ("cost_peak_memory_mb",),
}
"""Columns of cost, and the metrics each is read from: the first that a run holds."""

_PREFIXES = ("cost_", "best_", "test_", "val_", "train_")
_LOWER_IS_BETTER = ("loss", "escape", "overkill", "seconds", "latency", "params", "gmacs", "peak_memory")
_RATIOS = (
    "miou", "macc", "mprecision", "mfscore", "iou_", "acc_", "precision_", "fscore_", "ap_",
    "pixel_accuracy", "escape", "overkill",
)  # fmt: skip


def lower_is_better(metric: str) -> bool:
    """Whether less of a metric is better: losses, escape, overkill, and costs other than throughput."""
    return _stem(metric).startswith(_LOWER_IS_BETTER)


def is_ratio(metric: str) -> bool:
    """Whether a metric lies in [0, 1] and is shown in percent."""
    return _stem(metric).startswith(_RATIOS)


def full_name(name: str, known: Collection[str]) -> str:
    """The metric meant by a full or a short name: ``miou`` means ``test_miou``.

    Raises:
        TrackingError: no run holds it; the message gives near names.
    """
    for candidate in (name, f"test_{name}", f"cost_{name}"):
        if candidate in known:
            return candidate
    stems = {_stem(other): other for other in sorted(known, key=lambda other: other.startswith("test_"))}
    near = [stems[stem] for stem in difflib.get_close_matches(_stem(name), stems, n=5, cutoff=0.5)]
    cure = f"near it: {', '.join(near)}" if near else f"there are: {', '.join(sorted(known)) or 'none yet'}"
    raise TrackingError(f"no run of the experiment has a metric {name!r}; {cure}")


def _stem(metric: str) -> str:
    for prefix in _PREFIXES:
        metric = metric.removeprefix(prefix)
    return metric
