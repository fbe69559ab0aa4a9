"""What is measured of a prepared dataset, right or wrong."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from cadnet.images import write_png
from cadnet.validation.facts import collect_facts, measure_images, measure_masks, read_table
from tests.fakes import write_fake_dataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_fake_dataset(tmp_path / "fake")


def test_an_image_is_measured_by_hand_computed_values(tmp_path: Path) -> None:
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, 20:] = (200, 100, 0)
    write_png(tmp_path / "a.png", image)
    write_png(tmp_path / "flat.png", np.full((20, 40, 3), 7, np.uint8))
    facts = measure_images(tmp_path, ["a.png", "flat.png", "a.png"])
    assert list(facts) == ["a.png", "flat.png"]
    fact = facts["a.png"]
    assert (fact.width, fact.height, fact.problem, fact.flat) == (40, 20, "", False)
    assert fact.mean == pytest.approx((100, 50, 0))
    assert fact.sd == pytest.approx((100, 50, 0))
    # Grey by ITU-R BT.601: 0.299 * 200 + 0.587 * 100 = 118.5.
    assert fact.brightness == pytest.approx(59.25, abs=0.5)
    assert fact.contrast == pytest.approx(59.25, abs=0.5)
    assert facts["flat.png"].flat
    assert fact.digest != facts["flat.png"].digest


def test_a_masks_regions_are_told_apart(tmp_path: Path) -> None:
    mask = np.zeros((30, 30), np.uint8)
    mask[2:4, 3:8] = 1
    mask[4, 8] = 1  # joined by its corner
    mask[10:12, 10:13] = 1
    mask[20:25, 20] = 2
    mask[28, 28] = 255
    write_png(tmp_path / "m.png", mask)
    fact = measure_masks(tmp_path, ["m.png"], 3)["m.png"]
    assert (fact.width, fact.height, fact.form, fact.wrong) == (30, 30, "", ())
    assert fact.pixels == (17, 5, 0)
    assert fact.defects.tolist() == [[1, 3, 2, 6, 3, 11], [1, 10, 10, 3, 2, 6], [2, 20, 20, 1, 5, 5]]
    assert measure_masks(tmp_path, ["m.png"], 1)["m.png"].wrong == (2,)


def test_unusable_files_say_why(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture", "utf-8")
    (tmp_path / "folder").mkdir()
    names = [
        "text.png",
        "none.png",
        "folder",
        "",
        "../x.png",
        str(tmp_path / "text.png"),
        "a\\b.png",
        "n\0.png",
    ]
    facts = measure_images(tmp_path, names)
    expected = ["cannot be decoded", "does not exist", "does not exist", "no file is named"]
    expected += ["leads out of its folder"] * 2 + ["has a backslash", "has a control character"]
    for name, text in zip(names, expected, strict=True):
        assert facts[name].problem, name
        assert text in facts[name].problem


@pytest.mark.parametrize(
    ("mask", "form"),
    [
        (np.zeros((8, 8, 3), np.uint8), "has 3 channels of 8 bits"),
        (np.zeros((8, 8), np.uint16), "has 1 channels of 16 bits"),
        (np.zeros((8, 8, 4), np.uint8), "has 4 channels of 8 bits"),
    ],
)
def test_masks_of_another_form(tmp_path: Path, mask: np.ndarray, form: str) -> None:
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    fact = measure_masks(tmp_path, ["m.png"], 2)["m.png"]
    assert (fact.problem, fact.form, fact.pixels) == ("", form, ())


def test_facts_agree_with_a_sound_manifest(root: Path) -> None:
    table = read_table(root)
    assert table.usable
    samples = collect_facts(table).samples
    for name in ("line", "abpt"):
        assert (samples[f"found_{name}"] == samples[f"n_{name}"]).all()
    assert (samples["shows_defect"] == samples["has_defect"]).all()
    assert (samples["group_splits"] == 1).all()
    nothing = ("mismatch", "image_problem", "reference_problem", "mask_problem", "mask_form", "mask_values")
    for column in (*nothing, "duplicate", "unaligned"):
        assert samples[column].isna().all(), column
    assert set(samples["image_size"]) == set(samples["mask_size"]) == {"32 x 32"}


def test_true_and_false_are_read_as_written(root: Path) -> None:
    manifest = pd.read_csv(root / "manifest.csv", dtype=str)
    manifest["has_defect"] = manifest["has_defect"].map({"1": "True", "0": "False"})
    manifest.assign(aligned=["False", *["True"] * 23], residual="2.5", confidence="0.1").to_csv(
        root / "manifest.csv", index=False
    )
    samples = collect_facts(read_table(root)).samples
    assert (samples["shows_defect"] == samples["has_defect"]).all()
    assert samples["unaligned"].dropna().to_dict() == {0: "is not aligned, residual 2.5, confidence 0.1"}


def test_unusable_tables_are_told_together(tmp_path: Path) -> None:
    table = read_table(tmp_path / "none")
    assert [name for name, _ in table.problems] == ["manifest.csv", "dataset.json"]
    assert not table.usable


def test_a_class_may_have_any_name(root: Path) -> None:
    text = (root / "dataset.json").read_text("utf-8").replace('"line"', '"defect"')
    (root / "dataset.json").write_text(text, "utf-8")
    header, rest = (root / "manifest.csv").read_text("utf-8").split("\n", 1)
    (root / "manifest.csv").write_text(header.replace("n_line", "n_defect") + "\n" + rest, "utf-8")
    samples = collect_facts(read_table(root)).samples
    assert (samples["found_defect"] == samples["n_defect"]).all()
    assert set(samples["shows_defect"]) == {0.0, 1.0}
