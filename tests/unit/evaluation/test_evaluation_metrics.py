"""Reductions: hand-computed tables, scikit-learn as the judge, and what empty classes give."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from cadnet.evaluation.counts import Counts
from cadnet.evaluation.metrics import image_level_metrics, segmentation_metrics


def make_counts(*confusions: list[list[int]]) -> Counts:
    confusion = np.array(confusions, np.int64)
    side = confusion.shape[1]
    return Counts(np.arange(len(confusion)), confusion, np.zeros((side - 1, 2, 0), np.int64))


HAND = make_counts(
    [[50, 2, 0], [4, 6, 0], [1, 1, 8]],  # truth by row, prediction by column
    [[60, 0, 2], [0, 0, 0], [5, 0, 5]],
)


def test_hand_computed_pooled_numbers() -> None:
    metrics = segmentation_metrics(HAND)
    one, two = metrics.classes
    # pooled: [[110, 2, 2], [4, 6, 0], [6, 1, 13]]
    assert (one.tp, one.fp, one.fn) == (6, 3, 4)
    assert (two.tp, two.fp, two.fn) == (13, 2, 7)
    assert one.iou == pytest.approx(6 / 13)
    assert one.acc == pytest.approx(6 / 10)
    assert one.precision == pytest.approx(6 / 9)
    assert one.fscore == pytest.approx(12 / 19)
    assert metrics.miou == pytest.approx((6 / 13 + 13 / 22) / 2)
    assert metrics.macc == pytest.approx((6 / 10 + 13 / 20) / 2)
    assert metrics.mprecision == pytest.approx((6 / 9 + 13 / 15) / 2)
    assert metrics.mfscore == pytest.approx((12 / 19 + 26 / 35) / 2)
    assert metrics.iou_background == pytest.approx(110 / 124)
    assert metrics.pixel_accuracy == pytest.approx(129 / 144)
    # any defect: tp = 6 + 0 + 1 + 13, fp = 4, fn = 10
    assert (metrics.defect.tp, metrics.defect.fp, metrics.defect.fn) == (20, 4, 10)


def test_hand_computed_per_image_means() -> None:
    metrics = segmentation_metrics(HAND)
    # class 1: image 0 6/13, absent and not predicted in image 1; class 2: 8/10 and 5/12
    assert metrics.iou_per_image == pytest.approx((6 / 13, (8 / 10 + 5 / 12) / 2))
    assert metrics.miou_per_image == pytest.approx((6 / 13 + (8 / 10 + 5 / 12) / 2) / 2)
    assert metrics.mfscore_per_image == pytest.approx((12 / 19 + (16 / 18 + 10 / 17) / 2) / 2)


def test_false_alarms_on_clean_images_cost_unless_only_present_images_count() -> None:
    counts = make_counts([[8, 2], [0, 10]], [[15, 5], [0, 0]])
    metrics = segmentation_metrics(counts)
    assert metrics.miou == pytest.approx(10 / 17)
    assert metrics.miou_per_image == pytest.approx((10 / 12 + 0) / 2)
    assert metrics.miou_per_present_image == pytest.approx(10 / 12)
    assert metrics.mfscore_per_present_image == pytest.approx(20 / 22)


@pytest.mark.parametrize("num_classes", [1, 2, 6, 15])
def test_agrees_with_scikit_learn(num_classes: int) -> None:
    rng = np.random.default_rng(num_classes)
    truth = rng.integers(0, num_classes + 1, (4, 400))
    guess = np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, num_classes + 1, truth.shape))
    side = num_classes + 1
    tables = [np.bincount(cells, minlength=side**2).reshape(side, side) for cells in truth * side + guess]
    metrics = segmentation_metrics(make_counts(*(table.tolist() for table in tables)))
    labels = list(range(1, side))
    for name, judge in (
        ("iou", jaccard_score),
        ("acc", recall_score),
        ("precision", precision_score),
        ("fscore", f1_score),
    ):
        expected = judge(truth.ravel(), guess.ravel(), labels=labels, average=None)
        assert [getattr(c, name) for c in metrics.classes] == pytest.approx(expected)
        assert getattr(metrics, f"m{name}") == pytest.approx(expected.mean())


def test_class_that_is_nowhere_is_undefined_and_left_out() -> None:
    metrics = segmentation_metrics(make_counts([[50, 10, 0], [10, 30, 0], [0, 0, 0]]))
    absent = metrics.classes[1]
    assert (absent.iou, absent.acc, absent.precision, absent.fscore) == (None, None, None, None)
    assert metrics.miou == pytest.approx(30 / 50)
    assert metrics.macc == pytest.approx(30 / 40)
    assert metrics.iou_per_image[1] is None


def test_class_predicted_but_never_true_scores_zero() -> None:
    metrics = segmentation_metrics(make_counts([[90, 10, 0], [0, 0, 0], [0, 0, 0]]))
    alarm = metrics.classes[0]
    assert (alarm.iou, alarm.acc, alarm.precision, alarm.fscore) == (0.0, None, 0.0, 0.0)
    assert metrics.miou == 0.0
    assert metrics.macc is None


def test_class_true_but_never_predicted_scores_zero() -> None:
    missed = segmentation_metrics(make_counts([[90, 0], [10, 0]])).classes[0]
    assert (missed.iou, missed.acc, missed.precision, missed.fscore) == (0.0, 0.0, None, 0.0)


def test_no_images_define_nothing() -> None:
    empty = HAND.subset(np.array([], np.int64))
    metrics, image_level = segmentation_metrics(empty), image_level_metrics(empty)
    assert metrics.images == 0
    assert metrics.miou is metrics.iou_background is metrics.pixel_accuracy is metrics.miou_per_image is None
    assert (image_level.escape, image_level.overkill) == (None, None)


def test_escape_overkill_and_misplaced() -> None:
    counts = make_counts(
        [[80, 0], [20, 0]],  # defective, nothing found: escaped
        [[80, 5], [20, 0]],  # defective, 5 pixels found in the wrong place: judged defective, misplaced
        [[80, 0], [10, 10]],  # defective and found
        [[100, 0], [0, 0]],  # clean and judged so
        [[97, 3], [0, 0]],  # clean, 3 pixels of false alarm
    )
    loose = image_level_metrics(counts, min_pixels=1)
    assert (loose.defective, loose.clean) == (3, 2)
    assert (loose.escaped, loose.overkilled, loose.misplaced) == (1, 1, 1)
    assert loose.escape == pytest.approx(1 / 3)
    assert loose.overkill == pytest.approx(1 / 2)
    strict = image_level_metrics(counts, min_pixels=6)
    assert (strict.escaped, strict.overkilled, strict.misplaced) == (2, 0, 0)


def test_escape_needs_defective_images_and_overkill_clean_ones() -> None:
    assert image_level_metrics(make_counts([[100, 0], [0, 0]])).escape is None
    assert image_level_metrics(make_counts([[90, 0], [0, 10]])).overkill is None
    with pytest.raises(ValueError, match="min_pixels"):
        image_level_metrics(HAND, min_pixels=0)
