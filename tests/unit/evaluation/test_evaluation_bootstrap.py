"""The paired bootstrap: by hand, against a naive loop, and which units it draws."""

from __future__ import annotations

import numpy as np
import pytest

from cadnet.evaluation.bootstrap import FEW_GROUPS, paired_bootstrap, resample_weights
from cadnet.evaluation.counts import Counts
from cadnet.evaluation.metrics import image_level_metrics, segmentation_metrics


def counts_of(*tables: list[list[int]]) -> Counts:
    confusion = np.array(tables, np.int64)
    return Counts(np.arange(len(tables)), confusion, np.zeros((confusion.shape[1] - 1, 2, 0), np.int64))


def one(hits: int, missed: int, alarms: int = 0) -> list[list[int]]:
    """An image of one class."""
    return [[100 - hits - missed - alarms, alarms], [missed, hits]]


def random_counts(rng: np.random.Generator, images: int, classes: int, skill: float) -> Counts:
    """Half of the images defective, some classes absent from most of them."""
    truth = rng.integers(1, 60, (images, classes)) * (rng.random((images, classes)) < 0.3)
    truth[::2] = 0
    confusion = np.zeros((images, classes + 1, classes + 1), np.int64)
    hits = rng.binomial(truth, skill)
    for k in range(classes):
        confusion[:, k + 1, k + 1] = hits[:, k]
        confusion[:, k + 1, 0] = truth[:, k] - hits[:, k]
        confusion[:, 0, k + 1] = rng.integers(0, 9, images) * (rng.random(images) < 0.2)
    confusion[:, 0, 0] = 5000 - confusion.sum((1, 2))
    return Counts(np.arange(images), confusion, np.zeros((classes, 2, 0), np.int64))


def test_two_images_by_hand() -> None:
    """IoU of the first: 10/10 and 5/10; of the second: 4/10 and 5/10; draws are {11, 12, 21, 22}."""
    first, second = counts_of(one(10, 0), one(5, 5)), counts_of(one(4, 6), one(5, 5))
    result = paired_bootstrap([first], [second], ("spot",), resamples=4000)
    miou = result.difference("miou")
    assert (miou.first, miou.second) == (0.75, 0.45)
    assert miou.observed == pytest.approx(0.3)
    assert miou.by_group is None and miou.by_image is not None
    # Differences 0.6 (11), 0.3 (12, 21) and 0 (22), a quarter, a half and a quarter of the draws.
    assert (miou.by_image.low, miou.by_image.high) == pytest.approx((0.0, 0.6))
    assert miou.by_image.wins == pytest.approx(0.75, abs=0.03)
    assert (result.images, result.groups, result.resamples) == (2, 0, 4000)


def test_escape_and_overkill_are_better_when_lower() -> None:
    # The second method misses one of two defective images; both alarm on one of two clean ones.
    first = counts_of(one(5, 5), one(5, 5), one(0, 0), one(0, 0, alarms=3))
    second = counts_of(one(5, 5), one(0, 10), one(0, 0), one(0, 0, alarms=3))
    result = paired_bootstrap([first], [second], ("spot",))
    escape, overkill = result.difference("escape"), result.difference("overkill")
    assert escape.lower_is_better and not result.difference("iou_spot").lower_is_better
    assert escape.observed == pytest.approx(-0.5)
    assert escape.interval is not None and (escape.interval.low, escape.interval.high) == (-1.0, 0.0)
    assert 0.5 < escape.interval.wins < 0.95
    assert overkill.interval is not None
    assert (overkill.interval.low, overkill.interval.high, overkill.interval.wins) == (0.0, 0.0, 0.0)
    # Of four draws from four, 1 in 16 holds no defective image: no escape is defined then.
    assert escape.interval.resamples == pytest.approx(2000 * 15 / 16, rel=0.03)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("per_group", [1, 4])
@pytest.mark.parametrize("seeds", [(1, 1), (3, 2)])
def test_agrees_with_a_naive_loop(classes: int, per_group: int, seeds: tuple[int, int]) -> None:
    rng = np.random.default_rng([classes, per_group, *seeds])
    images, resamples = 24, 60
    first = [random_counts(rng, images, classes, 0.8) for _ in range(seeds[0])]
    second = [random_counts(rng, images, classes, 0.6) for _ in range(seeds[1])]
    names = tuple("abc"[:classes])
    groups = np.repeat(np.arange(images // per_group), per_group).astype(str)
    result = paired_bootstrap(first, second, names, groups.tolist(), resamples=resamples, seed=7)

    units = images // per_group
    (weights,) = resample_weights(units, resamples, 7)
    drawn: dict[str, list[float]] = {difference.metric: [] for difference in result.differences}
    for row in weights:
        rows = np.repeat(np.arange(images).reshape(units, per_group), row, axis=0).ravel()
        one, other = (means([resampled(part, rows) for part in parts], names) for parts in (first, second))
        for name, values in drawn.items():
            if one[name] is not None and other[name] is not None:
                values.append(one[name] - other[name])
    for name, values in drawn.items():
        difference = result.difference(name)
        found = difference.by_image if per_group == 1 else difference.by_group
        assert found is not None and found.resamples == len(values)
        assert (found.low, found.high) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])))
        better = np.array(values) < 0 if difference.lower_is_better else np.array(values) > 0
        assert found.wins == pytest.approx(better.mean())
    assert result.difference("miou").first == pytest.approx(means(first, names)["miou"])


