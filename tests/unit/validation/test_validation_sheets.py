"""Contact sheets: which defects they show, and what is drawn of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cadnet.images import ImageError, write_png
from cadnet.validation.sheets import (
    GAP,
    HEAD,
    MARGIN,
    TILE,
    ShownDefect,
    ShownSample,
    choose_defects,
    clean_sheet,
    defect_sheet,
    sheet_files,
)

ORANGE = (255, 128, 0)


def defect(pixels: int, sample: str = "", folder: Path = Path("x"), label: int = 1) -> ShownDefect:
    name = sample or f"s{pixels}"
    shown = ShownSample(name, "train", folder / f"{name}.png", folder / "reference.png")
    return ShownDefect(shown, folder / f"{name}-mask.png", label, (40, 60, 20, 10), pixels)


def decoded(png: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert picture is not None
    return picture


def tile(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    """Picture 0, 1 or 2 of the sample in place ``row`` of the left half."""
    top, left = HEAD + row, MARGIN + column * (TILE + GAP)
    return picture[top : top + TILE, left : left + TILE]


def test_defects_are_spread_over_all_sizes() -> None:
    found = [defect(pixels) for pixels in range(1, 121)]
    chosen = choose_defects(found)
    assert [(item.pixels - 1) // 10 for item in chosen] == list(range(12))
    assert choose_defects(list(reversed(found))) == chosen, "the order they come in does not matter"
    assert choose_defects(found, seed=1) != chosen


def test_samples_not_yet_shown_come_first() -> None:
    # Each of the twelve parts has four regions of one crowded sample and one of a sample of its own.
    found = [defect(pixels, "crowded" if pixels % 5 else f"s{pixels}") for pixels in range(60)]
    assert len({item.sample.sample_id for item in choose_defects(found)}) == 12


@pytest.mark.parametrize("count", [0, 1, 5])
def test_few_defects_are_all_shown(count: int) -> None:
    found = [defect(pixels) for pixels in range(count)]
    assert choose_defects(found) == found


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A grey image with a red square where its mask has class 1, and its grey reference."""
    image, mask = np.full((120, 160, 3), 90, np.uint8), np.zeros((120, 160), np.uint8)
    write_png(tmp_path / "reference.png", image)
    image[60:70, 40:60], mask[60:70, 40:60] = (200, 0, 0), 1
    write_png(tmp_path / "s200.png", image)
    write_png(tmp_path / "s200-mask.png", mask)
    return tmp_path


def test_a_defect_is_shown_beside_its_reference_and_outlined(files: Path) -> None:
    picture = decoded(defect_sheet([defect(200, folder=files)], [ORANGE, (0, 0, 255)], "line"))
    image, reference, outlined = (tile(picture, 0, column) for column in range(3))
    assert (reference == 90).all()
    # The 20 x 10 square lies in the middle of the 48 pixels around it, 3.5 times enlarged.
    assert (image[84, 84] == (200, 0, 0)).all()
    red = (image == (200, 0, 0)).all(axis=2)
    assert red.sum() == pytest.approx(200 * 3.5**2, rel=0.1)
    # What the outline encloses is not painted over.
    assert (outlined[red] == (200, 0, 0)).all()
    around = cv2.dilate(red.view(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & ~red
    assert (outlined[around] == ORANGE).all()
    far = cv2.dilate(red.view(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    assert (outlined[~far] == 90).all()


def test_a_thin_line_across_a_large_picture_keeps_its_outline(tmp_path: Path) -> None:
    image, mask = np.full((1000, 1000, 3), 90, np.uint8), np.zeros((1000, 1000), np.uint8)
    mask[500, :] = 2
    for name, pixels in (("reference.png", image), ("s1000.png", image), ("s1000-mask.png", mask)):
        write_png(tmp_path / name, pixels)
    shown = defect(1000, folder=tmp_path, label=2)
    shown = ShownDefect(shown.sample, shown.mask, 2, (0, 500, 1000, 1), 1000)
    outlined = tile(decoded(defect_sheet([shown], [(0, 0, 255), ORANGE], "line")), 0, 2)
    assert (outlined == ORANGE).all(axis=2).sum() >= 2 * TILE


def test_clean_samples_show_the_enlarged_difference(files: Path) -> None:
    shown = ShownSample("s200", "test", files / "s200.png", files / "reference.png")
    picture = decoded(clean_sheet([shown] * 3, "clean"))
    difference = tile(picture, 0, 2)
    # Tiles are 168 x 126 of 160 x 120: the square's middle is at (50, 65), below a white strip of 21.
    assert (difference[21 + 68, 52] == (255, 255, 255)).all()  # 4 x 110 and 4 x 90, cut at white
    assert (difference[21 + 10, 10] == 0).all()
    assert picture.shape[1] == 2 * (3 * TILE + 2 * GAP) + 3 * MARGIN


def test_a_file_that_cannot_be_read_is_named(files: Path) -> None:
    (files / "s200.png").write_bytes(b"x")
    with pytest.raises(ImageError, match=r"s200\.png"):
        defect_sheet([defect(200, folder=files)], [ORANGE], "line")


def test_a_long_name_is_cut_in_its_middle(files: Path) -> None:
    name = "begin" + "x" * 200 + "end"
    for ending in (".png", "-mask.png"):
        (files / f"s200{ending}").rename(files / f"{name}{ending}")
    picture = decoded(defect_sheet([defect(200, name, files)], [ORANGE], "line"))
    assert (picture[:, -MARGIN:] == 255).all()


def test_every_class_has_a_file_of_its_own() -> None:
    assert sheet_files(["line", "clean", "a/b", "a b", "Loch", "loch", "Größe", "..", ""]) == [
        "sheets/line.png", "sheets/clean_.png", "sheets/a_b.png", "sheets/a_b_.png", "sheets/Loch.png",
        "sheets/loch_.png", "sheets/Größe.png", "sheets/class.png", "sheets/class_.png",
    ]  # fmt: skip
