"""Large changes are left out of a comparison; displaced edges are not, or misalignment would hide itself."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from alignment_fakes import make_board, motion, photograph, reference_of

from cadnet.alignment.levels import Pyramid
from cadnet.alignment.quality import settle

SIZE = 256


@pytest.fixture(scope="module")
def board() -> np.ndarray:
    return make_board(6, SIZE)


def settled(image: np.ndarray, reference: np.ndarray):
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (reference, image)]
    return settle(Pyramid(*grey).level(SIZE), np.eye(3))


def test_large_change_is_left_out_with_a_margin(board):
    reference = reference_of(board)
    image = reference.copy()
    image[60:140, 100:180] = 255
    usable = settled(image, reference).usable
    assert not usable[60:140, 100:180].any()
    assert usable[:50].all() and usable[150:].all() and usable[:, :90].all() and usable[:, 190:].all()


def test_light_is_the_same_as_without_the_change(board):
    reference = reference_of(board)
    image = reference.copy()
    image[60:140, 100:180] = 255
    pair = settled(image, reference)
    # As for an unchanged pair: the bright square does not darken its surroundings.
    assert np.allclose(pair.level.image, pair.level.reference, atol=1e-3)
    assert np.abs(pair.level.image).max() > 20


@pytest.mark.parametrize("shift", [1, 2, 4])
def test_displaced_edges_stay(board, shift):
    pair = settled(photograph(board, motion(shift, shift, 0, SIZE)), reference_of(board))
    assert pair.usable.mean() > 0.9


def test_exposure_is_no_change(board):
    image = np.clip(reference_of(board) * 0.6 + 40, 0, 255).astype(np.uint8)
    assert settled(image, reference_of(board)).usable.all()


def test_more_than_a_third_is_no_change(board):
    image = reference_of(board)
    image[:, : SIZE * 2 // 5] = 255
    assert settled(image, reference_of(board)) is None
