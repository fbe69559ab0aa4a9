"""Error maps pixel by pixel, and sheets of samples."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from fakes import NINE, SCALE, fake_row

from cadnet.reporting.overlays import (
    CORRECT,
    ERR_COLOUR,
    FALSE,
    MISSED,
    WRONG_CLASS,
    SheetRow,
    comparison_png,
    comparison_sheet,
    error_map,
    error_pixels,
    truth_map,
)

TRUTH = np.array([[0, 1, 1, 0, 2, 255, 255]], np.uint8)
GUESS = np.array([[0, 1, 0, 2, 1, 1, 0]], np.uint8)


def test_error_map_by_hand() -> None:
    black = (0, 0, 0)
    expected = [black, CORRECT, MISSED, FALSE, WRONG_CLASS, black, black]
    assert [tuple(pixel) for pixel in error_map(TRUTH, GUESS)[0].tolist()] == expected
    assert error_pixels(TRUTH, GUESS) == 3
    assert [tuple(p) for p in truth_map(TRUTH)[0].tolist()][4:] == [CORRECT, (70, 70, 70), (70, 70, 70)]


def test_error_map_over_the_darkened_image() -> None:
    image = np.full((1, 7, 3), 200, np.uint8)
    drawn = error_map(TRUTH, GUESS, image)
    assert drawn[0, 0].tolist() == [60, 60, 60]
    assert tuple(drawn[0, 2]) == MISSED
    with pytest.raises(ValueError, match="one size"):
        error_map(TRUTH, GUESS, image[:, :3])


def test_err_is_written_in_yellow() -> None:
    blank = np.zeros((200, 200), np.uint8)
    image = np.zeros((200, 200, 3), np.uint8)
    sheet = comparison_sheet([SheetRow("row", image, image, blank, {"CADNet": blank})], "t", cell=200)
    left = 6 + 3 * 206
    drawn = sheet[76 : 76 + 200, left : left + 200]
    assert (drawn[:40] == ERR_COLOUR).all(-1).sum() > 30
    assert not drawn[60:].any()


def test_sheet_has_a_column_per_method_and_a_row_per_sample(tmp_path) -> None:
    rows, cell, gap = [fake_row(0), fake_row(1)], 128, 6
    sheet = comparison_sheet(rows, f"Comparison ({SCALE}; seed 0)", cell=cell)
    columns = 6
    assert sheet.shape == (56 + 2 * (20 + cell + gap) + 20, gap + columns * (cell + gap), 3)
    top = 56 + 20
    np.testing.assert_array_equal(sheet[top : top + cell, gap : gap + cell], rows[0].image)
    left = gap + 2 * (cell + gap)
    np.testing.assert_array_equal(sheet[top : top + cell, left : left + cell], truth_map(rows[0].truth))
    left = gap + 4 * (cell + gap)
    shown = sheet[top + 40 : top + cell, left : left + cell]
    expected = error_map(rows[0].truth, rows[0].predictions["SegFormer"])[40:]
    np.testing.assert_array_equal(shown, expected)
    decoded = cv2.imdecode(np.frombuffer(comparison_png(rows, "t", cell=cell), np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == sheet.shape


def test_sheet_shrinks_large_samples_and_keeps_their_shape() -> None:
    row = fake_row(0, size=256)
    wide = dataclasses.replace(
        row,
        image=row.image[:128],
        reference=row.reference[:128],
        truth=row.truth[:128],
        predictions={name: guess[:128] for name, guess in row.predictions.items()},
    )
    assert comparison_sheet([wide], "t", darkened=True, cell=100).shape[0] == 56 + 20 + 50 + 6 + 20


def test_many_methods_are_wrapped_under_their_names() -> None:
    row, cell, gap = fake_row(0, ids=NINE), 64, 6
    sheet = comparison_sheet([row], "t", cell=cell)
    line = 22 + cell + gap
    assert sheet.shape == (34 + 12 + 20 + 2 * line + 20, gap + 6 * (cell + gap), 3)
    single = comparison_sheet([fake_row(0)], "t", cell=192)
    both = comparison_sheet([row], "t", cell=192)
    top = 34 + 12 + 20 + 22
    # CADNet stands fourth in the first line, OCRNet first in the second.
    np.testing.assert_array_equal(both[top : top + 192, 600:792], single[76 : 76 + 192, 600:792])
    below = top + 192 + gap + 22
    expected = error_map(row.truth, row.predictions["OCRNet"])
    shown = both[below + 60 : below + 192, gap : gap + 192]
    np.testing.assert_array_equal(shown, cv2.resize(expected, (192, 192), interpolation=0)[60:])


def test_sheet_refuses_rows_of_differing_methods() -> None:
    odd = dataclasses.replace(fake_row(1), predictions={"CADNet": fake_row(1).truth})
    for rows in ([], [fake_row(0), odd]):
        with pytest.raises(ValueError, match="same methods"):
            comparison_sheet(rows, "t")
