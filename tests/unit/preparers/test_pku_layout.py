from __future__ import annotations

import io
import shutil
import struct
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cadnet.images.files import safe_name
from cadnet.preparers.pku_pcb.layout import MAX_BOXES, Box, Raw, class_name, read_annotation, read_layout
from cadnet.writing.units import PreparationError
from tests.fake_pku import WIDTH, draw_board, write_annotation, write_fake_pku, write_jpeg
from tests.samples import sample


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_pku(
        tmp_path_factory.mktemp("pku") / "raw", classes=("missing_hole", "short"), rotation="grown"
    )


@pytest.fixture
def raw(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "raw"))


def read(root: Path, rotated: bool = True) -> Raw:
    return read_layout(str(root), rotated)


def said(root: Path) -> str:
    with pytest.raises(PreparationError) as caught:
        read(root)
    return str(caught.value)


def names(layout: Raw) -> list[str]:
    return [photograph.name for photograph in layout.photographs]


def test_photographs_with_what_belongs_to_them(raw: Path) -> None:
    layout = read(raw)
    assert len(layout.photographs) == 8 and names(layout) == sorted(names(layout))
    first = layout.photographs[0]
    assert (first.name, first.sample, first.board, first.board_file) == (
        "01_missing_hole_01", "01_missing_hole_01", "01", "PCB_USED/01.JPG",
    )  # fmt: skip
    assert first.file == "images/Missing_hole/01_missing_hole_01.jpg"
    assert first.copy == "rotation/Missing_hole_rotation/01_missing_hole_01.jpg" and first.angle == -7
    assert len(first.annotation.boxes) == 3 and len(layout.angle_files) == 2
    assert all(photograph.copy is None for photograph in read(raw, rotated=False).photographs)


def test_nothing_there_says_what_to_put_where(tmp_path: Path) -> None:
    message = said(tmp_path / "pku_pcb")
    for part in ("there is no PKU-Market-PCB at", "PCB_USED/01.JPG", "Annotations/Short", "DATASET=pku_pcb"):
        assert part in message
    (tmp_path / "pku_pcb" / "images").mkdir(parents=True)
    assert "does not hold PCB_USED" in said(tmp_path / "pku_pcb")


def test_nesting_flat_folders_and_leftovers_do_no_harm(raw: Path, tmp_path: Path) -> None:
    wanted = names(read(raw))
    for path in list((raw / "Annotations").rglob("*.xml")):
        path.rename(raw / "Annotations" / path.name)
    (raw / "images" / "Spur").mkdir()
    (raw / "images" / "Short" / "._01_short_01.jpg").write_bytes(b"a Mac's notes")
    (raw / "images" / "Short" / "Thumbs.db").write_bytes(b"")
    (raw / "PCB_USED" / "readme.txt").write_text("boards")
    for path, suffix in zip(
        sorted((raw / "images" / "Short").glob("0*.jpg")), (".JPG", ".jpeg", ".JPEG"), strict=False
    ):
        path.rename(path.with_suffix(suffix))
    nested = tmp_path / "outer" / "PCB_DATASET"
    nested.parent.mkdir()
    raw.rename(nested)
    layout = read(tmp_path / "outer")
    assert names(layout) == wanted and layout.root == nested


