from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from cadnet.config import AlignmentParams
from cadnet.datasets.manifest import PreparedDataset, open_dataset
from cadnet.files import read_json
from cadnet.images import read_image, read_mask
from cadnet.preparers.pku_pcb.layout import CLASSES
from tests.fake_pku import (
    FOLDERS,
    HEIGHT,
    WIDTH,
    draw_board,
    draw_photograph,
    prepare_pku,
    write_annotation,
    write_fake_pku,
    write_jpeg,
)
from tests.samples import sample

SPLITS = Path(__file__).parents[3] / "splits" / "pku_pcb.csv"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two boards, six classes, two photographs of each, with rotated copies; not to be changed."""
    return write_fake_pku(tmp_path_factory.mktemp("pku") / "raw", rotation="grown")


@pytest.fixture(scope="module")
def prepared(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return prepare_pku(raw, tmp_path_factory.mktemp("prepared") / "out", clean_per_photograph=1)


def records(dataset: PreparedDataset) -> list[dict[str, str]]:
    with (dataset.root / "defects.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_windows_follow_the_data_contract(prepared: PreparedDataset, raw: Path) -> None:
    table = prepared.manifest
    assert prepared.classes == CLASSES and set(table["split"]) == {"train", "val", "test"}
    assert {f"{name}-w0" for name in table["group"]} | {f"{name}-r-w0" for name in table["group"]} <= set(
        table["sample_id"]
    )
    assert set(table["subset"]) == {"01", "07"} and table["group"].nunique() == 24
    for row in table.itertuples():
        image, reference = (read_image(prepared.root / str(p)) for p in (row.image, row.reference))
        mask = read_mask(prepared.root / str(row.mask), 6)
        assert image.shape == reference.shape == (160, 160, 3) and mask.shape == (160, 160)
        kind = list(FOLDERS).index(str(row.group)[3:-3]) + 1
        clean = "-c" in str(row.sample_id)
        assert set(np.unique(mask)) - {255} == ({0} if clean else {0, kind}) and row.has_defect == (not clean)
        # Beside the defects, window and reference show the same place.
        apart = np.abs(image[mask == 0].astype(int) - reference[mask == 0])
        assert np.median(apart) <= 2 and np.percentile(apart, 95) < 25
    assert not list(raw.rglob("*.png"))


def test_upright_windows_are_cut_from_photograph_and_board(prepared: PreparedDataset, raw: Path) -> None:
    rows = prepared.manifest[~prepared.manifest["sample_id"].str.contains("-r-")]
    for row in rows.itertuples():
        place = (slice(row.y, row.y + 160), slice(row.x, row.x + 160))
        assert 0 <= row.x <= WIDTH - 160 and 0 <= row.y <= HEIGHT - 160 and row.angle == 0
        board = read_image(raw / "PCB_USED" / f"{row.subset}.JPG")
        assert (read_image(prepared.root / str(row.image)) == read_image(raw / str(row.source))[place]).all()
        assert (read_image(prepared.root / str(row.reference)) == board[place]).all()


def test_every_defect_has_a_mask_of_its_shape_and_a_record(prepared: PreparedDataset) -> None:
    found = records(prepared)
    assert len(found) == 24 * 3 and {row["method"] for row in found} == {"difference"}
    # Ellipses with half axes of 10 and 7 pixels.
    assert np.mean([int(row["pixels"]) for row in found]) == pytest.approx(np.pi * 70, rel=0.15)
    info = read_json(prepared.root / "dataset.json")
    assert info["masks"]["short"]["boxes"] == info["masks"]["short"]["from_difference"] == 12
    assert info["windows"]["paper"] == {"train": 1566, "test": 676}
    upright = prepared.manifest["sample_id"].str.contains(r"\d-w")
    rules = info["windows"]["by_rule_on_unturned_photographs"]
    assert rules["cover: as few windows as show every defect wholly (used here)"] == upright.sum()
    assert str(prepared.root.parent) not in (prepared.root / "dataset.json").read_text()


@pytest.mark.parametrize(("canvas", "sign"), [("grown", -1), ("kept", 1)])
def test_rotated_copies_match_their_rotated_board(tmp_path: Path, canvas: str, sign: int) -> None:
    raw = write_fake_pku(tmp_path / "raw", 1, ("01",), ("short", "spur"), rotation=canvas, sign=sign)
    table = prepare_pku(raw, tmp_path / "out").manifest
    rotated = table[table["sample_id"].str.contains("-r-w")]
    assert len(rotated) >= 2 and set(rotated["group"]) == {"01_short_01", "01_spur_01"}
    assert sorted(set(rotated["angle"])) == [-7 * sign, -4 * sign][::sign]
    for row in rotated.itertuples():
        image, reference = (read_image(tmp_path / "out" / str(p)) for p in (row.image, row.reference))
        mask = read_mask(tmp_path / "out" / str(row.mask), 6)
        apart = np.abs(image.astype(int) - reference).max(axis=2)
        defect = (mask > 0) & (mask < 255)
        assert np.median(apart[mask == 0]) <= 3 and np.median(apart[defect]) > 40 and row.has_defect


def test_slivers_of_defects_are_ignored(tmp_path: Path) -> None:
    board = draw_board(0)
    drawn = draw_photograph(board, 1, corners=[(100, 100), (131, 100)], defects=2)
    write_jpeg(tmp_path / "raw" / "PCB_USED" / "01.JPG", board)
    write_jpeg(tmp_path / "raw" / "images" / "Spur" / "01_spur_01.jpg", drawn.image)
    write_annotation(tmp_path / "raw" / "Annotations" / "Spur" / "01_spur_01.xml", "spur", drawn.boxes)
    seen = set()
    for seed in range(12):
        dataset = prepare_pku(tmp_path / "raw", tmp_path / f"{seed}", window=50, size=50, seed=seed)
        assert len(dataset.manifest) == 2
        for row in dataset.manifest.itertuples():
            mask = read_mask(dataset.root / str(row.mask), 6)
            truth = drawn.truth[row.y : row.y + 50, row.x : row.x + 50]
            # Where each ellipse of about 220 pixels ends: one is left of column 131, the other right of it.
            parts = [truth.copy(), truth.copy()]
            parts[0][:, max(131 - row.x, 0) :] = False
            parts[1][:, : max(131 - row.x, 0)] = False
            for part in parts:
                values = set(np.unique(mask[part])) - {0}
                if part.sum() > 45:
                    assert values == {5}
                elif 3 < part.sum() < 15:
                    assert values == {255}
                    seen.add(seed)
    assert seen, "no window cut a defect; draw more seeds"


def test_photographs_smaller_than_the_window_are_padded_and_ignored_there(raw: Path, tmp_path: Path) -> None:
    dataset = prepare_pku(raw, tmp_path / "out", window=400, size=200, rotated=False)
    assert len(dataset.manifest) == 24
    for row in dataset.manifest.itertuples():
        mask = read_mask(dataset.root / str(row.mask), 6)
        image, reference = (read_image(dataset.root / str(p)) for p in (row.image, row.reference))
        assert (mask[150:] == 255).all() and not (mask[:150] == 255).any() and row.has_defect
        assert (image[151:] == reference[151:]).all()


def test_alignment_brings_photographs_onto_their_boards(tmp_path: Path) -> None:
    root = write_fake_pku(tmp_path / "raw", 2, ("01",), ("short", "spur"), rotation="grown")
    path = root / "images" / "Short" / "01_short_01.jpg"
    write_jpeg(path, np.roll(read_image(path), (6, -9), axis=(0, 1)))
    note = root / "Annotations" / "Short" / "01_short_01.xml"
    drawn = draw_photograph(read_image(root / "PCB_USED" / "01.JPG"), 1)
    write_annotation(note, "short", [(x0 - 9, y0 + 6, x1 - 9, y1 + 6) for x0, y0, x1, y1 in drawn.boxes])
    (root / "rotation" / "Short_rotation" / "01_short_01.jpg").unlink()
    table = prepare_pku(root, tmp_path / "out", alignment=AlignmentParams()).manifest
    assert table["aligned"].all() and (table["residual"] < 0.5).all()
    for row in table[table["group"] == "01_short_01"].itertuples():
        image, reference = (read_image(tmp_path / "out" / str(p)) for p in (row.image, row.reference))
        mask = read_mask(tmp_path / "out" / str(row.mask), 6)
        assert np.median(np.abs(image[mask == 0].astype(int) - reference[mask == 0])) <= 3
    moved = [row for row in records(open_dataset(tmp_path / "out")) if row["photograph"] == "01_short_01"]
    assert {row["method"] for row in moved} == {"difference"}


def test_real_photographs(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    for name in ("01_missing_hole_01", "01_short_01", "07_spur_03"):
        folder = FOLDERS[name[3:-3]]
        for part, suffix in (("images", ".jpg"), ("Annotations", ".xml")):
            (root / part / folder).mkdir(parents=True, exist_ok=True)
            path = Path(part) / folder / f"{name}{suffix}"
            (root / path).symlink_to(sample("pku-pcb-sample") / path)
    (root / "PCB_USED").symlink_to(sample("pku-pcb-sample") / "PCB_USED")
    dataset = prepare_pku(root, tmp_path / "out", window=1000, size=500, split_list=str(SPLITS))
    assert set(dataset.manifest["group"]) == {"01_missing_hole_01", "01_short_01", "07_spur_03"}
    assert dataset.manifest["has_defect"].all()
    assert {row["method"] for row in records(dataset)} == {"difference"}
