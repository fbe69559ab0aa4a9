"""Curves against scikit-learn on binned scores, and their edges."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve

from cadnet.evaluation.curves import curve, curves


def binned(seed: int, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, bin numbers of their scores, and the histogram of both."""
    rng = np.random.default_rng(seed)
    labels = rng.random(3000) < 0.2
    score = np.clip(rng.beta(2, 5, labels.size) + 0.3 * labels, 0, 1)
    place = np.minimum((score * bins).astype(int), bins - 1)
    histogram = np.stack([np.bincount(place[labels == side], minlength=bins) for side in (False, True)])
    return labels, place, histogram


@pytest.mark.parametrize("bins", [2, 16, 100])
def test_agrees_with_scikit_learn_on_binned_scores(bins: int) -> None:
    labels, place, histogram = binned(bins, bins)
    result = curve(histogram)
    assert result.average_precision == pytest.approx(average_precision_score(labels, place))
    precision, recall, thresholds = precision_recall_curve(labels, place)
    for value, p, r in zip(thresholds, precision, recall, strict=False):
        assert result.precision[int(value)] == pytest.approx(p)
        assert result.recall[int(value)] == pytest.approx(r)
    scores = [f1_score(labels, place >= i) for i in range(bins)]
    assert result.fscore == pytest.approx(scores)
    assert result.best_threshold == pytest.approx(np.argmax(scores) / bins)
    assert result.best_fscore == pytest.approx(max(scores))


def test_hand_computed_curve() -> None:
    result = curve(np.array([[6, 2, 0, 0], [0, 1, 0, 3]]))
    assert result.thresholds == (0.0, 0.25, 0.5, 0.75)
    assert result.precision == pytest.approx((4 / 12, 4 / 6, 1, 1))
    assert result.recall == pytest.approx((1, 1, 0.75, 0.75))
    assert result.fscore == pytest.approx((8 / 16, 8 / 10, 6 / 7, 6 / 7))
    assert result.average_precision == pytest.approx(0.75 * 1 + 0.25 * 4 / 6)
    # Equal Fscores: the lowest threshold, which misses least.
    assert result.best_threshold == 0.5
    assert (result.positives, result.negatives) == (4, 8)


def test_no_prediction_above_a_threshold_has_precision_one() -> None:
    result = curve(np.array([[5, 0, 0], [0, 5, 0]]))
    assert (result.precision[2], result.recall[2], result.fscore[2]) == (1.0, 0.0, 0.0)


def test_without_positives_there_is_no_curve() -> None:
    result = curve(np.array([[5, 1], [0, 0]]))
    assert (result.thresholds, result.precision, result.recall, result.fscore) == ((), (), (), ())
    assert result.average_precision is result.best_threshold is result.best_fscore is None
    assert result.negatives == 6


def test_without_negatives_precision_is_one_everywhere() -> None:
    result = curve(np.array([[0, 0], [3, 1]]))
    assert result.precision == (1.0, 1.0)
    assert result.average_precision == pytest.approx(1.0)
    assert (result.best_threshold, result.best_fscore) == (0.0, 1.0)


def test_shapes_are_checked_and_no_bins_mean_no_curves() -> None:
    assert curves(np.zeros((3, 2, 0), np.int64)) == ()
    assert len(curves(np.ones((3, 2, 5), np.int64))) == 3
    with pytest.raises(ValueError, match="expected a histogram"):
        curve(np.zeros((2, 0), np.int64))
