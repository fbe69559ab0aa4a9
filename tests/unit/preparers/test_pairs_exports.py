"""Annotation files as labelling tools write them: each gives the drawn pixels, or an error that names it."""

from __future__ import annotations

import base64
import io
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from cadnet.files import read_json
from cadnet.preparers.pairs import plan_pairs
from cadnet.writing.units import PreparationError
from tests.fake_pairs import FakeProduct, board, masks_of, rectangle, small

ONE = rectangle(64, 48, (10, 20, 30, 25), 1)
EMPTY = np.zeros_like(ONE)
SQUARE = [10, 20, 30, 20, 30, 25, 10, 25]
TURNED = cv2.boxPoints(((20.0, 22.0), (20.0, 8.0), 30.0))
"""Corners of a box turned clockwise as shown by 30 degrees, by OpenCV."""


def product(root: Path, form: str, path: str = "labels", **values: Any) -> FakeProduct:
    """Three photographs of 64 x 48, wider than high, p0 for training, p1 and p2."""
    labels = {"format": form, "path": path, **values.pop("labels", {})}
    made = FakeProduct(root, **{"classes": ["scratch", "dent"], "labels": labels, **values})
    made.picture("references/clean.png", board(0, 64, 48))
    for number in range(3):
        made.picture(f"images/p{number}.png", board(0, 64, 48))
    made.text("images.csv", "image,split\np0.png,train\np1.png,val\np2.png,test\n")
    return made


def masks(made: FakeProduct, out: Path) -> list[np.ndarray]:
    """The masks of p0, p1 and p2 on the 64 x 48 pixels of the photographs."""
    found = masks_of(made, out)
    return [mask[:48] for name in ("p0", "p1", "p2") if (mask := found[name]) is not None]


def refused(made: FakeProduct) -> str:
    with pytest.raises(PreparationError) as caught:
        plan_pairs(made.params())
    return str(caught.value)


def coco(
    items: list[dict[str, Any]], files: tuple[str, ...] = ("p0.png", "p1.png", "p2.png")
) -> dict[str, Any]:
    """``items`` beside an object in each of p1 and p2."""
    images = [{"id": number, "file_name": name} for number, name in enumerate(files)]
    rest = [{"id": 90 + n, "image_id": n, "category_id": 1, "bbox": [10, 20, 20, 5]} for n in (1, 2)]
    first = [{"id": n, "image_id": 0, "category_id": 1, **item} for n, item in enumerate(items)]
    return {"images": images, "annotations": first + rest, "categories": [{"id": 1, "name": "scratch"}]}


def text_of(mask: np.ndarray) -> dict[str, Any]:
    packed = coco_mask.encode(np.asfortranarray(mask))
    return {"size": packed["size"], "counts": packed["counts"].decode()}


