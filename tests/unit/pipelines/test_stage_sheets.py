"""Pictures of test samples: whose maps are shown, and what a prediction holds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from cadnet.config import ProjectParams, load_params
from cadnet.datasets.cache import decode_split
from cadnet.datasets.device import DevicePairs
from cadnet.datasets.manifest import open_dataset
from cadnet.evaluation.slices import contrast_edges
from cadnet.files import read_json
from cadnet.models.factory import build_model
from cadnet.models.weights import save_weights
from pipelines.stages.evaluate import evaluate
from pipelines.stages.sheets import predict, sample_pictures
from pipelines.trials import CACHE, TrialName
from tests.fakes import CLASSES

pytestmark = pytest.mark.slow

METHODS = ("segformer", "cadnet")


@pytest.fixture
def params(project: Path) -> ProjectParams:
    """The project's parameters, with both methods scored from random weights."""
    params = load_params(project / "params.yaml")
    digest = open_dataset(Path("datasets/synlcd")).digest
    for name in METHODS:
        torch.manual_seed(0)
        metadata = {
            "fingerprint": "f" * 64,
            "dataset": {"name": "synlcd", "digest": digest},
            "method": name,
            "seed": 0,
        }
        save_weights(
            TrialName("synlcd", name, 0).model, build_model(name, 2), name=name, num_classes=2,
            class_names=CLASSES, metadata=metadata,
        )  # fmt: skip
        evaluate(TrialName("synlcd", name, 0), params)
    return params


def test_maps_are_of_the_first_siamese_method(params: ProjectParams) -> None:
    dataset = open_dataset(Path("datasets/synlcd"))
    trials = [TrialName("synlcd", name, 0) for name in METHODS]
    pictures = sample_pictures(dataset, trials, params)
    assert pictures.maps is not None
    (maps,) = pictures.maps.pictures
    assert "DistMap and defect probability of CADNet" in maps.alt and "largest feature distance" in maps.alt
    assert params.run.scale in maps.alt and "seed 0" in maps.alt
    assert "the median" in pictures.overlays.caption
    shown = [maps, *pictures.first.pictures, *pictures.overlays.pictures]
    sizes = [cv2.imdecode(np.frombuffer(one.png, np.uint8), cv2.IMREAD_COLOR).shape for one in shown]
    # One row of the same sheet.
    assert sizes[1][1] == sizes[2][1] and sizes[1][0] < sizes[2][0]
    assert "SegFormer, CADNet" in pictures.overlays.pictures[0].alt
    assert sample_pictures(dataset, trials[:1], params).maps is None

    pairs, index = DevicePairs(decode_split(dataset, "test", CACHE)), torch.tensor([0, 3])
    plain, seen = (predict(trial, pairs, index) for trial in trials)
    assert plain.distance is None
    assert seen.distance is not None and seen.distance.shape == (2, 8, 8) and (seen.distance >= 0).all()
    assert seen.labels.shape == seen.probability.shape == (2, 32, 32)
    assert seen.probability.min() >= 0 and seen.probability.max() <= 1
    # What is called background is more likely so than any one defect class, so at most two thirds defect.
    assert (seen.probability[seen.labels == 0] <= 2 / 3 + 1e-6).all()


def test_evaluation_measures_contrast(params: ProjectParams) -> None:
    assert params.evaluate.contrast_bins == 3
    folder = TrialName("synlcd", "cadnet", 0).evaluation
    images = pd.read_csv(folder / "images.csv")
    assert images["contrast"].notna().tolist() == images["has_defect"].astype(bool).tolist()
    # Bright bars and dark squares on a clean copy of the reference.
    assert (images["contrast"].dropna() > 20).all()
    result = read_json(folder / "result.json")
    assert tuple(result["contrast_edges"]) == contrast_edges(images["contrast"].to_numpy(), 3)
    parts = [part for part in result["slices"] if part["by"] == "defect contrast"]
    assert sum(part["metrics"]["images"] for part in parts) == int(images["has_defect"].sum())


def test_groups_and_subsets_have_readable_names(project: Path) -> None:
    facts = load_params(project / "params.yaml").datasets["synlcd"]
    assert (facts.group_title, facts.subset_title) == ("display pattern", "subset")
