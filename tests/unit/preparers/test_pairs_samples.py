"""What becomes of a photograph: tiles, scale, padding, alignment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from cadnet.config import AlignmentParams
from cadnet.datasets.manifest import PreparedDataset, open_dataset
from cadnet.files import read_json
from cadnet.images import read_image, read_mask
from cadnet.preparers.pairs import plan_pairs
from cadnet.writing.dataset import write_dataset
from tests.fake_pairs import FakeProduct, board, motion, moved, rectangle, small, standard


def prepared(product: FakeProduct, out: Path, workers: int = 1, **values: Any) -> PreparedDataset:
    return open_dataset(write_dataset(plan_pairs(product.params(**values)), out, workers))


def whole(dataset: PreparedDataset, rows: pd.DataFrame, column: str, shape: tuple[int, ...]) -> np.ndarray:
    """Put the tiles of one photograph together again."""
    image = np.zeros(shape, np.uint8)
    for row in rows.to_dict("records"):
        tile = (
            read_image(dataset.root / row[column])
            if len(shape) == 3
            else read_mask(dataset.root / row[column], 2)
        )
        image[row["y"] : row["y"] + len(tile), row["x"] : row["x"] + len(tile)] = tile
    return image


class TestTiles:
    def test_tiles_show_the_photograph_its_reference_and_its_mask(self, tmp_path: Path) -> None:
        product = standard(tmp_path / "board", 12)
        dataset = prepared(product, tmp_path / "out")
        assert len(dataset.manifest) == 12 * 4
        for source, rows in dataset.manifest.groupby("source"):
            raw = read_image(product.root / str(source))
            assert np.array_equal(whole(dataset, rows, "image", raw.shape), raw)
            assert np.array_equal(whole(dataset, rows, "reference", raw.shape), board())
            mask = read_mask(product.root / str(source).replace("images", "masks"), 2)
            assert np.array_equal(whole(dataset, rows, "mask", mask.shape), mask)
            assert rows["group"].nunique() == rows["split"].nunique() == 1
        for row in dataset.manifest.to_dict("records"):
            mask = read_mask(dataset.root / row["mask"], 2)
            assert [row["n_scratch"], row["n_dent"]] == [int((mask == value).sum()) for value in (1, 2)]
            assert row["has_defect"] == bool(mask.any())
        assert len(list((dataset.root / "references").iterdir())) == 4, "each reference tile once"

    def test_few_clean_tiles_of_training_photographs_all_of_the_others(self, tmp_path: Path) -> None:
        product = standard(tmp_path / "board", 12)
        every = prepared(product, tmp_path / "all").manifest
        few = prepared(product, tmp_path / "few", clean_tiles_per_image=1).manifest
        clean = few[(few["split"] == "train") & ~few["has_defect"]]
        assert clean.groupby("source").size().max() == 1
        assert len(set(clean["sample_id"].str[-6:])) > 1, "not always the same corner"
        for kept in (few["split"] != "train", few["has_defect"]):
            wanted = every["split"] != "train" if kept.name == "split" else every["has_defect"]
            assert few.loc[kept, "sample_id"].tolist() == every.loc[wanted, "sample_id"].tolist()

    def test_small_photographs_are_padded(self, tmp_path: Path) -> None:
        dataset = prepared(standard(tmp_path / "board", 12), tmp_path / "out", size=128)
        assert dataset.manifest["sample_id"].tolist() == [f"p{number:02d}" for number in range(12)]
        row = dataset.manifest.iloc[1]
        mask, image = read_mask(dataset.root / row["mask"], 2), read_image(dataset.root / row["image"])
        assert (mask[:80, :96] == 0).all() and (mask[80:] == 255).all() and (mask[:, 96:] == 255).all()
        assert np.array_equal(image, read_image(dataset.root / row["reference"]))
        assert np.array_equal(image[:80, :96], board()) and (image[80:, :96] == board()[79]).all()

    def test_scale_comes_before_tiles(self, tmp_path: Path) -> None:
        product = standard(tmp_path / "board", 12)
        product.picture("masks/p01.png", rectangle(96, 80, (8, 9, 50, 10)))
        dataset = prepared(product, tmp_path / "out", scale=0.5, size=64)
        assert len(dataset.manifest) == 12
        row = dataset.manifest.iloc[0]
        mask = read_mask(dataset.root / row["mask"], 2)
        assert np.argwhere(mask == 1).min(0).tolist() == [10, 5] and (mask[40:] == 255).all()
        small_board = cv2.resize(board(), (48, 40), interpolation=cv2.INTER_AREA)
        assert np.array_equal(read_image(dataset.root / row["reference"])[:40, :48], small_board)

    def test_a_class_too_thin_for_the_scale_is_told(self, tmp_path: Path) -> None:
        product = standard(tmp_path / "board", 12)
        product.picture("masks/p01.png", rectangle(96, 80, (8, 8, 50, 9)))
        dataset = prepared(product, tmp_path / "out", scale=0.25)
        notes = pd.read_csv(dataset.root / "notes.csv")
        lost = notes[notes["kind"] == "lost class"]
        assert lost["photograph"].tolist() == ["images/p01.png"]
        assert lost["note"].tolist() == ["scratch is too thin to be left at scale 0.25"]

    def test_an_empty_class_is_a_note(self, tmp_path: Path) -> None:
        product = standard(tmp_path / "board", 12, classes=["scratch", "dent", "stain"])
        info = read_json(prepared(product, tmp_path / "out").root / "dataset.json")
        wanted = "class stain has no pixel in train, val, test; it cannot be learned or scored there"
        assert wanted in info["notes"]


class TestRegistration:
    def product(self, root: Path) -> tuple[FakeProduct, dict[str, np.ndarray]]:
        """Three moved photographs with a known defect, one of another board, one shown larger."""
        product, clean, motions = FakeProduct(root, missing_mask="clean"), board(4, 320, 256), {}
        product.picture("references/clean.png", clean)
        marked, mask = clean.copy(), rectangle(320, 256, (150, 100, 190, 112))
        marked[100:112, 150:190] = (250, 250, 250)
        for name, move in (("a", (7.4, -5.2, 1.5)), ("b", (-12.0, 3.0, -2.0)), ("c", (0.0, 0.0, 0.0))):
            noise = np.random.default_rng(3).normal(0, 3, marked.shape)
            image = np.clip(moved(marked, *move) * 0.9 + noise, 0, 255).astype(np.uint8)
            product.picture(f"images/{name}.png", image)
            matrix = motion(320, 256, *move)
            moved_mask = cv2.warpAffine(mask, matrix, (320, 256), flags=cv2.INTER_NEAREST)
            product.picture(f"masks/{name}.png", moved_mask)
            motions[name] = mask
        product.picture("images/foreign.png", board(8, 320, 256))
        product.picture("images/larger.png", np.pad(clean, ((4, 20), (6, 30), (0, 0)), mode="edge"))
        splits = {"a": "train", "b": "val", "c": "test", "foreign": "test", "larger": "train"}
        lines = "".join(f"{name}.png,{split}\n" for name, split in splits.items())
        product.text("images.csv", f"image,split\n{lines}")
        return product, motions

    def test_pairs_are_aligned_and_failures_are_kept_and_listed(self, tmp_path: Path) -> None:
        product, masks = self.product(tmp_path / "board")
        dataset = prepared(product, tmp_path / "out", size=320, alignment=AlignmentParams())
        rows = dataset.manifest.set_index("sample_id")
        assert rows["aligned"].to_dict() == {
            "a": True, "b": True, "c": True, "foreign": False, "larger": True,
        }  # fmt: skip
        assert (rows.loc[rows["aligned"], "residual"] < 0.6).all()
        assert rows.loc["c", "alignment"] == "identity"
        for name, mask in masks.items():
            found = read_mask(dataset.root / rows.loc[name, "mask"], 2)[:256]
            inside = found != 255
            both, either = ((found == 1) & (mask == 1)).sum(), (((found == 1) | (mask == 1)) & inside).sum()
            assert both / either > 0.8
            image, clean = (
                read_image(dataset.root / rows.loc[name, key])[:256] for key in ("image", "reference")
            )
            apart = np.abs(image[inside & (mask == 0)] * (1 / 0.9) - clean[inside & (mask == 0)])
            assert np.median(apart) < 8
        foreign = read_image(dataset.root / rows.loc["foreign", "image"])[:256]
        assert np.array_equal(foreign, board(8, 320, 256)), "kept as it is"
        info = read_json(dataset.root / "dataset.json")
        assert info["alignment"]["accepted"] == 4
        assert [item["source"] for item in info["alignment"]["failed"]] == ["images/foreign.png"]
        assert any(note.startswith("1 of 5 photographs could not be brought") for note in info["notes"])

    def test_a_failed_pair_of_another_size_is_completed_by_the_reference(self, tmp_path: Path) -> None:
        product = small(tmp_path / "board", 3, labels=None, missing_mask="clean")
        product.picture("images/p0.png", np.full((50, 64, 3), 90, np.uint8))
        dataset = prepared(product, tmp_path / "out", alignment=AlignmentParams())
        row = dataset.manifest.iloc[0]
        image, mask = read_image(dataset.root / row["image"]), read_mask(dataset.root / row["mask"], 2)
        assert not row["aligned"] and (image[:50] == 90).all() and (mask[50:] == 255).all()
        assert np.array_equal(image[50:], board(0, 64, 64)[50:])