class TestCoco:
    @pytest.mark.parametrize(
        "item",
        [
            {"segmentation": SQUARE},
            {"segmentation": [SQUARE]},
            {"segmentation": [[]], "bbox": [10, 20, 20, 5]},
            {"segmentation": [], "bbox": [30, 25, -20, -5]},
            {"bbox": [30, 20, -20, 5]},
            {"segmentation": text_of(ONE)},
            {"image_id": "0", "category_id": "1", "segmentation": [SQUARE]},
            {"image_id": 0.0, "category_id": "1.0", "segmentation": [SQUARE]},
        ],
    )
    def test_forms_of_one_object(self, tmp_path: Path, item: dict[str, Any]) -> None:
        made = product(tmp_path / "board", "coco")
        made.json("labels/coco.JSON", coco([item]))
        assert np.array_equal(masks(made, tmp_path / "out")[0], ONE)

    def test_polygons_are_filled_as_pycocotools_fills_them(self, tmp_path: Path) -> None:
        draw = np.random.default_rng(3)
        outlines = [
            [draw.uniform(8, 56, 2 * n).clip(max=47).round(1).tolist() for n in (5, 3)] for _ in range(3)
        ]
        value = coco([])
        value["annotations"] = [
            {"id": n + 1, "image_id": n, "category_id": 1, "segmentation": part}
            for n, part in enumerate(outlines)
        ]
        made = product(tmp_path / "board", "coco", "coco.json")
        for image in value["images"]:
            image |= {"width": 64, "height": 48}
        api = COCO(str(made.json("coco.json", value)))
        read = masks(made, tmp_path / "out")
        for number, mask in enumerate(read):
            assert np.array_equal(mask, api.annToMask(api.anns[number + 1]))

    def test_boxes_turned_by_cvat(self, tmp_path: Path) -> None:
        made = product(tmp_path / "board", "coco")
        made.json("labels/a.json", coco([{"bbox": [10, 18, 20, 8], "attributes": {"rotation": 30.0}}]))
        assert_like(masks(made, tmp_path / "out")[0], TURNED)

    def test_fractions_of_the_sides_are_scaled_where_all_are_such(self, tmp_path: Path) -> None:
        made = product(tmp_path / "board", "coco")
        part = [value / (64, 48)[index % 2] for index, value in enumerate(SQUARE)]
        value = coco([{"segmentation": [part]}])
        mixed = made.json("labels/a.json", value)
        assert "annotation 0 ('scratch'): it lies within one pixel, as if" in refused(made)
        for item in value["annotations"][1:]:
            item["bbox"] = [10 / 64, 20 / 48, 20 / 64, 5 / 48]
        mixed.write_text(json.dumps(value), "utf-8")
        assert all(np.array_equal(mask, ONE) for mask in masks(made, tmp_path / "out"))

    @pytest.mark.parametrize(
        ("item", "message"),
        [
            ({"bbox": [70, 20, 5, 5]}, "its box covers no pixel of images/p0.png"),
            ({"bbox": [10, 20, 0, 5]}, "its box covers no pixel of images/p0.png"),
            ({"segmentation": {"size": [48, 64], "counts": [48 * 64]}}, "its rle covers no pixel"),
            ({"segmentation": [[10, 20, 30, 20, 20, 20]]}, "its polygon covers no pixel"),
            ({"segmentation": {**text_of(ONE), "size": [64, 48]}}, "run lengths are of the size [64, 48]"),
            ({"bbox": [10, 10**400, 1, 1]}, "its coordinates are no numbers near"),
            ({"bbox": [1e308, 1, 1e308, 1], "attributes": {"rotation": 9}}, "its coordinates are no numbers"),
            ({"bbox": [1, 1, 5]}, "it has neither segmentation nor a bbox"),
            ({"image_id": True}, "no entry of the file has its image_id True"),
        ],
    )
    def test_an_object_that_leaves_nothing_is_named(
        self, tmp_path: Path, item: dict[str, Any], message: str
    ) -> None:
        made = product(tmp_path / "board", "coco")
        path = made.json("labels/a.json", coco([item]))
        text = refused(made)
        assert f"{path}, annotation 0" in text and message in text

    def test_an_object_under_one_of_another_class_is_named(self, tmp_path: Path) -> None:
        made = product(tmp_path / "board", "coco")
        value = coco([{"bbox": [12, 21, 3, 3]}, {"bbox": [10, 20, 20, 5], "category_id": 2}])
        value["categories"].append({"id": 2, "name": "dent"})
        made.json("labels/a.json", value)
        assert "annotation 0 ('scratch'): later objects of other classes cover it wholly" in refused(made)
        value["categories"].append({"id": "2", "name": "scratch"})
        made.json("labels/a.json", value)
        assert "category 2 is 'dent' and 'scratch'" in refused(made)

    def test_a_hole_as_a_further_part(self, tmp_path: Path) -> None:
        made = product(tmp_path / "board", "coco")
        hole = [12, 21, 20, 21, 20, 24, 12, 24]
        made.json("labels/a.json", coco([{"segmentation": [SQUARE, hole], "area": 76}]))
        expected = ONE.copy()
        expected[21:24, 12:20] = 0
        assert np.array_equal(masks(made, tmp_path / "out")[0], expected)

    def test_two_files_with_the_same_photographs(self, tmp_path: Path) -> None:
        made = product(tmp_path / "board", "coco")
        first, second = (made.json(f"labels/v{n}.json", coco([{"bbox": [n, 1, 5, 5]}])) for n in (1, 2))
        assert f"{second} and {first} both list 3 photographs (images/p0.png" in refused(made)


def assert_like(mask: np.ndarray, corners: np.ndarray) -> None:
    """``mask`` shows the polygon as pycocotools fills it, which depends a little on where it begins."""
    runs = coco_mask.frPyObjects([corners.ravel().tolist()], *mask.shape)
    assert (mask != coco_mask.decode(runs)[:, :, 0]).sum() <= 2 and abs(int(mask.sum()) - 160) <= 8


