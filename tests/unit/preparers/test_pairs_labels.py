"""What masks and annotation files mean, pixel for pixel."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from cadnet.files import read_json
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
        assert "holds the numbers [1] but lies in the folder of class 2" in text

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
        assert "g.png lies in a folder 'good'" in refused(made)
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


def coco(**values: Any) -> dict[str, Any]:
    """Three photographs, a scratch in the first given as ``values``."""
    item = {"id": 1, "image_id": 0, "category_id": 7, **values}
    images = [{"id": n, "file_name": f"p{n}.png", "width": 64, "height": 64} for n in range(3)]
    box = {"image_id": 1, "category_id": 8, "bbox": [10, 20, 20, 5], "id": 2}
    empty = {"image_id": 2, "category_id": 8, "bbox": [90, 90, 5, 5], "id": 3}
    categories = [{"id": 7, "name": "Kratzer"}, {"id": 8, "name": "DENT"}]
    return {"images": images, "annotations": [item, box, empty], "categories": categories}


class TestCoco:
    VALUES: ClassVar[dict[str, Any]] = {
        "classes": {"scratch": {"labels": ["kratzer"]}, "dent": None},
        "labels": {"format": "coco", "path": "coco.json"},
    }
    FLAT = ONE.flatten(order="F")
    EDGES = np.flatnonzero(np.diff(FLAT)) + 1
    RUNS = np.diff([0, *EDGES, FLAT.size]).tolist()

    @pytest.mark.parametrize(
        "outline",
        [
            [[10, 20, 30, 20, 30, 25, 10, 25]],
            [[10, 20, 20, 20, 20, 25, 10, 25], [20, 20, 30, 20, 30, 25, 20, 25]],
            {"size": [64, 64], "counts": RUNS},
        ],
    )
    def test_outlines_and_boxes(self, tmp_path: Path, outline: Any) -> None:
        made = small(tmp_path / "board", 3, **self.VALUES)
        made.json("coco.json", coco(segmentation=outline))
        masks = masks_of(made, tmp_path / "out")
        assert np.array_equal(masks["p0"], ONE) and np.array_equal(masks["p1"], TWO)
        notes = read_json(tmp_path / "out" / "dataset.json")["notes"]
        assert "2 objects are boxes, not outlines: all pixels in them count as defect" in notes
        assert "1 x empty object; see notes.csv" in notes

    def test_listed_without_object_is_unlabelled(self, tmp_path: Path) -> None:
        made = small(tmp_path / "board", 4, **self.VALUES)
        value = coco(bbox=[1, 1, 5, 5])
        value["images"].append({"id": 3, "file_name": "board/images/p3.png"})
        made.json("coco.json", value)
        (made.root / "images.csv").write_text("image,split\np0.png,train\np1.png,val\np2.png,test\n")
        assert masks_of(made, tmp_path / "out")["p3"] is None

    def test_unknown_labels_are_all_listed(self, tmp_path: Path) -> None:
        made = small(tmp_path / "board", 3, labels={"format": "coco", "path": "coco.json"}, classes=["a"])
        made.json("coco.json", coco(bbox=[1, 1, 5, 5]))
        assert "name no class: 'DENT' (2 objects), 'Kratzer' (1 objects)" in refused(made)
        made.yaml(
            classes=["a"],
            labels={"format": "coco", "path": "coco.json", "skip": ["Kratzer"], "ignore": ["dent"]},
            missing_mask="clean",
        )
        masks = masks_of(made, tmp_path / "out")
        assert np.array_equal(masks["p0"], EMPTY) and np.array_equal(masks["p1"], WHITE)

    def test_everything_wrong_is_told_together(self, tmp_path: Path) -> None:
        made = small(tmp_path / "board", 3, **self.VALUES)
        value = coco(segmentation=[[1, 2, 3, float("1e300"), 5, 6]])
        value["images"] += [
            {"id": 10, "file_name": "gone.png"},
            {"id": 11, "file_name": "../../etc/passwd"},
            {"id": 12, "file_name": "/etc/passwd"},
        ]
        value["images"][1]["width"] = 32
        value["annotations"] += [
            {"id": 20, "image_id": 99, "category_id": 7},
            {"id": 21, "image_id": 1, "category_id": 7, "segmentation": {"counts": [5, 5]}},
            {"id": 22, "image_id": 1, "category_id": 7, "segmentation": {"counts": "ZZ"}},
            {"id": 23, "image_id": 1, "category_id": 7, "segmentation": [["a"]]},
            {"id": 24, "image_id": 1, "category_id": 7, "bbox": [1, 2]},
            {"id": 25, "image_id": [1], "category_id": {}},
        ]
        made.json("coco.json", value)
        text = refused(made)
        for part in (
            "annotation 1: its coordinates are no numbers near", "there is no photograph 'gone.png'",
            "path '../../etc/passwd' leads out", "path '/etc/passwd' leads out",
            "made for 32 x 64 pixels, images/p1.png has 64 x 64", "annotation 20: its image or category",
            "annotation 21: its runs cover 10 of 4096", "annotation 22: its run lengths are no COCO text",
            "annotation 23: its polygon is no list", "annotation 24: it has neither",
            "annotation 25: its image",
        ):  # fmt: skip
            assert part in text
        assert "11 problems" in text

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "is not readable JSON"),
            ("[" * 100_000, "is not readable JSON"),
            ('{"images": NaN}', "NaN is no number"),
            ("[]", "is no COCO file"),
            ('{"images": [1], "annotations": [], "categories": []}', "is no COCO file"),
        ],
    )
    def test_files_that_are_none(self, tmp_path: Path, text: str, message: str) -> None:
        made = small(tmp_path / "board", 3, **self.VALUES)
        made.text("coco.json", text)
        assert message in refused(made)


class TestLabelMe:
    VALUES: ClassVar[dict[str, Any]] = {"labels": {"format": "labelme", "path": "labels"}}

    def shape(self, kind: str, points: list[list[float]], label: str = "scratch") -> dict[str, Any]:
        return {"label": label, "shape_type": kind, "points": points}

    def test_polygons_rectangles_and_circles(self, tmp_path: Path) -> None:
        made = small(tmp_path / "board", 3, **self.VALUES)
        polygon = self.shape("polygon", [[10, 20], [30, 20], [30, 25], [10, 25]])
        rectangles = [self.shape("rectangle", [[30, 25], [10, 20]], "Dent")]
        circle = self.shape("circle", [[32, 32], [32, 42]])
        for number, shapes in enumerate(([polygon], rectangles, [circle])):
            value = {"shapes": shapes, "imageWidth": 64, "imageHeight": 64, "imagePath": "../../else.png"}
            made.json(f"labels/p{number}.json", value)
        masks = masks_of(made, tmp_path / "out")
        assert np.array_equal(masks["p0"], ONE) and np.array_equal(masks["p1"], TWO)
        assert masks["p2"] is not None and abs(int(masks["p2"].sum()) - np.pi * 100) < 12

    def test_a_file_without_shapes_says_no_defect(self, tmp_path: Path) -> None:
        made = small(tmp_path / "board", 3, **self.VALUES)
        for number in range(3):
            made.json(f"labels/p{number}.json", {"shapes": []})
        assert all(np.array_equal(mask, EMPTY) for mask in masks_of(made, tmp_path / "out").values())

    def test_what_has_no_area_and_what_belongs_to_nothing(self, tmp_path: Path) -> None:
        made = small(tmp_path / "board", 3, **self.VALUES)
        shapes = [self.shape("line", [[1, 1], [5, 5]]), self.shape("polygon", [[1, 1], [2]])]
        made.json("labels/p0.json", {"shapes": shapes})
        made.json("labels/q.json", {"shapes": []})
        made.json("labels/p1.json", {"shape": []})
        text = refused(made)
        assert "a 'line' of 2 points has no area here" in text and "its points are no pairs" in text
        assert "q.json belongs to no photograph" in text and "p1.json is no LabelMe file" in text


class TestVoc:
    VALUES: ClassVar[dict[str, Any]] = {"labels": {"format": "voc", "path": "xml"}}

    def xml(self, *boxes: tuple[object, ...], size: tuple[int, int] = (64, 64)) -> str:
        names = ("xmin", "ymin", "xmax", "ymax")
        objects = "".join(
            f"<object><name>{label}</name><bndbox>"
            + "".join(f"<{name}>{value}</{name}>" for name, value in zip(names, box, strict=True))
            + "</bndbox></object>"
            for label, *box in boxes
        )
        sides = f"<width>{size[0]}</width><height>{size[1]}</height>"
        return f"<annotation><size>{sides}</size>{objects}</annotation>"

    def test_boxes_count_pixels_from_one(self, tmp_path: Path) -> None:
        made = small(tmp_path / "board", 3, **self.VALUES)
        made.text("xml/p0.xml", self.xml(("scratch", 11, 21, 30, 25)))
        made.text("xml/p1.xml", self.xml(("Dent", -50, 21, 9, 600)))
        made.text("xml/p2.xml", self.xml())
        masks = masks_of(made, tmp_path / "out")
        assert np.array_equal(masks["p0"], ONE) and np.array_equal(masks["p2"], EMPTY)
        assert np.array_equal(masks["p1"], rectangle(64, 64, (0, 20, 9, 64), 2))
        assert "boxes, not outlines" in read_json(tmp_path / "out" / "dataset.json")["notes"][0]

    def test_bombs_and_other_faults(self, tmp_path: Path) -> None:
        made = small(tmp_path / "board", 3, **self.VALUES)
        laughs = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
        made.text("xml/p0.xml", f'<!DOCTYPE a [<!ENTITY l0 "ha">{laughs}]><annotation>&l9;</annotation>')
        made.text("xml/p1.xml", self.xml(("dent", "x", 2, 3, 4), size=(32, 64)))
        made.text("xml/p2.xml", "<annotation>")
        text = refused(made)
        assert "p0.xml declares entities or a document type" in text
        assert "object 1 ('dent'): its coordinates are no numbers" in text and "made for 32 x 64" in text
        assert "p2.xml is not readable XML" in text
        made.text("xml/p2.xml", "<annotation>" + " " * 2**20)
        assert "p2.xml is larger than 1024 KiB" in refused(made)
