"""Confidence of a difference between two methods on the test images: the paired percentile bootstrap.

Images, or the groups they come in, are drawn with replacement; both methods get the same draw, and every
metric is computed again from the summed counts (Efron and Tibshirani, An Introduction to the Bootstrap,
13.3). It does not cover the variance of training, which takes several seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cadnet.evaluation.counts import Counts
from cadnet.evaluation.metrics import defined, ratio

RESAMPLES = 2000
LEVEL = 95
"""Per cent of the resamples within an interval."""
FEW_GROUPS = 20
"""Below this many groups the interval over groups is coarse, and images are resampled, too."""
LOWER_IS_BETTER = ("escape", "overkill")
_BLOCK = 4_000_000
"""Draws held at once."""


@dataclass(frozen=True)
class Interval:
    """Percentiles of a difference over resamples: ``low`` to ``high`` hold the middle 95 per cent.

    ``wins``: fraction of the resamples in which the first method is strictly better. ``resamples``: those in
    which both methods had a value; the others are left out.
    """

    low: float
    high: float
    wins: float
    resamples: int

    @property
    def width(self) -> float:
        """Length of the interval."""
        return self.high - self.low


@dataclass(frozen=True)
class Difference:
    """One metric of two methods in [0, 1], means over seeds; None where it is not defined.

    ``metric``: ``miou``, ``iou_<class>``, ``escape`` or ``overkill``, as in ``EvaluationResult.scalars``.
    ``by_image``, ``by_group``: intervals over resampled images and groups; see :func:`paired_bootstrap`.
    """

    metric: str
    first: float | None
    second: float | None
    by_image: Interval | None
    by_group: Interval | None

    @property
    def observed(self) -> float | None:
        """First minus second on the images as they are."""
        return None if self.first is None or self.second is None else self.first - self.second

    @property
    def interval(self) -> Interval | None:
        """The deciding interval: the wider one."""
        known = [interval for interval in (self.by_group, self.by_image) if interval is not None]
        return max(known, key=lambda interval: interval.width, default=None)

    @property
    def lower_is_better(self) -> bool:
        """Whether a negative difference is in favour of the first method."""
        return self.metric in LOWER_IS_BETTER


@dataclass(frozen=True)
class PairedBootstrap:
    """All differences of two methods over the same ``images``, which come in ``groups`` (0: not grouped)."""

    images: int
    groups: int
    resamples: int
    seed: int
    differences: tuple[Difference, ...]

    def difference(self, metric: str) -> Difference:
        """The difference of one metric.

        Raises:
            KeyError: no such metric.
        """
        return {difference.metric: difference for difference in self.differences}[metric]


def paired_bootstrap(
    first: Sequence[Counts],
    second: Sequence[Counts],
    class_names: Sequence[str],
    groups: Sequence[str] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    min_pixels: int = 1,
) -> PairedBootstrap:
    """Compare two methods on the same images.

    Metrics are those of :mod:`cadnet.evaluation.metrics`, averaged over a method's seeds within a resample.
    Groups are resampled when any of them holds several images: images of one pattern, board or photograph
    are not independent. With fewer than :data:`FEW_GROUPS` groups images are resampled too and the
    wider interval counts; a single group leaves images alone.

    Args:
        first, second: counts of each method, one per seed.
        class_names: the defect classes 1..K.
        groups: the group of each image, in the order of ``counts.index``.
        resamples: number of draws.
        seed: of the draws.
        min_pixels: predicted defect pixels from which an image is judged defective.

    Raises:
        ValueError: no seeds, differing images or classes, groups of another length, or nothing to draw from.
    """
    counts = [*first, *second]
    _check(first, second, class_names, groups)
    sums = np.stack([_image_sums(part, min_pixels) for part in counts], axis=1)  # (N, seeds of both, C)
    names = _names(class_names)
    observed = _values(sums.sum(axis=0)[None], len(class_names), len(first))[:, 0]
    number, by_group, by_image = _drawn(sums, groups, names, len(first), resamples, seed)
    differences = tuple(
        Difference(
            metric=name,
            first=defined(observed[0, place]),
            second=defined(observed[1, place]),
            by_image=None if by_image is None else by_image[place],
            by_group=None if by_group is None else by_group[place],
        )
        for place, name in enumerate(names)
    )
    return PairedBootstrap(len(sums), number, resamples, seed, differences)


def value_intervals(
    counts: Counts,
    class_names: Sequence[str],
    groups: Sequence[str] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    min_pixels: int = 1,
) -> dict[str, Interval | None]:
    """Intervals of one network's own metrics over the test images, by metric.

    Metrics, units, draws and the choice of the wider interval are those of :func:`paired_bootstrap`; here
    ``wins`` is the share of the resamples above 0 (below 0 for escape and overkill).

    Args:
        counts: of the network.
        class_names: the defect classes 1..K.
        groups: the group of each image, in the order of ``counts.index``.
        resamples: number of draws.
        seed: of the draws.
        min_pixels: predicted defect pixels from which an image is judged defective.

    Raises:
        ValueError: other classes, groups of another length, or nothing to draw from.
    """
    _check([counts], [counts], class_names, groups)
    sums = _image_sums(counts, min_pixels)[:, None]
    names = _names(class_names)
    _, by_group, by_image = _drawn(sums, groups, names, 1, resamples, seed)
    drawn = [found for found in (by_group, by_image) if found is not None]
    known = [[one for one in found if one is not None] for found in zip(*drawn, strict=True)]
    widest = [max(found, key=lambda one: one.width, default=None) for found in known]
    return dict(zip(names, widest, strict=True))


def _names(class_names: Sequence[str]) -> tuple[str, ...]:
    return "miou", *(f"iou_{name}" for name in class_names), *LOWER_IS_BETTER


def _drawn(
    sums: np.ndarray,
    groups: Sequence[str] | None,
    names: Sequence[str],
    seeds: int,
    resamples: int,
    seed: int,
) -> tuple[int, list[Interval | None] | None, list[Interval | None] | None]:
    """Return the number of groups, and the intervals by group and by image where those are drawn.

    Groups where any holds several images; images where that cannot be or groups are few.
    """
    number, grouped = _group_sums(sums, groups)
    by_group = by_image = None
    if grouped is not None and number > 1:
        by_group = _intervals(grouped, names, seeds, resamples, seed)
    if by_group is None or number < FEW_GROUPS:
        by_image = _intervals(sums, names, seeds, resamples, seed)
    return number, by_group, by_image


def resample_weights(units: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield blocks (rows, ``units``) of int64: how often each unit was drawn; each row sums to ``units``."""
    generator = np.random.default_rng(seed)
    step = max(1, _BLOCK // units)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        draws = generator.integers(units, size=(rows, units))
        cells = draws + units * np.arange(rows)[:, None]
        yield np.bincount(cells.ravel(), minlength=rows * units).reshape(rows, units)


def _check(
    first: Sequence[Counts],
    second: Sequence[Counts],
    class_names: Sequence[str],
    groups: Sequence[str] | None,
) -> None:
    if not first or not second:
        raise ValueError("two methods can only be compared when each has been scored at least once")
    counts = [*first, *second]
    if len({part.index.tobytes() for part in counts}) > 1:
        raise ValueError("methods that scored different images cannot be paired; evaluate them on one split")
    if any(part.num_classes != len(class_names) for part in counts):
        raise ValueError(f"{[part.num_classes for part in counts]} classes counted, {len(class_names)} named")
    if counts[0].num_images == 0:
        raise ValueError("there are no images to draw from")
    if groups is not None and len(groups) != counts[0].num_images:
        raise ValueError(f"{len(groups)} groups were given for {counts[0].num_images} images")


def _image_sums(counts: Counts, min_pixels: int) -> np.ndarray:
    """Return the summable counts of each image, float64 (N, 2K + 4).

    Per class the true positives, then the unions; then escaped, overkilled, defective and clean (0 or 1).
    """
    confusion = counts.confusion
    hits = np.diagonal(confusion, axis1=1, axis2=2)[:, 1:]
    unions = confusion.sum(1)[:, 1:] + confusion.sum(2)[:, 1:] - hits
    defective = confusion[:, 1:].sum((1, 2)) > 0
    judged = confusion[:, :, 1:].sum((1, 2)) >= min_pixels
    flags = np.stack([defective & ~judged, ~defective & judged, defective, ~defective], axis=1)
    # float64 holds whole numbers up to 2^53, so that the matrix products stay exact.
    return np.concatenate([hits, unions, flags], axis=1).astype(np.float64)


def _group_sums(sums: np.ndarray, groups: Sequence[str] | None) -> tuple[int, np.ndarray | None]:
    """Number of groups and their sums (G, seeds, C); 0 and None where each image is a group of its own."""
    if groups is None:
        return 0, None
    names, place = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) == len(sums):
        return 0, None
    grouped = np.zeros((len(names), *sums.shape[1:]))
    np.add.at(grouped, place, sums)
    return len(names), grouped


