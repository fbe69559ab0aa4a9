"""Contrast of defects by hand, its bins, and the slices by it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cadnet.evaluation.counts import Counts
from cadnet.evaluation.result import EvaluationResult, evaluation_result, per_image_table
from cadnet.evaluation.slices import (
    MOST_SLICES,
    all_slices,
    contrast_edges,
    contrast_names,
    defect_contrast,
    slice_by_contrast,
)


def one_image(image: np.ndarray, mask: list[list[int]], reference: int = 100) -> float:
    """Contrast of a 2 x 4 image against a flat reference."""
    references = np.full((2, 3, 2, 4), reference, np.uint8)
    references[0] = 0
    found = defect_contrast(image[None], references, np.array([1]), np.array([mask], np.uint8))
    return float(found[0])


@pytest.fixture
def image() -> np.ndarray:
    """Grey 100; a defect of 160, 40, 100 in its channels at (0, 0) and (0, 1); 10 brighter at (1, 3)."""
    image = np.full((3, 2, 4), 100, np.uint8)
    image[0, 0, :2], image[1, 0, :2] = 160, 40
    image[:, 1, 3] = 110
    return image


def test_contrast_by_hand(image: np.ndarray) -> None:
    # Inside: (60 + 60 + 0) / 3 = 40; outside: 10 at one of six pixels.
    assert one_image(image, [[1, 2, 0, 0], [0, 0, 0, 0]]) == pytest.approx(40 - 10 / 6)
    # Ignored pixels are neither: the bright one no longer counts as background.
    assert one_image(image, [[1, 1, 0, 0], [0, 0, 0, 255]]) == pytest.approx(40)
    # Half of the mask lies on unchanged pixels.
    assert one_image(image, [[1, 1, 1, 1], [0, 0, 0, 255]]) == pytest.approx(20)


def test_what_changes_everywhere_is_no_contrast(image: np.ndarray) -> None:
    mask = [[1, 2, 0, 0], [0, 0, 0, 0]]
    flat = np.full((3, 2, 4), 130, np.uint8)
    assert one_image(flat, mask) == pytest.approx(0)
    # Where only the surroundings differ the contrast is negative.
    assert one_image(image, [[0, 0, 0, 0], [1, 0, 0, 0]]) == pytest.approx(-(2 * 40 + 10) / 7)


def test_without_defect_or_background_there_is_no_contrast(image: np.ndarray) -> None:
    assert np.isnan(one_image(image, [[0, 0, 0, 0], [0, 0, 0, 255]]))
    assert np.isnan(one_image(image, [[1, 1, 1, 1], [1, 1, 1, 255]]))


def test_agrees_with_the_definition_on_noise() -> None:
    rng = np.random.default_rng(0)
    images, references = (rng.integers(0, 256, (n, 3, 9, 7), dtype=np.uint8) for n in (5, 2))
    masks = rng.choice(np.array([0, 0, 1, 2, 255], np.uint8), (5, 9, 7))
    index = np.array([0, 1, 1, 0, 1])
    expected = []
    for image, mask, row in zip(images, masks, index, strict=True):
        apart = np.abs(image.astype(int) - references[row]).mean(axis=0)
        expected.append(apart[(mask == 1) | (mask == 2)].mean() - apart[mask == 0].mean())
    assert defect_contrast(images, references, index, masks) == pytest.approx(np.array(expected))
    with pytest.raises(ValueError, match="do not fit"):
        defect_contrast(images[:4], references, index, masks)


def test_edges_fill_bins_equally_and_are_rounded() -> None:
    values = np.array([np.nan, 1, 2, 3, 4, 5, 6.04, np.nan])
    assert contrast_edges(values, 3) == (2.7, 4.3)  # 1 + 5/3 and 1 + 10/3
    assert contrast_edges(values, 1) == ()
    assert contrast_edges(np.array([7.0, 7.0, 7.0]), 3) == (7.0,)
    assert contrast_edges(np.array([np.nan]), 3) == ()
    assert contrast_names((2.7, 4.3)) == ("up to 2.7", "2.7 to 4.3", "above 4.3")
    assert contrast_names(()) == ("any",)


def counts_of(images: int) -> Counts:
    confusion = np.tile(np.array([[90, 0], [2, 8]], np.int64), (images, 1, 1))
    confusion[:, 1, 1] += np.arange(images)
    return Counts(np.arange(images), confusion, np.zeros((1, 2, 0), np.int64))


def test_slices_by_contrast_hold_what_lies_up_to_their_edge() -> None:
    values = np.array([5.0, np.nan, 20.0, -3.0, 10.0])
    slices = slice_by_contrast(counts_of(5), values, (5.0, 10.0))
    assert [(part.name, part.metrics.images) for part in slices] == [
        ("up to 5", 2), ("5 to 10", 1), ("above 10", 1),
    ]  # fmt: skip
    assert slices[1].metrics.classes[0].tp == 8 + 4
    assert [part.name for part in slice_by_contrast(counts_of(5), values, (50.0,))] == ["up to 50"]
    with pytest.raises(ValueError, match="ascend"):
        slice_by_contrast(counts_of(5), values, (2.0, 1.0))


def test_a_result_records_contrast_and_its_edges() -> None:
    manifest = pd.DataFrame({"sample_id": [f"s{i}" for i in range(6)], "has_defect": True})
    contrast = np.array([1.0, 2, 3, 4, 5, 6])
    result = evaluation_result(counts_of(6), ("spot",), manifest, contrast=contrast, contrast_bins=2)
    assert result.contrast_edges == (3.5,)
    parts = [part for part in result.slices if part.by == "defect contrast"]
    assert [(part.name, part.metrics.images) for part in parts] == [("up to 3.5", 3), ("above 3.5", 3)]
    assert EvaluationResult.from_dict(result.to_dict()) == result
    table = per_image_table(counts_of(6), ("spot",), manifest, contrast)
    assert table["contrast"].tolist() == contrast.tolist()
    assert "contrast" not in per_image_table(counts_of(6), ("spot",), manifest)


def test_contrast_follows_the_manifest_row() -> None:
    part = counts_of(6).subset(np.array([1, 4]))
    manifest = pd.DataFrame({"sample_id": [f"s{i}" for i in range(6)]})
    slices = all_slices(part, manifest, (), contrast=np.arange(6.0), contrast_edges=(2.0,))
    named = {p.name: p.metrics.classes[0].tp for p in slices if p.by == "defect contrast"}
    assert named == {"up to 2": 9, "above 2": 12}


@pytest.mark.parametrize(("values", "sliced"), [(1, False), (2, True), (MOST_SLICES, True), (60, False)])
def test_single_photographs_are_no_slices(values: int, sliced: bool) -> None:
    manifest = pd.DataFrame({"group": [str(i % values) for i in range(60)], "subset": "all"})
    slices = all_slices(counts_of(60), manifest, ())
    assert ("group" in {part.by for part in slices}) is sliced