class TestLabelMe:
    def write(self, made: FakeProduct, *shapes: dict[str, Any], name: str = "p0.json") -> None:
        for other in ("p1.json", "p2.json"):
            made.json(f"labels/{other}", {"shapes": []})
        made.json(f"labels/{name}", {"shapes": [{"label": "scratch", **shape} for shape in shapes]})

    def bits(self, mask: np.ndarray) -> str:
        file = io.BytesIO()
        Image.fromarray(mask).save(file, "PNG")
        return base64.b64encode(file.getvalue()).decode()

    @pytest.mark.parametrize("kind", ["rectangle", "polygon", "rotation", "oriented_rectangle"])
    def test_four_corners(self, tmp_path: Path, kind: str) -> None:
        made = product(tmp_path / "board", "labelme")
        points = np.reshape(SQUARE, (4, 2)).tolist()
        self.write(made, {"shape_type": kind, "points": points}, name="p0.JSON")
        assert np.array_equal(masks(made, tmp_path / "out")[0], ONE)

    def test_masks(self, tmp_path: Path) -> None:
        made = product(tmp_path / "board", "labelme")
        drawn = np.random.default_rng(0).integers(0, 2, (5, 20)).astype(np.uint8)
        shape = {"shape_type": "mask", "points": [[10, 20], [29, 24]], "mask": self.bits(drawn)}
        self.write(made, shape)
        expected = EMPTY.copy()
        expected[20:25, 10:30] = drawn
        assert np.array_equal(masks(made, tmp_path / "out")[0], expected)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"mask": "no base64!"}, "its mask cannot be read"),
            ({"mask": None}, "a 'mask' needs a picture"),
            ({"points": [[60, 20], [79, 24]]}, "its mask reaches out of the photograph"),
            ({"large": True}, "100 x 5 pixels are more than the photograph's"),
            ({"empty": True}, "its rle covers no pixel"),
        ],
    )
    def test_masks_that_cannot_be_used(self, tmp_path: Path, values: dict[str, Any], message: str) -> None:
        made = product(tmp_path / "board", "labelme")
        drawn = np.full((5, 100 if values.get("large") else 20), not values.get("empty"), np.uint8)
        shape = {"shape_type": "mask", "points": [[10, 20], [29, 24]], "mask": self.bits(drawn), **values}
        self.write(made, shape)
        text = refused(made)
        assert "p0.json, shape 1 ('scratch'): " in text and message in text

    def test_fractions_of_the_sides(self, tmp_path: Path) -> None:
        made = product(tmp_path / "board", "labelme")
        points = (np.reshape(SQUARE, (4, 2)) / (64, 48)).tolist()
        self.write(made, {"points": points}, {"shape_type": "rectangle", "points": [points[0], points[2]]})
        assert np.array_equal(masks(made, tmp_path / "out")[0], ONE)


class TestVoc:
    def write(self, made: FakeProduct, inside: str, name: str = "p0.xml") -> None:
        for other in ("p1.xml", "p2.xml"):
            made.text(f"labels/{other}", "<annotation/>")
        objects = f"<object><name>scratch</name>{inside}</object>"
        made.text(f"labels/{name}", f"<annotation>{objects}</annotation>")

    @pytest.mark.parametrize(
        "inside",
        [
            "<bndbox><xmin>30</xmin><ymin>25</ymin><xmax>11</xmax><ymax>21</ymax></bndbox>",
            "<robndbox><cx>20</cx><cy>22.5</cy><w>5</w><h>20</h><angle>1.5707963</angle></robndbox>",
            "<polygon><x1>10</x1><y1>20</y1><x2>30</x2><y2>20</y2><x3>30</x3><y3>25</y3><x4>10</x4><y4>25</y4>"
            "</polygon><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>60</xmax><ymax>40</ymax></bndbox>",
            "<polygon><pt><x>10</x><y>20</y></pt><pt><x>30</x><y>20</y></pt><pt><x>30</x><y>25</y></pt>"
            "<pt><x>10</x><y>25</y></pt></polygon>",
            "<bndbox><xmin>.15625</xmin><ymin>.416667</ymin><xmax>.46875</xmax><ymax>.520833</ymax></bndbox>",
        ],
    )
    def test_forms_of_one_object(self, tmp_path: Path, inside: str) -> None:
        made = product(tmp_path / "board", "voc")
        self.write(made, inside, "P0.XML")
        assert np.array_equal(masks(made, tmp_path / "out")[0], ONE)

    @pytest.mark.parametrize(
        "inside",
        [
            "<robndbox><cx>20</cx><cy>22</cy><w>20</w><h>8</h><angle>0.5235988</angle></robndbox>",
            "<bndbox><xmin>11</xmin><ymin>19</ymin><xmax>30</xmax><ymax>26</ymax></bndbox><attributes><attribute>"
            "<name>rotation</name><value>30.0</value></attribute></attributes>",
        ],
    )
    def test_turned_boxes(self, tmp_path: Path, inside: str) -> None:
        made = product(tmp_path / "board", "voc")
        self.write(made, inside)
        assert_like(masks(made, tmp_path / "out")[0], TURNED)

    @pytest.mark.parametrize(
        ("inside", "message"),
        [
            ("", "it has no bndbox, robndbox or polygon"),
            ("<bndbox><xmin>1</xmin></bndbox>", "its coordinates are no numbers"),
            ("<robndbox><cx>1e400</cx></robndbox>", "its coordinates are no numbers"),
            (
                "<bndbox><xmin>90</xmin><ymin>1</ymin><xmax>95</xmax><ymax>5</ymax></bndbox>",
                "covers no pixel",
            ),
        ],
    )
    def test_objects_that_leave_nothing(self, tmp_path: Path, inside: str, message: str) -> None:
        made = product(tmp_path / "board", "voc")
        self.write(made, inside)
        text = refused(made)
        assert "p0.xml, object 1 ('scratch'): " in text and message in text

    def test_another_tools_xml_is_not_taken_for_no_defect(self, tmp_path: Path) -> None:
        made = product(tmp_path / "board", "voc")
        self.write(made, "")
        made.text("labels/p0.xml", "<annotations><image/></annotations>")
        assert "p0.xml begins with <annotations>; export it as Pascal VOC" in refused(made)


