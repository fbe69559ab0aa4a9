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
from cadnet.preparers.pku_pcb.layout import Raw, read_layout
from cadnet.writing.units import PreparationError
from tests.fake_pku import WIDTH, draw_board, write_annotation, write_fake_pku, write_jpeg


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
        "01_short_02.jpg cannot be read",
        "07_short_01.jpg has more than 134217728 pixels",
        "07_short_02.jpg cannot be read",
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
        (same_stem, r"01_short_01 is there twice: .*Missing_hole.*Short"),
        (two_boards, r"01 is there twice: .*01\.JPG and PCB_USED/01\.jpeg"),
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
