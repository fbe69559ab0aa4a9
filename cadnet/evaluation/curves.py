"""Precision-recall and F-score-threshold curves (paper Fig. 8), and the threshold chosen by them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cadnet.evaluation.counts import Counts, score_thresholds

STEP = 0.002
"""Precision or recall by which two points of a curve are apart at least."""


@dataclass(frozen=True)
class Curve:
    """One class against all else at ascending thresholds: positive is what reaches them.

    Exact at each of them; those between which precision and recall hardly move (:data:`STEP`) are left out.
    ``precision``, ``recall``, ``fscore`` in [0, 1]. Where nothing is predicted precision is 1 and recall 0,
    as in scikit-learn. A class without true pixels has no curve: the three tuples are empty and the summary
    is None.
    """

    thresholds: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    fscore: tuple[float, ...]
    average_precision: float | None
    best_threshold: float | None
    best_fscore: float | None
    positives: int
    negatives: int


def curve(histogram: np.ndarray) -> Curve:
    """Return the curves of one class.

    Args:
        histogram: int64 (2, bins): negative pixels, positive pixels by
            :func:`~cadnet.evaluation.counts.score_thresholds`.

    Raises:
        ValueError: another shape, or no bins.
    """
    if histogram.ndim != 2 or histogram.shape[0] != 2 or histogram.shape[1] == 0:
        raise ValueError(f"expected a histogram (2, bins > 0), got {histogram.shape}; evaluate with bins > 0")
    negatives, positives = (int(total) for total in histogram.sum(axis=1))
    if positives == 0:
        return Curve((), (), (), (), None, None, None, positives, negatives)
    # Cumulated from the top: predicted at threshold i are the bins i and above.
    fp, tp = np.cumsum(histogram[:, ::-1], axis=1)[:, ::-1]
    precision = np.divide(tp, tp + fp, out=np.ones(len(tp)), where=tp + fp > 0)
    recall = tp / positives
    fscore = 2 * tp / (tp + fp + positives)
    best = int(fscore.argmax())
    thresholds = score_thresholds(len(tp))
    kept = _kept(recall, precision, best)
    return Curve(
        thresholds=_floats(thresholds[kept]),
        precision=_floats(precision[kept]),
        recall=_floats(recall[kept]),
        fscore=_floats(fscore[kept]),
        average_precision=float(-np.sum(np.diff(recall, append=0.0) * precision)),
        best_threshold=float(thresholds[best]),
        best_fscore=float(fscore[best]),
        positives=positives,
        negatives=negatives,
    )


def curves(histograms: np.ndarray) -> tuple[Curve, ...]:
    """Return the curves of all classes from histograms (K, 2, bins); none when bins is 0."""
    return tuple(curve(histogram) for histogram in histograms) if histograms.shape[2] else ()


def _kept(recall: np.ndarray, precision: np.ndarray, best: int) -> list[int]:
    """The first point, the last, that of the best Fscore, and all that are :data:`STEP` apart."""
    kept = [0]
    for point in range(1, len(recall)):
        moved = max(abs(recall[point] - recall[kept[-1]]), abs(precision[point] - precision[kept[-1]]))
        if moved >= STEP or point in (best, len(recall) - 1):
            kept.append(point)
    return kept


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


LOWEST = 1e-7
"""At 0 every pixel would be a defect."""


def best_threshold(counts: Counts) -> float:
    """Return the probability in [LOWEST, 1) from which on calling pixels defects gives the highest IoU.

    The Fscore, which the curves hold, is highest at the same threshold. Without a true or a predicted defect
    0.5 is returned.

    Args:
        counts: of validation images, one class, with score bins.

    Raises:
        ValueError: more than one class, or no bins.
    """
    if counts.num_classes != 1 or counts.histograms.shape[2] == 0:
        raise ValueError(
            f"a threshold needs one class and score bins, got {counts.num_classes} classes and "
            f"{counts.histograms.shape[2]} bins"
        )
    (line,) = curves(counts.histograms)
    if line.best_threshold is None or not line.best_fscore:
        return 0.5
    return max(line.best_threshold, LOWEST)
