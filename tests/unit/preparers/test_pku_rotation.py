from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cadnet.preparers.pku_pcb.rotation import (
    BORDER,
    find_turn,
    read_angles,
    turn_by,
    turn_image,
    turn_labels,
)
from cadnet.writing.units import PreparationError
from tests.fake_pku import draw_board

BOARD = draw_board(5)


def copy_of(image: np.ndarray, angle: float, grown: bool) -> np.ndarray:
    matrix, size = turn_by(image.shape[1], image.shape[0], angle, grown)
    turned = cv2.warpAffine(image, matrix, size, borderValue=BORDER)
    return cv2.imdecode(cv2.imencode(".jpg", turned)[1], cv2.IMREAD_COLOR)


def test_angle_files_as_they_are_and_as_people_make_them(tmp_path: Path) -> None:
    path = tmp_path / "Short_angles.txt"
    path.write_bytes(
        b"\xef\xbb\xbf04_short_06\t-4\r\n\r\n04_short_07.jpg 7\n04_short_08, 2.5\n"
        b"old board 1.JPG\t0\n04_short_06\t-4\n"
    )
    angles, faults = read_angles(path)
    assert angles == {"04_short_06": -4, "04_short_07": 7, "04_short_08": 2.5, "old board 1": 0}
    assert faults == []


def test_lines_that_cannot_be_read_are_all_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a\t1\nb\tleft\nc\nnan\n7\nd\t1e9\na\t2\ne\tnan\n")
    angles, faults = read_angles(path)
    assert angles == {"a": 2}, "the later line counts"
    assert [fault.split("line ")[1][0] for fault in faults] == list("234568")
    assert "'b\\tleft' is no photograph and angle" in faults[0]


def test_turning_is_clockwise_about_the_middle() -> None:
    matrix, size = turn_by(100, 60, 90, grown=True)
    assert size == (60, 100)
    # What lies right of the middle comes to lie below it.
    assert matrix @ (80, 30, 1) == pytest.approx((30, 80))
    matrix, size = turn_by(101, 60, 10, grown=False)
    assert size == (101, 60) and matrix @ (50, 30, 1) == pytest.approx((50, 30))


def test_the_canvas_holds_the_whole_photograph() -> None:
    for angle in range(-10, 11):
        matrix, size = turn_by(3034, 1586, angle, grown=True)
        corners = matrix @ np.array([(0, 3034, 0, 3034), (0, 0, 1586, 1586), (1, 1, 1, 1)])
        assert (corners.min(axis=1) > -1).all() and (corners.max(axis=1) < np.add(size, 2)).all()


@pytest.mark.parametrize("grown", [True, False])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("angle", [-7, 0, 1, 10])
def test_canvas_and_direction_are_told_from_the_copy(angle: int, sign: int, grown: bool) -> None:
    turn = find_turn(BOARD, copy_of(BOARD, angle * sign, grown), angle, "copy.jpg")
    assert (turn.angle, turn.method) == (angle * sign, "recorded")
    matrix, size = turn_by(BOARD.shape[1], BOARD.shape[0], angle * sign, grown)
    assert turn.size == size and turn.matrix == pytest.approx(matrix)


@pytest.mark.parametrize(("actual", "recorded"), [(6, None), (6, 2), (-3, 9), (4.5, None)])
def test_an_angle_that_is_missing_or_wrong_is_searched(actual: float, recorded: float | None) -> None:
    turn = find_turn(BOARD, copy_of(BOARD, actual, grown=True), recorded, "copy.jpg")
    assert turn.method == "searched" and turn.angle == pytest.approx(actual, abs=0.11)


def test_a_copy_of_something_else_is_refused() -> None:
    for copy in (copy_of(draw_board(6), 5, grown=True), np.zeros_like(BOARD), BOARD[:200]):
        with pytest.raises(PreparationError, match=r"copy\.jpg is not its original turned.*rotated: false"):
            find_turn(BOARD, copy, 5, "copy.jpg")


def test_boards_and_labels_are_turned_onto_the_copy() -> None:
    labels = np.zeros(BOARD.shape[:2], np.uint8)
    labels[100:140, 150:220] = 3
    marked = BOARD.copy()
    marked[labels > 0] = (255, 0, 255)
    copy = copy_of(marked, -9, grown=True)
    turn = find_turn(BOARD, copy, -9, "copy.jpg")
    board, turned = turn_image(BOARD, turn), turn_labels(labels, turn, outside=255)
    assert np.median(np.abs(board[turned == 0].astype(int) - copy[turned == 0])) <= 2
    assert board[0, 0] == pytest.approx(BORDER) and set(np.unique(turned)) == {0, 3, 255}
    seen = (copy[..., 0] > 128) & (copy[..., 1] < 100) & (copy[..., 2] > 128)
    assert (seen & (turned == 3)).sum() / (seen | (turned == 3)).sum() > 0.93
