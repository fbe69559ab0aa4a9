"""All metrics of one network on one split, as one JSON-safe value."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from pydantic import ConfigDict, TypeAdapter, ValidationError

from cadnet.evaluation.counts import Counts
from cadnet.evaluation.curves import Curve, curves
from cadnet.evaluation.metrics import (
    ImageLevelMetrics,
    SegmentationMetrics,
    fscore_array,
    image_level_metrics,
    iou_array,
    merge_defects,
    segmentation_metrics,
)
from cadnet.evaluation.slices import Slice, all_slices, contrast_edges, scored_rows


@dataclass(frozen=True)
class EvaluationResult:
    """The metrics of one network on one split.

    ``class_names`` names the defect classes in the order of ``metrics.classes`` and ``curves`` (empty when
    no score histograms were kept). ``contrast_edges``: grey levels between the slices by defect contrast.
    Ratios are in [0, 1]; None is "not defined", see :mod:`cadnet.evaluation.metrics`.
    """

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    class_names: tuple[str, ...]
    metrics: SegmentationMetrics
    image_level: ImageLevelMetrics
    curves: tuple[Curve, ...]
    slices: tuple[Slice, ...]
    contrast_edges: tuple[float, ...] = ()

    @property
    def num_images(self) -> int:
        """Number of images scored."""
        return self.metrics.images

    def scalars(self) -> dict[str, float]:
        """Return the defined headline numbers under flat names, for a tracker or ``dvc metrics``.

        Names: each number of :class:`SegmentationMetrics` by its field's, that is
        ``miou, macc, mprecision, mfscore`` (pooled, defect classes), ``miou_per_image``,
        ``mfscore_per_image``, ``miou_per_present_image``, ``mfscore_per_present_image``, ``iou_background``,
        ``pixel_accuracy``, ``iou_defect, acc_defect, precision_defect, fscore_defect`` (all classes as one),
        ``escape``, ``overkill`` and per class ``iou_<class>, acc_<class>, precision_<class>, fscore_<class>,
        ap_<class>``.
        """
        metrics = self.metrics
        values: dict[str, float | None] = {
            name: value for name, value in vars(metrics).items() if value is None or isinstance(value, float)
        }
        values |= {"escape": self.image_level.escape, "overkill": self.image_level.overkill}
        for name, one in zip(("defect", *self.class_names), (metrics.defect, *metrics.classes), strict=True):
            for key in ("iou", "acc", "precision", "fscore"):
                values[f"{key}_{name}"] = getattr(one, key)
        for name, line in zip(self.class_names, self.curves, strict=False):
            values[f"ap_{name}"] = line.average_precision
        return {name: value for name, value in values.items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return nested dicts and lists that JSON can hold exactly (no NaN)."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Rebuild what :meth:`to_dict` gave, also after a way through JSON.

        Raises:
            ValueError: a key is missing or unknown: the file was written by another version.
        """
        try:
            # As JSON, where strict mode accepts lists for tuples.
            return TypeAdapter(cls).validate_json(json.dumps(data))
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ValueError(f"the result is of another version, evaluate again: {wrong}") from error


def evaluation_result(
    counts: Counts,
    class_names: Sequence[str],
    manifest: pd.DataFrame | None = None,
    defect_sizes: Sequence[float] = (),
    min_pixels: int = 1,
    *,
    contrast: np.ndarray | None = None,
    contrast_bins: int = 3,
) -> EvaluationResult:
    """Reduce counts to a result; no slices without a ``manifest``.

    Args:
        counts: of the scored images.
        class_names: the defect classes 1..K.
        manifest: the split's manifest, whose row numbers are ``counts.index``.
        defect_sizes: upper edges of the size slices, as fractions of the image.
        min_pixels: predicted defect pixels from which an image is judged defective.
        contrast: of each row of ``manifest`` (:func:`~cadnet.evaluation.slices.defect_contrast`).
        contrast_bins: slices by contrast, equally filled.

    Raises:
        ValueError: the names or the manifest do not fit the counts.
    """
    if len(class_names) != counts.num_classes:
        raise ValueError(
            f"{counts.num_classes} classes were counted, {len(class_names)} named: {class_names}"
        )
    edges = () if contrast is None else contrast_edges(contrast[counts.index], contrast_bins)
    slices: tuple[Slice, ...] = ()
    if manifest is not None:
        slices = all_slices(
            counts, manifest, defect_sizes, min_pixels, contrast=contrast, contrast_edges=edges
        )
    return EvaluationResult(
        class_names=tuple(class_names),
        metrics=segmentation_metrics(counts),
        image_level=image_level_metrics(counts, min_pixels),
        curves=curves(counts.histograms),
        slices=slices,
        contrast_edges=edges,
    )


def per_image_table(
    counts: Counts,
    class_names: Sequence[str],
    manifest: pd.DataFrame,
    contrast: np.ndarray | None = None,
) -> pd.DataFrame:
    """One row per image, to find bad cases and to bootstrap from.

    Columns: those of the manifest that name the image (``sample_id, subset, group, has_defect``),
    ``contrast`` in grey levels if given, ``err_pixels`` (wrong pixels of any kind), ``iou_defect`` and per
    class ``tp_, fp_, fn_, iou_, fscore_<class>``; NaN is "not defined".
    """
    rows = scored_rows(counts, manifest)
    kept = [name for name in ("sample_id", "subset", "group", "has_defect") if name in rows]
    table = rows[kept].reset_index(drop=True)
    if contrast is not None:
        table["contrast"] = contrast[counts.index]
    confusion = counts.confusion
    iou, fscore = iou_array(confusion), fscore_array(confusion)
    table["err_pixels"] = confusion.sum((1, 2)) - confusion.diagonal(axis1=1, axis2=2).sum(1)
    table["iou_defect"] = iou_array(merge_defects(confusion))[:, 1]
    for k, name in enumerate(class_names, start=1):
        tp = confusion[:, k, k]
        table[f"tp_{name}"] = tp
        table[f"fp_{name}"] = confusion[:, :, k].sum(1) - tp
        table[f"fn_{name}"] = confusion[:, k].sum(1) - tp
        table[f"iou_{name}"] = iou[:, k]
        table[f"fscore_{name}"] = fscore[:, k]
    return table
