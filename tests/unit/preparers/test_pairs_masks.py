"""What masks mean, pixel for pixel, and photographs without one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cadnet.preparers.pairs import plan_pairs
from cadnet.writing.units import PreparationError
from tests.fake_pairs import FakeProduct, masks_of, rectangle, small

BOX = (10, 20, 30, 25)
ONE = rectangle(64, 64, BOX, 1)
TWO = rectangle(64, 64, BOX, 2)
WHITE = rectangle(64, 64, BOX, 255)
EMPTY = np.zeros((64, 64), np.uint8)


def refused(product: FakeProduct, **values: Any) -> str:
    with pytest.raises(PreparationError) as caught:
        plan_pairs(product.params(**values))
    return str(caught.value)


def product(tmp_path: Path, masks: dict[str, np.ndarray], **values: Any) -> FakeProduct:
    """Three photographs p0, p1, p2; those that ``masks`` names no mask of get an empty one."""
    made = small(tmp_path / "board", 3, **values)
    named = {re.sub(r".*/|\.\w+$", "", name) for name in masks}
    empty = {f"masks/p{number}.png": EMPTY for number in range(3) if f"p{number}" not in named}
    for name, mask in {**masks, **empty}.items():
        made.picture(name, mask)
    return made


class TestMasks:
    def test_class_numbers_and_ignore(self, tmp_path: Path) -> None:
        mixed = ONE + rectangle(64, 64, (40, 40, 50, 50), 2)
        mixed[60:] = 255
        made = product(tmp_path, {"masks/p0.png": mixed, "masks/p1.png": TWO})
        masks = masks_of(made, tmp_path / "out")
        assert all(mask is not None for mask in masks.values())
        assert np.array_equal(masks["p0"], mixed) and np.array_equal(masks["p1"], TWO)
        assert np.array_equal(masks["p2"], EMPTY), "an empty mask says that there is no defect"

    def test_white_is_the_only_class(self, tmp_path: Path) -> None:
        made = product(tmp_path, {"masks/p0.png": WHITE}, classes=["scratch"])
        assert np.array_equal(masks_of(made, tmp_path / "out")["p0"], ONE)

    def test_white_among_several_classes_is_refused(self, tmp_path: Path) -> None:
        text = refused(product(tmp_path, {"masks/p0.png": WHITE}))
        assert "p0.png holds 0 and 255, which names none of the 2 classes" in text and "white: ignore" in text

    def test_white_in_a_folder_of_its_class(self, tmp_path: Path) -> None:
        dent = rectangle(64, 64, (25, 20, 40, 25), 255)
        made = product(tmp_path, {"masks/scratch/p0.png": WHITE, "masks/dent/p0.png": dent})
        mask = masks_of(made, tmp_path / "out")["p0"]
        assert mask is not None
        assert (mask[20:25, 10:25] == 1).all() and (mask[20:25, 25:40] == 2).all(), "later classes win"
        assert np.count_nonzero(mask) == 30 * 5

    def test_numbers_of_another_class_in_a_folder_are_refused(self, tmp_path: Path) -> None:
        text = refused(product(tmp_path, {"masks/dent/p0.png": ONE}))
        assert "holds the numbers [1] but is in the folder of class 2" in text

    def test_masks_that_lie_like_photographs_in_folders_called_like_classes(self, tmp_path: Path) -> None:
        made = small(tmp_path / "board", 2)
        for name, mask in (("dent/a", WHITE), ("dent/b", ONE), ("scratch/a", WHITE)):
            made.picture(f"images/{name}.png", np.zeros((64, 64, 3), np.uint8))
            made.picture(f"masks/{name}.png", mask)
        (made.root / "images.csv").unlink()
        masks = masks_of(made, tmp_path / "out", split={"train_fraction": 0.67, "val_fraction": 0.5})
        assert np.array_equal(masks["dent-a"], TWO), "the folder says what 255 means"
        assert np.array_equal(masks["dent-b"], ONE), "numbers are numbers everywhere"
        assert np.array_equal(masks["scratch-a"], ONE)

    def test_255_that_may_mean_two_things_is_refused_until_it_is_said(self, tmp_path: Path) -> None:
        masks = {"masks/p0.png": WHITE, "masks/p1.png": ONE}
        made = product(tmp_path, masks, classes=["scratch"])
        assert "255 may mean defect or ignore; say `white: defect` or `white: ignore`" in refused(made)
        for word, value in (("defect", 1), ("ignore", 255)):
            made.yaml(classes=["scratch"], labels={"white": word})
            read = masks_of(made, tmp_path / word)["p0"]
            assert read is not None and set(np.unique(read)) == {0, value}

    def test_values_that_name_no_class(self, tmp_path: Path) -> None:
        made = product(
            tmp_path,
            {"masks/p0.png": ONE * 7, "masks/p1.png": np.tile(np.arange(64, dtype=np.uint8), (64, 1))},
        )
        text = refused(made)
        assert (
            "p0.png holds the values [7], which name no class; allowed are 0 (background), 1 scratch, 2 dent"
            in text
        )
        assert re.search(r"p1\.png.*without anti-aliasing", text)

    def test_palettes_and_grey_saved_as_colour(self, tmp_path: Path) -> None:
        made = product(tmp_path, {"masks/p1.png": np.repeat(TWO[..., None], 3, axis=2)})
        palette = Image.fromarray(TWO, "P")
        palette.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
        palette.save(made.root / "masks/p0.png")
        Image.fromarray(np.dstack([ONE] * 3 + [EMPTY + 255])).save(made.root / "masks/p2.png")
        masks = masks_of(made, tmp_path / "out")
        assert np.array_equal(masks["p0"], TWO) and np.array_equal(masks["p1"], TWO)
        assert np.array_equal(masks["p2"], ONE)

    def test_colours_lossy_files_and_foreign_sizes_are_refused_together(self, tmp_path: Path) -> None:
        coloured = np.dstack([ONE * 100, EMPTY, EMPTY])
        made = product(tmp_path, {"masks/p0.png": coloured, "masks/p1.png": ONE[:50], "masks/p2.jpg": ONE})
        made.picture("masks/p9.png", ONE)
        text = refused(made)
        assert "4 problems" in text
        assert "p0.png is coloured or transparent" in text
        assert "p1.png is made for 64 x 50 pixels, images/p1.png has 64 x 64" in text
        assert "p2.jpg is compressed with losses" in text
        assert "p9.png belongs to no photograph" in text

    def test_suffixes_and_masks_beside_the_photographs(self, tmp_path: Path) -> None:
        made = small(tmp_path / "board", 3, labels={"path": "images", "suffix": "_mask"})
        for number in range(3):
            made.picture(f"images/p{number}_mask.png", ONE)
        masks = masks_of(made, tmp_path / "out")
        assert list(masks) == ["p0", "p1", "p2"] and all(np.array_equal(mask, ONE) for mask in masks.values())

    def test_one_mask_for_two_photographs(self, tmp_path: Path) -> None:
        made = product(tmp_path, {"masks/p0.png": ONE})
        made.picture("images/p0.jpg", np.zeros((64, 64, 3), np.uint8))
        assert re.search(r"p0\.png fits both images/p0\.jpg and images/p0\.png; rename one", refused(made))

    def test_turned_photographs(self, tmp_path: Path) -> None:
        made = small(tmp_path / "board", 3, missing_mask="clean")
        exif = Image.Exif()
        exif[0x0112] = 6
        made.picture("references/clean.png", np.zeros((64, 48, 3), np.uint8))
        for number in range(3):
            (made.root / f"images/p{number}.png").unlink()
            made.picture(f"images/p{number}.jpg", np.zeros((48, 64, 3), np.uint8), exif=exif)
        (made.root / "images.csv").write_text("image,split\np0.jpg,train\np1.jpg,val\np2.jpg,test\n")
        made.picture("masks/p0.png", ONE[:, :48])
        mask = masks_of(made, tmp_path / "out")["p0"]
        assert mask is not None and np.array_equal(mask[:, :48], ONE[:, :48]) and (mask[:, 48:] == 255).all()
        made.picture("masks/p1.png", ONE[:48])
        text = refused(made)
        assert "made for 64 x 48 pixels, images/p1.jpg has 48 x 64 as shown: its EXIF entry turns it" in text


PALETTE = [0, 0, 0, 200, 0, 0, 0, 200, 0]


def colored(made: FakeProduct, name: str, mask: np.ndarray, colors: list[int]) -> None:
    picture = Image.fromarray(mask, "P")
    picture.putpalette(colors)
    picture.save(made.path(name))


class TestColors:
    def shown(self, colors: dict[int, tuple[int, int, int]], mask: np.ndarray) -> np.ndarray:
        picture = np.zeros((*mask.shape, 3), np.uint8)
        for value, color in colors.items():
            picture[mask == value] = color
        return picture

    def test_palettes_that_disagree_are_refused(self, tmp_path: Path) -> None:
        made = product(tmp_path, {})
        colored(made, "masks/p0.png", ONE, PALETTE)
        colored(made, "masks/p1.png", TWO, PALETTE)
        assert np.array_equal(masks_of(made, tmp_path / "out")["p1"], TWO)
        # Compacted, as by an optimiser: the second class has the first one's number.
        colored(made, "masks/p1.png", ONE, [0, 0, 0, 0, 200, 0])
        text = refused(made)
        assert "1 is (200, 0, 0) in that of images/p0.png, 1 is (0, 200, 0) in that of images/p1.png" in text
        colored(made, "masks/p0.png", TWO, PALETTE)
        text = refused(made)
        assert "2 is (0, 200, 0) in that of images/p0.png, 1 is (0, 200, 0) in that of images/p1.png" in text

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            (
                "labelmap.txt",
                "# label:color_rgb:parts:actions\nbackground:0,0,0::\nscratch:200,0,0::\nDent:0,200,0::\n",
            ),
            ("masks/labelmap.txt", "scratch:200,0,0\ndent:0,200,0\n"),
            ("masks/label_colors.txt", "0 0 0 background\n200 0 0 scratch\n0 200 0 dent\n"),
            ("class_dict.csv", "name,r,g,b\nscratch,200,0,0\ndent,0,200,0\n"),
        ],
    )
    def test_a_label_map_says_what_colours_mean(self, tmp_path: Path, name: str, text: str) -> None:
        made = product(tmp_path, {"masks/p2.png": EMPTY})
        made.text(name, text)
        colored(made, "masks/p0.png", ONE, [0, 0, 0, 0, 200, 0])
        made.picture("masks/p1.png", self.shown({1: (200, 0, 0)}, ONE))
        masks = masks_of(made, tmp_path / "out")
        assert np.array_equal(masks["p0"], TWO) and np.array_equal(masks["p1"], ONE)
        assert np.array_equal(masks["p2"], EMPTY)

    def test_a_label_map_of_numbers_and_names_of_other_meaning(self, tmp_path: Path) -> None:
        mixed = ONE * 3 + rectangle(64, 64, (40, 40, 50, 50), 2) + rectangle(64, 64, (0, 0, 5, 5), 4)
        made = product(tmp_path, {"masks/p0.png": mixed})
        made.text("map.csv", "Pixel Value, Class\n0, background\n2, board\n3, dent\n4, unsure\n")
        labels = {"map": "map.csv", "skip": ["board"], "ignore": ["unsure"]}
        made.yaml(labels=labels)
        expected = TWO + rectangle(64, 64, (0, 0, 5, 5), 255)
        assert np.array_equal(masks_of(made, tmp_path / "out")["p0"], expected)
        made.yaml(labels={"map": "map.csv"})
        assert "p0.png holds numbers that mean no class: 2 (board), 4 (unsure)" in refused(made)

    def test_what_no_map_explains(self, tmp_path: Path) -> None:
        made = product(tmp_path, {"masks/p0.png": self.shown({1: (9, 8, 7)}, ONE)})
        assert "p0.png is coloured" in refused(made) and "labelmap.txt" in refused(made)
        made.text("labelmap.txt", "scratch:200,0,0\n")
        assert "p0.png holds colours that mean no class: 9, 8, 7;" in refused(made)
        made.text("labelmap.txt", "scratch:200,0,0\ndent:300,0,0\n")
        assert "labelmap.txt, line 2: 'dent:300,0,0'" in refused(made)
        made.text("labelmap.txt", "scratch:200,0,0\ndent:200,0,0\n")
        assert "labelmap.txt, line 2: 'dent:200,0,0'" in refused(made)
        made.text("class_dict.csv", "scratch,200,0,0\n")
        assert "both name classes" in refused(made)


class TestFolders:
    def test_the_case_of_folders_and_names_and_other_names_of_a_class(self, tmp_path: Path) -> None:
        masks = {"masks/Scratch/P0.png": WHITE, "masks/KRATZER/p1.png": WHITE, "masks/beule/p2.png": WHITE}
        classes = {"scratch": {"labels": ["Kratzer"]}, "dent": {"labels": ["Beule"]}}
        made = small(tmp_path / "board", 3, classes=classes)
        for name, mask in masks.items():
            made.picture(name, mask)
        read = masks_of(made, tmp_path / "out")
        assert np.array_equal(read["p0"], ONE) and np.array_equal(read["p1"], ONE)
        assert np.array_equal(read["p2"], TWO)
        made.picture("masks/Delle/p2.png", WHITE)
        assert "its folder like a class ('Delle' is none)" in refused(made)

    @pytest.mark.parametrize("other", ["masks/p0.bmp", "masks/P0.PNG", "masks/p0.png.png"])
    def test_two_masks_of_one_photograph(self, tmp_path: Path, other: str) -> None:
        made = product(tmp_path, {"masks/p0.png": ONE})
        made.picture(other, TWO)
        text = refused(made)
        assert "images/p0.png has two masks" in text and other in text and "1 problem " in text

    def test_a_class_under_a_later_one_is_not_lost_silently(self, tmp_path: Path) -> None:
        made = product(tmp_path, {"masks/scratch/p0.png": WHITE, "masks/dent/p0.png": WHITE})
        assert "overlap so that nothing is left of scratch" in refused(made)

    def test_labels_of_other_formats_among_the_masks(self, tmp_path: Path) -> None:
        made = product(tmp_path, {"masks/p0.png": ONE})
        (made.root / "masks/p1.png").rename(made.root / "masks/p1.npy")
        assert "p1.npy is no label of the format masks, and images/p1.png has no other" in refused(made)
        for path in (made.root / "masks").iterdir():
            path.unlink()
        assert "labels 'masks' of product.yaml holds no file of the format masks" in refused(made)


class TestMissing:
    def test_a_photograph_without_mask_is_unlabelled_clean_or_good(self, tmp_path: Path) -> None:
        made = small(tmp_path / "board", 3)
        (made.root / "images.csv").write_text(
            "image,split\np0.png,train\np1.png,val\np2.png,test\ngood/g.png,test\n"
        )
        for number in range(3):
            made.picture(f"masks/p{number}.png", ONE)
        made.picture("images/u.png", np.zeros((64, 64, 3), np.uint8))
        made.picture("images/good/g.png", np.zeros((64, 64, 3), np.uint8))
        masks = masks_of(made, tmp_path / "out")
        assert masks["u"] is None and np.array_equal(masks["good-g"], EMPTY)
        made.picture("masks/good/g.png", ONE)
        assert "g.png is in a folder 'good'" in refused(made)
        (made.root / "masks/good/g.png").unlink()
        made.yaml(missing_mask="clean")
        assert "gives no split to the labelled photographs images/u.png" in refused(made)

    def test_no_labels_at_all(self, tmp_path: Path) -> None:
        made = small(tmp_path / "board", 3, labels=None)
        (made.root / "images.csv").unlink()
        assert all(mask is None for mask in masks_of(made, tmp_path / "out").values())

    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        made = small(tmp_path / "board", 3, labels={"path": "mask"})
        assert "mask does not exist" in refused(made) and "labels: null" in refused(made)
