from __future__ import annotations

from pathlib import Path

import pytest

from cadnet.preparers.pku_pcb.layout import MAX_BOXES, Box, class_name, read_annotation
from cadnet.writing.units import PreparationError
from tests.fake_pku import write_annotation
from tests.samples import sample

BOMB = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<annotation><filename>&b;</filename></annotation>"""
EXTERNAL = """<?xml version="1.0"?>
<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><annotation><filename>&e;</filename></annotation>"""


def said(path: Path) -> str:
    with pytest.raises(PreparationError) as caught:
        read_annotation(path)
    return str(caught.value)


def test_boxes_count_from_one_and_include_their_last_pixel(tmp_path: Path) -> None:
    path = write_annotation(tmp_path / "a.xml", "short", [(1, 1, 10, 20), (400, 290, 420, 300)])
    annotation = read_annotation(path)
    assert (annotation.width, annotation.height) == (420, 300)
    assert annotation.boxes == (Box("short", 0, 0, 10, 20), Box("short", 399, 289, 420, 300))
    assert annotation.boxes[0].area == 200 and annotation.clipped == (False, False)


def test_a_box_over_the_edge_is_clipped_and_said_to_be(tmp_path: Path) -> None:
    annotation = read_annotation(
        write_annotation(tmp_path / "a.xml", "spur", [(-3, 5, 12, 20), (5, 5, 425, 9)])
    )
    assert annotation.boxes == (Box("spur", 0, 4, 12, 20), Box("spur", 4, 4, 420, 9))
    assert annotation.clipped == (True, True)


@pytest.mark.parametrize(
    ("box", "fault"),
    [
        ((500, 10, 520, 30), "lies outside the 420 x 300 photograph"),
        ((10, -40, 30, -2), "lies outside"),
        ((50, 50, 50, 50), "has no area"),
        ((50, 50, 40, 60), "has no area"),
    ],
)
def test_boxes_that_hold_nothing_are_faults(tmp_path: Path, box: tuple[int, ...], fault: str) -> None:
    assert fault in said(write_annotation(tmp_path / "a.xml", "spur", [box]))  # type: ignore[list-item]


def test_all_faults_of_a_file_are_reported_together(tmp_path: Path) -> None:
    path = write_annotation(tmp_path / "a.xml", "scratch", [(1, 1, 9, 9)])
    text = path.read_text()
    path.write_text(
        text.replace("</annotation>", text[text.index("<object>") :]).replace("<xmin>1<", "<xmin>x<", 1)
    )
    lines = said(path).splitlines()
    assert len(lines) == 2 and "box 1" in lines[0] and "box 2" in lines[1]
    assert "class 'scratch' is unknown; known are missing_hole, mouse_bite" in lines[1]


@pytest.mark.parametrize("text", [BOMB, EXTERNAL])
def test_entities_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bomb.xml").write_text(text)
    assert "bomb.xml declares a document type or entities" in said(tmp_path / "bomb.xml")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is not readable XML"),
        ("<annotation>", "is not readable XML"),
        ("<annotation></annotation>", "gives no photograph size"),
        (
            "<annotation><size><width>9</width><height>1e999</height></size></annotation>",
            "gives no photograph size",
        ),
        ("<annotation><size><width>9</width><height>9</height></size></annotation>", "has no box"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "is not readable XML"),
    ],
)
def test_files_that_say_nothing(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    assert fault in said(tmp_path / "a.xml")


def test_floods_are_refused(tmp_path: Path) -> None:
    many = [(x + 1, 1, x + 9, 9) for x in range(MAX_BOXES + 1)]
    assert "at most 200 are read" in said(write_annotation(tmp_path / "many.xml", "spur", many))
    (tmp_path / "large.xml").write_text("<annotation>" + " " * 2**20)
    assert "is larger than" in said(tmp_path / "large.xml")


def test_class_names_in_any_form() -> None:
    forms = ("Missing_hole", "missing-hole", " Missing  Hole ", "MISSING_HOLE")
    assert {class_name(form) for form in forms} == {"missing_hole"}


def test_all_original_files_are_read() -> None:
    files = sorted(sample("pku-pcb-annotations").rglob("*.xml"))
    annotations = [read_annotation(file) for file in files]
    assert len(annotations) == 693 and sum(len(a.boxes) for a in annotations) == 2953
    assert not any(any(a.clipped) for a in annotations)
