"""Slices, the JSON form of a result, sample selection, and the loop over a network."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from cadnet.evaluation.counts import CountError, Counts
from cadnet.evaluation.evaluate import evaluate
from cadnet.evaluation.metrics import segmentation_metrics
from cadnet.evaluation.result import EvaluationResult, evaluation_result, per_image_table
from cadnet.evaluation.selection import select_samples
from cadnet.evaluation.slices import all_slices, defect_fraction, slice_by_edges
from cadnet.types import PairBatch, SegOutput

CLASSES = ("line", "abpt")


def image(line: int, abpt: int, missed: int = 0, alarms: int = 0) -> list[list[int]]:
    """A 100-pixel image whose ``line`` and ``abpt`` pixels are found but for ``missed`` line pixels."""
    return [[100 - line - abpt - alarms, alarms, 0], [missed, line - missed, 0], [0, 0, abpt]]


MANIFEST = pd.DataFrame(
    {
        "sample_id": [f"s{i}" for i in range(6)],
        "group": ["p1", "p1", "p2", "p2", "p3", "p3"],
        "subset": ["mixed"] * 6,
        "has_defect": [True, True, True, True, False, False],
        "width": [10] * 6,
    }
)


@pytest.fixture
def counts() -> Counts:
    tables = [image(1, 0), image(5, 0, 1), image(20, 0, 10), image(0, 8), image(0, 0), image(0, 0, alarms=7)]
    histograms = np.zeros((2, 2, 4), np.int64)
    histograms[:, :, 1] = 3
    return Counts(np.arange(6), np.array(tables, np.int64), histograms)


def test_slices_hold_the_metrics_of_their_images(counts: Counts) -> None:
    slices = {(part.by, part.name): part for part in all_slices(counts, MANIFEST, (0.01, 0.1))}
    assert set(slices) == {
        *(("group", name) for name in ("p1", "p2", "p3")),
        *(("has_defect", name) for name in ("False", "True")),
        *(("defect size", name) for name in ("up to 1 %", "1 to 10 %", "above 10 %")),
    }  # subset does not vary, so it is no slice
    assert slices["group", "p1"].metrics.classes[0].iou == pytest.approx(5 / 6)
    assert slices["group", "p1"].metrics.classes[1].iou is None
    assert slices["group", "p3"].image_level.overkill == pytest.approx(0.5)
    assert slices["defect size", "up to 1 %"].metrics.images == 1
    assert slices["defect size", "1 to 10 %"].metrics == segmentation_metrics(counts.subset(np.array([1, 3])))
    assert slices["defect size", "above 10 %"].metrics.miou == pytest.approx(0.5)


def test_slices_follow_the_manifest_row_not_the_position(counts: Counts) -> None:
    part = counts.subset(np.array([2, 3, 5]))
    slices = {part.name: part for part in all_slices(part, MANIFEST, ()) if part.by == "group"}
    assert set(slices) == {"p2", "p3"}
    assert slices["p3"].image_level.overkilled == 1


def test_defect_share_leaves_ignored_pixels_out() -> None:
    tables = np.array(
        [[[40, 0], [5, 5]], [[0, 0], [0, 0]]], np.int64
    )  # 50 of 100 pixels ignored; all ignored
    counts = Counts(np.arange(2), tables, np.zeros((1, 2, 0), np.int64))
    assert defect_fraction(counts).tolist() == [0.2, 0.0]


def test_wrong_manifest_or_edges_are_refused(counts: Counts) -> None:
    with pytest.raises(ValueError, match="manifest has 3 rows"):
        all_slices(counts, MANIFEST.iloc[:3], ())
    with pytest.raises(ValueError, match="ascend"):
        slice_by_edges(counts, "defect size", defect_fraction(counts), (0.1, 0.01))
    with pytest.raises(ValueError, match="2 classes were counted, 1 named"):
        evaluation_result(counts, ("line",))


def test_result_survives_json(counts: Counts) -> None:
    result = evaluation_result(counts, CLASSES, MANIFEST, (0.01, 0.1))
    text = json.dumps(result.to_dict(), allow_nan=False)
    assert EvaluationResult.from_dict(json.loads(text)) == result
    assert result.num_images == 6


def test_result_of_another_version_is_refused(counts: Counts) -> None:
    data = evaluation_result(counts, CLASSES).to_dict()
    data["metrics"]["classes"][1]["tp"] = "many"
    with pytest.raises(ValueError, match=r"evaluate again: metrics\.classes\.1\.tp: "):
        EvaluationResult.from_dict(data)
    del data["curves"]
    with pytest.raises(ValueError, match=r"evaluate again: .*curves: Field required"):
        EvaluationResult.from_dict(data)


def test_scalars_are_flat_and_defined(counts: Counts) -> None:
    values = evaluation_result(counts, CLASSES).scalars()
    # line: tp 1 + 4 + 10, fn 1 + 10, fp 7
    assert values["iou_line"] == pytest.approx(15 / 33)
    assert values["miou"] == pytest.approx((15 / 33 + 1) / 2)
    assert values["overkill"] == 0.5
    assert values["ap_abpt"] == pytest.approx(0.5)
    only_line = evaluation_result(counts.subset(np.array([0, 1])), CLASSES).scalars()
    assert "iou_abpt" not in only_line
    assert "ap_line" not in only_line


def test_per_image_table(counts: Counts) -> None:
    table = per_image_table(counts, CLASSES, MANIFEST).set_index("sample_id")
    assert table.loc["s2", ["tp_line", "fp_line", "fn_line", "err_pixels"]].tolist() == [10, 0, 10, 10]
    assert table.loc["s2", "iou_line"] == pytest.approx(0.5)
    assert table.loc["s5", "iou_defect"] == 0
    assert np.isnan(table.loc["s4", "iou_line"])
    assert "width" not in table


def test_selection_follows_its_rule(counts: Counts) -> None:
    chosen = select_samples({"one": counts}, CLASSES, limit=4)
    # line IoU: s2 0.5, s1 0.8, s0 1.0; abpt only in s3; most false alarms on a clean image: s5
    assert [(c.index, c.reason) for c in chosen] == [
        (1, "line: median"),
        (3, "abpt: median"),
        (2, "line: worst"),
        (5, "clean: most false alarms"),
    ]
    assert len({c.index for c in select_samples({"one": counts}, CLASSES, limit=50)}) == 5
    assert [c.index for c in select_samples({"one": counts}, CLASSES, limit=1)] == [1]


def test_selection_averages_over_methods(counts: Counts) -> None:
    confusion = counts.confusion.copy()
    confusion[0] = image(1, 0, missed=1)  # the other method misses the line of s0
    other = Counts(counts.index, confusion, counts.histograms)
    chosen = {c.reason: c.index for c in select_samples({"one": counts, "two": other}, CLASSES, limit=8)}
    # mean line IoU: s0 (1 + 0) / 2, s2 0.5, s1 0.8; the tie falls to the lower row
    assert (chosen["line: worst"], chosen["line: median"], chosen["line: best"]) == (0, 2, 1)
    with pytest.raises(ValueError, match="same images"):
        select_samples({"one": counts, "two": counts.subset(np.array([1]))}, CLASSES, 3)


class Difference(nn.Module):
    """Calls defective what differs from the reference; in training mode it calls nothing defective."""

    def forward(self, image: Tensor, reference: Tensor) -> SegOutput:
        changed = (image - reference).abs().sum(1, keepdim=True) > 0
        defect = torch.where(changed, 8.0, -8.0) * (not self.training)
        return SegOutput(torch.cat([torch.zeros_like(defect), defect], 1))


def batches() -> list[PairBatch]:
    image = torch.zeros(4, 3, 8, 8)
    image[:2, :, :4] = 1
    mask = (image[:, 0] > 0).long()
    return [
        PairBatch(image[i : i + 2], torch.zeros(2, 3, 8, 8), mask[i : i + 2], torch.arange(i, i + 2))
        for i in (0, 2)
    ]


@pytest.mark.parametrize("bf16", [False, True])
def test_evaluate_runs_the_network_in_eval_mode_and_restores_it(bf16: bool) -> None:
    model, seen = Difference().train(), []
    counts = evaluate(model, batches(), 4, ("defect",), "cpu", bins=10, bf16=bf16, on_batch=seen.append)
    assert model.training
    assert counts.pooled.tolist() == [[192, 0], [0, 64]]
    # Log-odds of -8 and 8, in ten steps from -16 to 16.
    assert counts.histograms[0].tolist() == [[0, 0, 192, *[0] * 7], [*[0] * 7, 64, 0, 0]]
    assert seen == [2, 2]


def test_evaluate_notices_missing_images() -> None:
    with pytest.raises(CountError, match="2 images were scored where the split has 4"):
        evaluate(Difference(), batches()[:1], 4, ("defect",), "cpu")