def _values(sums: np.ndarray, classes: int, seeds: int) -> np.ndarray:
    """Metrics (2, R, 1 + K + 2) of the first ``seeds`` and of the other columns of ``sums`` (R, seeds, C)."""
    iou = ratio(sums[..., :classes], sums[..., classes : 2 * classes])
    level = ratio(sums[..., -4:-2], sums[..., -2:])
    values = np.concatenate([_mean(iou, -1)[..., None], iou, level], axis=-1)
    return np.stack([_mean(values[:, :seeds], 1), _mean(values[:, seeds:], 1)])


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean without NaN; NaN where all are."""
    return ratio(np.nansum(values, axis=axis), np.isfinite(values).sum(axis=axis))


def _intervals(
    sums: np.ndarray, names: Sequence[str], seeds: int, resamples: int, seed: int
) -> list[Interval | None]:
    """Intervals of the first ``seeds`` columns minus the others, or, without others, of the first alone."""
    units, columns, width = sums.shape
    flat = sums.reshape(units, columns * width)
    blocks = []
    for weights in resample_weights(units, resamples, seed):
        drawn = (weights.astype(np.float64) @ flat).reshape(-1, columns, width)
        first, second = _values(drawn, len(names) - 3, seeds)
        blocks.append(first if columns == seeds else first - second)
    differences = np.concatenate(blocks)
    return [_interval(differences[:, place], name) for place, name in enumerate(names)]


def _interval(values: np.ndarray, name: str) -> Interval | None:
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.percentile(values, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    better = values < 0 if name in LOWER_IS_BETTER else values > 0
    return Interval(float(low), float(high), float(better.mean()), len(values))