class TestYolo:
    LINES = "1 " + " ".join(str(v / (64, 48)[i % 2]) for i, v in enumerate(SQUARE)) + "\n"
    BOX = f"1 {20 / 64} {22.5 / 48} {20 / 64} {5 / 48}\n"

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("labels/classes.txt", "dent\nScratch\n"),
            ("data.yaml", "names: [dent, scratch]\n"),
            ("data.yaml", "names:\n  0: dent\n  1: scratch\n"),
            ("obj.names", "dent\nscratch\n"),
        ],
    )
    def test_polygons_boxes_and_names(self, tmp_path: Path, name: str, text: str) -> None:
        made = product(tmp_path / "board", "yolo")
        made.text(name, text)
        for number, lines in enumerate((self.LINES, self.BOX, "")):
            made.text(f"labels/p{number}.txt", lines)
        read = masks(made, tmp_path / "out")
        assert np.array_equal(read[0], ONE) and np.array_equal(read[1], ONE) and not read[2].any()

    def test_a_map_that_unfolds_to_billions_of_values_is_refused(self, tmp_path: Path) -> None:
        made = product(tmp_path / "board", "yolo")
        bomb = "a0: &a0 [x]\n" + "".join(
            f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
        )
        made.text("data.yaml", f"{bomb}names: [*a11]\n")
        made.text("labels/p0.txt", self.BOX)
        assert "its aliases unfold to more than 20000 values" in refused(made)

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("7 .1 .1 .2 .2", "class 7 has no name"),
            ("0 .1 .1 .2", "it has 3 numbers after the class"),
            ("0 10 20 20 5", "its numbers are no fractions"),
            ("0 a b c d", "holds more than numbers"),
            ("0 .1 .1 nan .2", "its numbers are no fractions"),
            ("0 .1 .1 0 .2", "its box covers no pixel"),
        ],
    )
    def test_lines_that_cannot_be_used(self, tmp_path: Path, line: str, message: str) -> None:
        made = product(tmp_path / "board", "yolo")
        made.text("labels/classes.txt", "scratch\n")
        for number, text in enumerate((line, "", "")):
            made.text(f"labels/p{number}.txt", text)
        text = refused(made)
        assert "p0.txt, line 1" in text and message in text

    def test_numbers_without_names_are_refused(self, tmp_path: Path) -> None:
        made = product(tmp_path / "board", "yolo")
        made.text("labels/p0.txt", self.BOX)
        assert "have no names; put classes.txt" in refused(made)
        made.text("labels/data.yaml", "nc: 2\n")
        assert "data.yaml has no entry `names`" in refused(made)


