"""What annotation files mean, pixel for pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

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


def coco(**values: Any) -> dict[str, Any]:
    """Three photographs, a scratch in the first given as ``values``."""
    item = {"id": 1, "image_id": 0, "category_id": 7, **values}
    images = [{"id": n, "file_name": f"p{n}.png", "width": 64, "height": 64} for n in range(3)]
    box = {"image_id": 1, "category_id": 8, "bbox": [10, 20, 20, 5], "id": 2}
    other = {"image_id": 2, "category_id": 8, "bbox": [60, 60, 5, 5], "id": 3}
    categories = [{"id": 7, "name": "Kratzer"}, {"id": 8, "name": "DENT"}]
    return {"images": images, "annotations": [item, box, other], "categories": categories}


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
            {"id": 13, "file_name": "images/p2.png"},
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
            "annotation 1 ('Kratzer'): its coordinates are no numbers near",
            "there is no photograph 'gone.png'",
            "path '../../etc/passwd' leads out",
            "path '/etc/passwd' leads out",
            "made for 32 x 64 pixels, images/p1.png has 64 x 64",
            "annotation 20: no entry of the file has its image_id 99;",
            "annotation 21 ('Kratzer'): its runs cover 10 of 4096",
            "annotation 22 ('Kratzer'): its run lengths are no COCO text",
            "annotation 23 ('Kratzer'): its polygon is no list",
            "annotation 24 ('Kratzer'): it has neither",
            "annotation 25: no entry of the file has its image_id [1] and category_id {}",
            "image 13: images/p2.png has an entry already",
        ):
            assert part in text
        assert "12 problems" in text

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
