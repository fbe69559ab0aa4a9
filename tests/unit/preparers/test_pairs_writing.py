"""From a product folder to a prepared dataset: determinism, kills, bad files."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from cadnet.config import PairsParams, PairsSplitParams
from cadnet.datasets.cache import decode_split
from cadnet.datasets.manifest import PreparedDataset, open_dataset
from cadnet.files import file_digest, read_json
from cadnet.preparers.pairs import plan, plan_pairs
from cadnet.writing.dataset import write_dataset
from cadnet.writing.units import PreparationError
from tests.fake_pairs import FakeProduct, board, empty_png, rectangle, small, standard
from tests.samples import sample


def tree(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): file_digest(path) for path in root.rglob("*") if path.is_file()}


def prepared(product: FakeProduct, out: Path, workers: int = 1, **values: Any) -> PreparedDataset:
    return open_dataset(write_dataset(plan_pairs(product.params(**values)), out, workers))


class TestWriting:
    def test_it_opens_decodes_and_names_no_path(self, tmp_path: Path) -> None:
        product = standard(tmp_path / "board", 12)
        dataset = prepared(product, tmp_path / "out")
        split = decode_split(dataset, "test", tmp_path / "cache")
        assert split.images.shape[1:] == (3, 64, 64) and len(split.references) == 4
        text = (dataset.root / "dataset.json").read_text() + (dataset.root / "manifest.csv").read_text()
        assert str(tmp_path) not in text
        info = read_json(dataset.root / "dataset.json")
        assert info["sources"]["masks/p03.png"] == file_digest(product.root / "masks/p03.png")
        assert info["photographs"] == {"train": 7, "val": 1, "test": 4}

    def test_bytes_depend_on_neither_workers_nor_path(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(plan, "CHUNK_PIXELS", 2 * 96 * 80)
        product = standard(tmp_path / "board", 12)
        one = prepared(product, tmp_path / "one")
        shutil.move(product.root, tmp_path / "moved")
        product.root = tmp_path / "moved"
        assert tree(one.root) == tree(prepared(product, tmp_path / "two", workers=2).root)

    def test_a_changed_mask_or_product_makes_another_dataset(self, tmp_path: Path) -> None:
        product = standard(tmp_path / "board", 12)
        before = tree(prepared(product, tmp_path / "out").root)
        product.picture("masks/p01.png", rectangle(96, 80, (1, 1, 9, 9), 2))
        changed = tree(prepared(product, tmp_path / "out").root)
        assert changed["masks/p01-r00c00.png"] != before["masks/p01-r00c00.png"]

    def test_an_archive_of_the_folder_will_do(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        product = standard(tmp_path / "board", 12)
        with zipfile.ZipFile("board.zip", "w") as archive:
            for path in sorted(product.root.rglob("*")):
                archive.write(path, path.relative_to(tmp_path))
        folder = tree(prepared(product, tmp_path / "one").root)
        params = product.params().model_copy(update={"raw": "board.zip"})
        assert tree(write_dataset(plan_pairs(params), tmp_path / "two")) == folder
        with pytest.raises(FileNotFoundError, match=r"gone\.zip"):
            plan_pairs(params.model_copy(update={"raw": "gone.zip"}))


class TestHostile:
    def test_all_unusable_files_are_told_together(self, tmp_path: Path) -> None:
        product = standard(tmp_path / "board", 12)
        product.path("images/p00.png").write_bytes(b"")
        product.path("images/p01.png").write_bytes(empty_png(40000, 40000))
        product.path("images/p02.png").write_text("hello")
        product.path("masks/p03.png").write_bytes(empty_png(40000, 40000))
        product.picture("masks/p04.png", rectangle(96, 70, (1, 1, 5, 5)))
        product.path("masks/p05.png").write_bytes(product.path("masks/p06.png").read_bytes()[:-20])
        with pytest.raises(PreparationError) as caught:
            plan_pairs(product.params())
        text = str(caught.value)
        assert text.startswith("6 problems in the product folder")
        for part in (
            "p00.png cannot be decoded", "images/p01.png has more than", "p02.png cannot be decoded",
            "masks/p03.png has more than", "p04.png is made for 96 x 70", "p05.png is cut short",
        ):  # fmt: skip
            assert part in text

    def test_damage_behind_a_good_header_is_told_with_the_rest(self, tmp_path: Path) -> None:
        product = standard(tmp_path / "board", 12)
        for name in ("p00", "p07"):
            path = product.root / f"images/{name}.png"
            path.write_bytes(path.read_bytes()[:-500])
        with pytest.raises(PreparationError, match=r"(?s)2 problems.*p00\.png.*p07\.png"):
            prepared(product, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_a_broken_reference_is_one_problem(self, tmp_path: Path) -> None:
        product = standard(tmp_path / "board", 12)
        product.path("references/clean.png").write_bytes(b"\x89PNG")
        with pytest.raises(PreparationError, match=r"(?s)^1 problem .*clean\.png is cut short"):
            plan_pairs(product.params())

    def test_names_of_all_kinds(self, tmp_path: Path) -> None:
        product = small(tmp_path / "Prüfling 1", 0, missing_mask="clean")
        (product.root / "images.csv").unlink()
        names = ["Übung 1", "Übung_1", "日本", "left/a", "right/a", "a b", "A_B", "a_b", "-x", "con,ma"]
        for name in names:
            product.picture(f"images/{name}.png", board(0, 64, 64))
        product.picture("images/left/a.jpg", board(0, 64, 64))
        product.picture("masks/日本.png", rectangle(64, 64, (1, 1, 5, 5)))
        dataset = prepared(product, tmp_path / "out")
        assert len(dataset.manifest) == 11 and dataset.manifest["sample_id"].is_unique
        assert dataset.manifest["sample_id"].str.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*").all()
        assert set(dataset.manifest["source"]) >= {f"images/{name}.png" for name in names}
        assert dataset.manifest.set_index("source").loc["images/日本.png", "n_scratch"] == 16

    def test_files_that_are_no_pictures_are_noted(self, tmp_path: Path) -> None:
        product = standard(tmp_path / "board", 12)
        product.text("images/phone.heic", "x")
        product.text("images/Thumbs.db", "x")
        info = read_json(prepared(product, tmp_path / "out").root / "dataset.json")
        assert info["ignored_files"] == ["images/phone.heic"]


def test_real_boards_with_voc_boxes(tmp_path: Path) -> None:
    raw = sample("pku-pcb-sample")
    names = ["missing_hole", "mouse_bite", "open_circuit", "short", "spur", "spurious_copper"]
    pattern = r"/(?P<group>\d\d)_[^/]*$"
    product = FakeProduct(
        tmp_path / "pcb", classes=names, reference="group", references="PCB_USED", group_pattern=pattern,
        labels={"format": "voc", "path": "Annotations"},
    )  # fmt: skip
    for part in ("images", "Annotations", "PCB_USED"):
        (product.root / part).symlink_to(raw / part)
    for kept in ("images", "Annotations"):
        (product.root / kept).unlink()
        for file in sorted((raw / kept).rglob("*0[1-4].*")):
            product.path(f"{kept}/{file.relative_to(raw / kept)}").symlink_to(file)
    params = PairsParams(
        preparer="pairs", raw=str(product.root), size=512, scale=0.25, clean_tiles_per_image=1,
        split=PairsSplitParams(train_fraction=0.6, val_fraction=0.34),
    )  # fmt: skip
    dataset = open_dataset(write_dataset(plan_pairs(params), tmp_path / "out", workers=1))
    rows = dataset.manifest.drop_duplicates("source")
    assert rows["aligned"].all() and set(rows["alignment"]) == {"identity"}
    assert set(rows["subset"]) == {"01", "07"}
    found = dataset.manifest.groupby("source")[[f"n_{name}" for name in names]].sum()
    for source, counts in found.iterrows():
        own = f"n_{Path(str(source)).stem[3:-3]}"
        assert counts[own] > 0 and counts.sum() == counts[own]