def resampled(counts: Counts, rows: np.ndarray) -> Counts:
    return Counts(np.arange(len(rows)), counts.confusion[rows], counts.histograms)


def means(seeds: list[Counts], names: tuple[str, ...]) -> dict[str, float | None]:
    """The library's own metrics of each seed, and the mean of what is defined."""
    table: dict[str, list[float | None]] = {}
    for counts in seeds:
        metrics, level = segmentation_metrics(counts), image_level_metrics(counts)
        values = {"miou": metrics.miou, "escape": level.escape, "overkill": level.overkill}
        values |= {f"iou_{n}": part.iou for n, part in zip(names, metrics.classes, strict=True)}
        for name, value in values.items():
            table.setdefault(name, []).append(value)
    known = {name: [v for v in values if v is not None] for name, values in table.items()}
    return {name: float(np.mean(values)) if values else None for name, values in known.items()}


def test_the_same_method_never_wins_or_loses() -> None:
    counts = random_counts(np.random.default_rng(0), 30, 2, 0.7)
    for difference in paired_bootstrap([counts], [counts], ("a", "b")).differences:
        interval = difference.interval
        assert interval is not None and (interval.low, interval.high, interval.wins) == (0, 0, 0)


def test_swapping_the_methods_mirrors_the_interval() -> None:
    rng = np.random.default_rng(1)
    first, second = random_counts(rng, 40, 2, 0.9), random_counts(rng, 40, 2, 0.5)
    there = paired_bootstrap([first], [second], ("a", "b")).difference("miou").interval
    back = paired_bootstrap([second], [first], ("a", "b")).difference("miou").interval
    assert there is not None and back is not None
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))
    assert there.low > 0 and there.wins > 0.95 and back.wins < 0.05


def test_which_units_are_drawn() -> None:
    rng = np.random.default_rng(2)
    images = 2 * FEW_GROUPS
    first, second = random_counts(rng, images, 1, 0.8), random_counts(rng, images, 1, 0.7)

    def drawn(groups: list[str] | None) -> tuple[int, bool, bool]:
        result = paired_bootstrap([first], [second], ("a",), groups, resamples=50)
        miou = result.difference("miou")
        return result.groups, miou.by_image is not None, miou.by_group is not None

    assert drawn(None) == (0, True, False)
    assert drawn([str(i) for i in range(images)]) == (0, True, False)
    assert drawn(["only"] * images) == (1, True, False)
    assert drawn([str(i % 3) for i in range(images)]) == (3, True, True)
    assert drawn([str(i // 2) for i in range(images)]) == (FEW_GROUPS, False, True)


def test_the_wider_interval_decides() -> None:
    """All images of a pattern agree, so two patterns say less than their forty images seem to."""
    good, bad = one(9, 1), one(5, 5)
    first = counts_of(*[good] * 20, *[bad] * 20)
    second = counts_of(*[bad] * 20, *[bad] * 20)
    miou = paired_bootstrap([first], [second], ("a",), ["p"] * 20 + ["q"] * 20).difference("miou")
    assert miou.by_image is not None and miou.by_group is not None
    assert miou.by_image.low > 0.05
    assert miou.interval == miou.by_group
    assert (miou.by_group.low, miou.by_group.high) == pytest.approx((0.0, 0.4))


def test_draws_are_seeded_and_whole() -> None:
    weights = np.concatenate(list(resample_weights(7, 300, 3)))
    assert weights.shape == (300, 7)
    assert (weights.sum(axis=1) == 7).all()
    np.testing.assert_array_equal(weights, np.concatenate(list(resample_weights(7, 300, 3))))
    assert (weights != np.concatenate(list(resample_weights(7, 300, 4)))).any()


def test_many_images_are_drawn_in_blocks() -> None:
    blocks = list(resample_weights(900_000, 9, 0))
    assert [block.shape for block in blocks] == [(4, 900_000), (4, 900_000), (1, 900_000)]


def test_a_class_nobody_has_is_left_out() -> None:
    table = [[90, 0, 0], [2, 8, 0], [0, 0, 0]]
    result = paired_bootstrap([counts_of(table)], [counts_of(table)], ("a", "b"))
    absent = result.difference("iou_b")
    assert absent.first is None and absent.observed is None and absent.interval is None
    assert result.difference("miou").first == pytest.approx(0.8)
    assert result.difference("overkill").interval is None  # no clean image


def test_what_cannot_be_paired_is_refused() -> None:
    counts = counts_of(one(5, 5), one(5, 5))
    other = Counts(np.array([0, 2]), counts.confusion, counts.histograms)
    with pytest.raises(ValueError, match="different images"):
        paired_bootstrap([counts], [other], ("a",))
    with pytest.raises(ValueError, match="at least once"):
        paired_bootstrap([counts], [], ("a",))
    with pytest.raises(ValueError, match="1 groups were given for 2 images"):
        paired_bootstrap([counts], [counts], ("a",), ["p"])
    with pytest.raises(ValueError, match="2 named"):
        paired_bootstrap([counts], [counts], ("a", "b"))
    with pytest.raises(ValueError, match="no images"):
        paired_bootstrap([counts.subset(np.array([9]))] * 1, [counts.subset(np.array([9]))], ("a",))