def test_an_archive_is_unpacked_once(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = names(read(raw))
    (tmp_path / "outer").mkdir()
    raw.rename(tmp_path / "outer" / "PCB_DATASET")
    archive = shutil.make_archive(str(tmp_path / "pcb"), "zip", tmp_path / "outer")
    layout = read(Path(archive))
    assert names(layout) == wanted and layout.root.is_relative_to("cache/raw")
    assert read(Path(archive)).root == layout.root


def test_names_with_accents_and_spaces_get_safe_ids(raw: Path) -> None:
    name = "01_défaut nº 3"
    for folder, suffix in (("images", ".jpg"), ("Annotations", ".xml"), ("rotation", ".jpg")):
        part = "Short_rotation" if folder == "rotation" else "Short"
        path = raw / folder / part / f"01_short_01{suffix}"
        form = unicodedata.normalize("NFD" if folder == "images" else "NFC", name)
        path.rename(path.with_name(f"{form}{suffix}"))
    angles = raw / "rotation" / "Short_angles.txt"
    angles.write_text(angles.read_text("utf-8").replace("01_short_01", name), "utf-8")
    (found,) = (p for p in read(raw).photographs if p.name == name)
    assert found.sample == safe_name(name) and found.sample.isascii() and " " not in found.sample
    assert found.sample.startswith("01_defaut-no-3-") and found.angle is not None and found.copy is not None
    assert safe_name("01_défaut nº 4") != safe_name("01_defaut no 4")
    assert safe_name("板").startswith("x-")


def large_header() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_unusable_files_are_reported_together(raw: Path) -> None:
    short = raw / "images" / "Short"
    whole = (short / "01_short_01.jpg").read_bytes()
    (short / "01_short_01.jpg").write_bytes(whole[: len(whole) // 2])
    (short / "01_short_02.jpg").write_bytes(b"")
    (short / "07_short_01.jpg").write_bytes(large_header())
    (raw / "rotation" / "Short_rotation" / "07_short_02.jpg").write_bytes(b"not a picture")
    (raw / "Annotations" / "Missing_hole" / "01_missing_hole_01.xml").write_text("<annotation>")
    write_annotation(raw / "Annotations" / "Missing_hole" / "07_missing_hole_01.xml", "dent", [(1, 1, 9, 9)])
    with (raw / "rotation" / "Short_angles.txt").open("a") as file:
        file.write("07_short_02\tupside down\n")
    message = said(raw)
    assert message.startswith("7 problems in ")
    for part in (
        "01_short_01.jpg is cut short",
        "01_short_02.jpg cannot be decoded",
        "07_short_01.jpg has more than 134217728 pixels",
        "07_short_02.jpg cannot be decoded",
        "01_missing_hole_01.xml is not readable XML",
        "class 'dent' is unknown",
        "upside down",
    ):
        assert part in message


def drop_board(raw: Path) -> None:
    (raw / "PCB_USED" / "07.JPG").unlink()


def shrink_board(raw: Path) -> None:
    write_jpeg(raw / "PCB_USED" / "07.JPG", draw_board(1, WIDTH - 20))


def same_stem(raw: Path) -> None:
    shutil.copy(raw / "images" / "Short" / "01_short_01.jpg", raw / "images" / "Missing_hole")


def two_boards(raw: Path) -> None:
    shutil.copy(raw / "PCB_USED" / "01.JPG", raw / "PCB_USED" / "01.jpeg")


def lonely_annotation(raw: Path) -> None:
    (raw / "images" / "Short" / "01_short_01.jpg").unlink()


def lonely_photograph(raw: Path) -> None:
    (raw / "Annotations" / "Short" / "01_short_01.xml").unlink()


def other_size_noted(raw: Path) -> None:
    write_annotation(raw / "Annotations" / "Short" / "01_short_01.xml", "short", [(1, 1, 9, 9)], (400, 300))


def no_photographs(raw: Path) -> None:
    for folder in ("images", "Annotations", "rotation"):
        shutil.rmtree(raw / folder)
        (raw / folder).mkdir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop_board, r"07_short_02\.jpg shows board '07', and .*PCB_USED holds no 07\.JPG"),
        (shrink_board, r"07_short_02\.jpg is 420 x 300 and its board 400 x 300"),
        (same_stem, r"01_short_01 exists twice: .*Missing_hole.*Short"),
        (two_boards, r"01 exists twice: .*01\.JPG and PCB_USED/01\.jpeg"),
        (lonely_annotation, r"annotation .*01_short_01\.xml has no photograph of its name"),
        (lonely_annotation, r"rotated copy .*01_short_01\.jpg has no photograph of its name"),
        (lonely_photograph, r"photograph .*01_short_01\.jpg has no annotation of its name"),
        (other_size_noted, r"01_short_01\.xml is for 400 x 300 pixels and its photograph is 420 x 300"),
        (no_photographs, "holds no photographs"),
    ],
)
def test_what_does_not_belong_together(raw: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(raw)
    with pytest.raises(PreparationError, match=message):
        read(raw)


def test_a_photograph_lying_on_its_side_has_the_size_it_is_decoded_to(raw: Path) -> None:
    path = raw / "images" / "Short" / "01_short_01.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    data = io.BytesIO()
    Image.fromarray(np.zeros((WIDTH, 300, 3), np.uint8)).save(data, "JPEG", exif=exif)
    path.write_bytes(data.getvalue())
    assert "01_short_01" in names(read(raw))


BOMB = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<annotation><filename>&b;</filename></annotation>"""
EXTERNAL = """<?xml version="1.0"?>
<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><annotation><filename>&e;</filename></annotation>"""


def refused(path: Path) -> str:
    with pytest.raises(ValueError) as caught:
        read_annotation(path)
    return str(caught.value)


def test_boxes_count_from_one_and_include_their_last_pixel(tmp_path: Path) -> None:
    path = write_annotation(tmp_path / "a.xml", "short", [(1, 1, 10, 20), (400, 290, 420, 300)])
    annotation = read_annotation(path)
    assert (annotation.width, annotation.height) == (420, 300)
    assert annotation.boxes == (Box("short", 0, 0, 10, 20), Box("short", 399, 289, 420, 300))
    assert annotation.boxes[0].area == 200 and annotation.clipped == (False, False)


def test_a_box_over_the_edge_is_clipped_and_noted(tmp_path: Path) -> None:
    annotation = read_annotation(
        write_annotation(tmp_path / "a.xml", "spur", [(-3, 5, 12, 20), (5, 5, 425, 9)])
    )
    assert annotation.boxes == (Box("spur", 0, 4, 12, 20), Box("spur", 4, 4, 420, 9))
    assert annotation.clipped == (True, True)


@pytest.mark.parametrize(
    ("box", "fault"),
    [
        ((500, 10, 520, 30), "is outside the 420 x 300 photograph"),
        ((10, -40, 30, -2), "is outside"),
        ((50, 50, 50, 50), "has no area"),
        ((50, 50, 40, 60), "has no area"),
    ],
)
def test_boxes_that_hold_nothing_are_faults(tmp_path: Path, box: tuple[int, ...], fault: str) -> None:
    assert fault in refused(write_annotation(tmp_path / "a.xml", "spur", [box]))  # type: ignore[list-item]


def test_all_faults_of_a_file_are_reported_together(tmp_path: Path) -> None:
    path = write_annotation(tmp_path / "a.xml", "scratch", [(1, 1, 9, 9)])
    text = path.read_text()
    path.write_text(
        text.replace("</annotation>", text[text.index("<object>") :]).replace("<xmin>1<", "<xmin>x<", 1)
    )
    lines = refused(path).splitlines()
    assert len(lines) == 2 and "box 1" in lines[0] and "box 2" in lines[1]
    assert "class 'scratch' is unknown; known are missing_hole, mouse_bite" in lines[1]


@pytest.mark.parametrize("text", [BOMB, EXTERNAL])
def test_entities_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bomb.xml").write_text(text)
    assert "bomb.xml declares entities or a document type" in refused(tmp_path / "bomb.xml")


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
    assert fault in refused(tmp_path / "a.xml")


def test_floods_are_refused(tmp_path: Path) -> None:
    many = [(x + 1, 1, x + 9, 9) for x in range(MAX_BOXES + 1)]
    assert "at most 200 are read" in refused(write_annotation(tmp_path / "many.xml", "spur", many))
    (tmp_path / "large.xml").write_text("<annotation>" + " " * 2**20)
    assert "is larger than" in refused(tmp_path / "large.xml")


def test_class_names_in_any_form() -> None:
    forms = ("Missing_hole", "missing-hole", " Missing  Hole ", "MISSING_HOLE")
    assert {class_name(form) for form in forms} == {"missing_hole"}


def test_all_original_files_are_read() -> None:
    files = sorted(sample("pku-pcb-annotations").rglob("*.xml"))
    annotations = [read_annotation(file) for file in files]
    assert len(annotations) == 693 and sum(len(a.boxes) for a in annotations) == 2953
    assert not any(any(a.clipped) for a in annotations)
