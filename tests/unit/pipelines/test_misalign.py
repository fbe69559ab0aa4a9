"""Pairs that are apart by a known motion: what is moved, and what the stage and the report say of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from cadnet.config import load_params
from cadnet.evaluation.misalignment import moved
from cadnet.files import read_json
from cadnet.reporting.grids import misalignment_section
from cadnet.types import PairBatch
from pipelines.stages import evaluate, misalign
from pipelines.trials import TrialName, misaligned_trials
from tests.unit.pipelines.test_stage_weights import MODEL, TRIAL, save

Edit = Callable[[str, object], None]


def batch(index: int = 0) -> PairBatch:
    generator = torch.Generator().manual_seed(0)
    image, reference = torch.rand(2, 1, 3, 8, 8, generator=generator)
    mask = torch.randint(3, (1, 8, 8), generator=generator)
    return PairBatch(image, reference, mask, torch.tensor([index]))


def test_a_shift_moves_image_and_mask_and_leaves_the_reference() -> None:
    pairs = batch()
    apart = moved(pairs, 3.0, 0.0)
    # The first sample goes to the right.
    torch.testing.assert_close(apart.image[..., 3:], pairs.image[..., :-3], atol=1e-5, rtol=0)
    assert torch.equal(apart.mask[..., 3:], pairs.mask[..., :-3]) and (apart.mask[..., :3] == 255).all()
    torch.testing.assert_close(apart.image[..., 0], pairs.image[..., 0], atol=1e-5, rtol=0)
    assert torch.equal(apart.reference, pairs.reference)
    assert moved(pairs, 0.0, 0.0) is pairs
    # The next one elsewhere, as far.
    other = moved(batch(1), 3.0, 0.0).mask
    assert not torch.equal(other, apart.mask) and (other == 255).any()


@pytest.mark.parametrize(("index", "quarters"), [(0, -1), (1, 1)])
def test_a_turn_is_about_the_middle_to_either_side(index: int, quarters: int) -> None:
    pairs = batch(index)
    apart = moved(pairs, 0.0, 90.0)
    torch.testing.assert_close(apart.image, pairs.image.rot90(quarters, (2, 3)), atol=1e-4, rtol=0)
    assert torch.equal(apart.mask, pairs.mask.rot90(quarters, (1, 2)))


def test_scores_by_shift_and_angle_and_their_section(
    project: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit("misalignment", {"methods": ["cadnet"], "shifts": [0.0, 32.0], "angles": [2.0]})
    save(MODEL)
    monkeypatch.setattr(sys, "argv", ["stage", *TRIAL])
    evaluate.main()
    misalign.main()
    (trial,) = misaligned_trials(load_params())
    assert trial == TrialName("synlcd", "cadnet", 0)
    table = pd.read_csv(trial.misaligned)
    assert table[["kind", "amount"]].to_numpy().tolist() == [["shift", 0.0], ["shift", 32.0], ["angle", 2.0]]
    aligned = read_json(trial.metrics)
    for metric in ("iou_defect", "miou"):
        assert table[metric][0] == pytest.approx(aligned[metric], abs=1e-5)
    # 32 of 512 are 2 of these images' 32.
    assert table["iou_defect"][1] != table["iou_defect"][0]
    found = table.assign(method="cadnet", seed=0)
    section = misalignment_section(
        found, {"cadnet": "CADNet"}, "cadnet", "synlcd-misaligned", "SynLCD", "tiny"
    )
    assert list(section.pictures()) == ["misalignment-1", "misalignment-2"]
    own = section.tables["synlcd-misaligned"]
    assert own["iou_defect"].tolist() == pytest.approx((100 * table["iou_defect"]).tolist())
