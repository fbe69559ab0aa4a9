"""Reductions of counts to the numbers of the paper's tables.

Names: "pooled" numbers (``iou``, ``miou``, ...) come from the confusion matrix summed over all images, as
in the paper's Tables 3-5 and 7; ``..._per_image`` numbers are means over images. Means over classes take
**defect classes only**. Undefined values are None: left out of means and written as null.

Undefined, once for all, with tp, fp, fn of a class:

* IoU and Fscore: undefined when the class is neither in the truth nor predicted (tp + fp + fn = 0). A class
  that is predicted but never true scores 0, so false alarms on clean images cost.
* Acc (recall, as mmsegmentation calls it): undefined without true pixels. Precision: undefined without
  predictions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cadnet.evaluation.counts import Counts


@dataclass(frozen=True)
class ClassMetrics:
    """One class, pooled over images; ratios in [0, 1] or None when undefined."""

    iou: float | None
    acc: float | None
    precision: float | None
    fscore: float | None
    tp: int
    fp: int
    fn: int


@dataclass(frozen=True)
class SegmentationMetrics:
    """All pixel metrics of one set of images; ratios in [0, 1] or None when undefined.

    ``classes`` is in class order 1..K. ``defect`` takes all defect classes as one. ``per_image`` means
    count an image for a class when the class is present or predicted; ``per_present_image`` only when it is
    present, which ignores false alarms elsewhere (the protocol some published rows seem to use).
    """

    images: int
    classes: tuple[ClassMetrics, ...]
    defect: ClassMetrics
    miou: float | None
    macc: float | None
    mprecision: float | None
    mfscore: float | None
    iou_background: float | None
    pixel_accuracy: float | None
    iou_per_image: tuple[float | None, ...]
    miou_per_image: float | None
    mfscore_per_image: float | None
    miou_per_present_image: float | None
    mfscore_per_present_image: float | None


@dataclass(frozen=True)
class ImageLevelMetrics:
    """Decisions per image: defective when at least ``min_pixels`` pixels are predicted defective.

    ``escape`` = ``escaped`` / ``defective``: defective images judged clean (false negative rate).
    ``overkill`` = ``overkilled`` / ``clean``: clean images judged defective (false positive rate). Both are
    None without such images. ``misplaced``: defective images judged defective though no predicted defect
    pixel is a true one (of any class).
    """

    min_pixels: int
    defective: int
    clean: int
    escaped: int
    overkilled: int
    misplaced: int
    escape: float | None
    overkill: float | None


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return ``numerator / denominator`` as float64, NaN where the denominator is 0."""
    result = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    return np.divide(numerator, denominator, out=result, where=np.asarray(denominator) != 0)


def iou_array(confusion: np.ndarray) -> np.ndarray:
    """IoU per class, float64 (..., K+1), from confusion matrices (..., K+1, K+1); NaN where undefined."""
    tp, fp, fn = _tp_fp_fn(confusion)
    return ratio(tp, tp + fp + fn)


def fscore_array(confusion: np.ndarray) -> np.ndarray:
    """F1 per class, float64 (..., K+1), from confusion matrices (..., K+1, K+1); NaN where undefined."""
    tp, fp, fn = _tp_fp_fn(confusion)
    return ratio(2 * tp, 2 * tp + fp + fn)


def merge_defects(confusion: np.ndarray) -> np.ndarray:
    """Confusion matrices (..., 2, 2) of background against any defect class, from (..., K+1, K+1)."""
    return np.stack(
        [
            np.stack([confusion[..., 0, 0], confusion[..., 0, 1:].sum(-1)], -1),
            np.stack([confusion[..., 1:, 0].sum(-1), confusion[..., 1:, 1:].sum((-2, -1))], -1),
        ],
        -2,
    )


def segmentation_metrics(counts: Counts) -> SegmentationMetrics:
    """Reduce counts to pixel metrics (paper, "Metrics")."""
    pooled = counts.pooled
    classes = tuple(_class_metrics(pooled, k) for k in range(1, counts.num_classes + 1))
    iou, fscore = iou_array(counts.confusion)[:, 1:], fscore_array(counts.confusion)[:, 1:]
    present = counts.confusion[:, 1:].sum(-1) > 0
    present_iou, present_fscore = (np.where(present, values, np.nan) for values in (iou, fscore))
    return SegmentationMetrics(
        images=counts.num_images,
        classes=classes,
        defect=_class_metrics(merge_defects(pooled), 1),
        miou=mean_defined([c.iou for c in classes]),
        macc=mean_defined([c.acc for c in classes]),
        mprecision=mean_defined([c.precision for c in classes]),
        mfscore=mean_defined([c.fscore for c in classes]),
        iou_background=defined(iou_array(pooled)[0]),
        pixel_accuracy=defined(ratio(np.trace(pooled), pooled.sum())),
        iou_per_image=_image_means(iou),
        miou_per_image=mean_defined(_image_means(iou)),
        mfscore_per_image=mean_defined(_image_means(fscore)),
        miou_per_present_image=mean_defined(_image_means(present_iou)),
        mfscore_per_present_image=mean_defined(_image_means(present_fscore)),
    )


def image_level_metrics(counts: Counts, min_pixels: int = 1) -> ImageLevelMetrics:
    """Reduce counts to escape and overkill.

    Raises:
        ValueError: ``min_pixels`` is below 1, which would judge every image defective.
    """
    if min_pixels < 1:
        raise ValueError(f"min_pixels must be at least 1, got {min_pixels}")
    defective = counts.confusion[:, 1:].sum((1, 2)) > 0
    judged = counts.confusion[:, :, 1:].sum((1, 2)) >= min_pixels
    touched = counts.confusion[:, 1:, 1:].sum((1, 2)) > 0
    escaped, overkilled = int((defective & ~judged).sum()), int((~defective & judged).sum())
    return ImageLevelMetrics(
        min_pixels=min_pixels,
        defective=int(defective.sum()),
        clean=int((~defective).sum()),
        escaped=escaped,
        overkilled=overkilled,
        misplaced=int((defective & judged & ~touched).sum()),
        escape=escaped / int(defective.sum()) if defective.any() else None,
        overkill=overkilled / int((~defective).sum()) if not defective.all() else None,
    )


def defined(value: float | np.ndarray) -> float | None:
    """Return a float, or None for NaN."""
    return None if np.isnan(value) else float(value)


def mean_defined(values: list[float | None] | tuple[float | None, ...]) -> float | None:
    """Return the mean of the values that are not None, or None when none is left."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _image_means(values: np.ndarray) -> tuple[float | None, ...]:
    """Mean over images of (N, K) values, NaN left out."""
    means = ratio(np.nansum(values, axis=0), np.isfinite(values).sum(axis=0))
    return tuple(defined(mean) for mean in means)


def _tp_fp_fn(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    tp = np.diagonal(confusion, axis1=-2, axis2=-1)
    return tp, confusion.sum(-2) - tp, confusion.sum(-1) - tp


def _class_metrics(pooled: np.ndarray, k: int) -> ClassMetrics:
    tp, fp, fn = (int(values[k]) for values in _tp_fp_fn(pooled))
    return ClassMetrics(
        iou=tp / (tp + fp + fn) if tp + fp + fn else None,
        acc=tp / (tp + fn) if tp + fn else None,
        precision=tp / (tp + fp) if tp + fp else None,
        fscore=2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None,
        tp=tp,
        fp=fp,
        fn=fn,
    )