class TestFiles:
    """Every file in the labels folder is used, refused or named in the notes."""

    def test_names_of_tools_and_other_systems(self, tmp_path: Path) -> None:
        made = product(tmp_path / "board", "coco")
        files = ("/data/upload/1/1a2b3c4d-p0.png", "C:\\photos\\P1.PNG", "p2_png.rf.0123456789abcdef.jpg")
        made.json("labels/a.json", coco([{"bbox": [10, 20, 20, 5]}], files))
        assert all(np.array_equal(mask, ONE) for mask in masks(made, tmp_path / "out"))
        notes = read_json(tmp_path / "out" / "dataset.json")["notes"]
        assert any(
            note.startswith("2 names are taken without") and "is images/p2.png" in note for note in notes
        )

    def test_sidecars_with_prefix_hash_or_the_whole_name(self, tmp_path: Path) -> None:
        made = product(tmp_path / "board", "yolo")
        made.text("labels/classes.txt", "dent\nscratch\n")
        for name in ("1a2b3c4d-p0.txt", "p1_png.rf.0123456789abcdef.txt", "p2.png.txt"):
            made.text(f"labels/{name}", TestYolo.BOX)
        assert all(np.array_equal(mask, ONE) for mask in masks(made, tmp_path / "out"))
        made.text("labels/p1.txt", TestYolo.BOX)
        assert "images/p1.png has two labels" in refused(made)

    def test_the_folder_of_a_name_counts(self, tmp_path: Path) -> None:
        made = product(tmp_path / "board", "coco")
        for name in ("day1/0", "day1/1", "day2/1"):
            made.picture(f"images/{name}.png", board(0, 64, 48))
        files = ("p0.png", "p1.png", "p2.png", "day2/0.png", "day1/0.png", "other/images/day1/1.png")
        made.json("labels/a.json", coco([], files))
        text = refused(made)
        assert "image 3: there is no photograph 'day2/0.png'" in text and "image 4" not in text
        assert "image 5" not in text

    def test_a_bare_name_is_first_the_photograph_beside_its_file(self, tmp_path: Path) -> None:
        made = product(tmp_path / "board", "coco", "images")
        for name in ("day1/p0", "day2/p0"):
            made.picture(f"images/{name}.png", board(0, 64, 48))
        value = coco([{"bbox": [10, 20, 20, 5]}], ["p0.png"])
        value["annotations"] = value["annotations"][:1]
        for day in ("day1", "day2"):
            made.json(f"images/{day}/_annotations.coco.json", value)
        (made.root / "images.csv").write_text("image,split\nday1/p0.png,train\nday2/p0.png,val\n", "utf-8")
        assert sorted(plan_pairs(made.params()).description["labels"]) == [
            "images/day1/p0.png",
            "images/day2/p0.png",
        ]

    def test_suffixes_formats_and_empty_folders(self, tmp_path: Path) -> None:
        made = product(tmp_path / "board", "voc")
        assert "labels' of product.yaml holds no file" in refused(made) or "does not exist" in refused(made)
        made.text("labels/readme.md", "soon")
        assert "labels 'labels' of product.yaml holds no file of the format voc" in refused(made)
        made.text("labels/p0.XML", "<annotation/>")
        for name in ("p0.json", "p1.json", "notes.txt"):
            made.text(f"labels/{name}", "{}")
        made.text("labels/p2.xml", "<annotation/>")
        text = refused(made)
        assert "p1.json is no label of the format voc, and images/p1.png has no other" in text
        assert "p0.json is" not in text
        (made.root / "labels/p1.json").unlink()
        made.text("labels/p1.xml", "<annotation/>")
        masks(made, tmp_path / "out")
        notes = read_json(tmp_path / "out" / "dataset.json")["notes"]
        assert notes[0] == "2 files in the labels folder are not read: labels/notes.txt, labels/p0.json"

    def test_a_name_that_is_no_utf8_is_named_and_the_rest_is_checked(self, tmp_path: Path) -> None:
        made = product(tmp_path / "board", "voc")
        made.text("labels/q.xml", "<annotation/>")
        (made.root / "labels/q.xml").rename(os.fsdecode(os.fsencode(made.root) + b"/labels/Stra\xdfe.xml"))
        made.text("labels/p0.xml", "<annotations/>")
        text = refused(made)
        assert "labels/Stra\\udcdfe.xml' is no UTF-8" in text and "p0.xml begins with" in text
        text.encode("utf-8")


def test_a_split_list_saved_by_a_spreadsheet(tmp_path: Path) -> None:
    made = small(tmp_path / "board", 3, labels=None, missing_mask="clean")
    (made.root / "images.csv").unlink()
    listed = tmp_path / "splits.csv"
    rows = ("image;split", "images/p0.png;train", "p1.png ;val", "images\\p2.png;test", "")
    listed.write_bytes("\r\n".join(rows).encode("utf-8-sig"))
    plan = plan_pairs(made.params(split_list=str(listed)))
    assert plan.description["splits"] == {
        "images/p0.png": "train", "images/p1.png": "val", "images/p2.png": "test",
    }  # fmt: skip
