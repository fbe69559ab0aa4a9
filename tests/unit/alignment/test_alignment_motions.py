"""Known motions are found to half a pixel, and a pair that needs none keeps its pixels."""

import cv2
import numpy as np
import pytest
from alignment_fakes import apart, make_board, motion, photograph, reference_of, spoil

from cadnet.alignment import estimate_alignment
from cadnet.config import AlignmentParams

AFFINE = AlignmentParams(model="affine")


@pytest.fixture(scope="module")
def board() -> np.ndarray:
    return make_board(1)


@pytest.mark.parametrize(
    ("dx", "dy", "degrees"),
    [
        (30, 0, 0),
        (0, -30, 5),
        (-30, 30, -5),
        (12.5, -7.25, 2),
        (0, 0, 5),
        (3, 2, 0.5),
        (0.6, 0.7, 0),
        (-21, 9, -3),
    ],
)
def test_shift_and_rotation_at_once(board, dx, dy, degrees):
    truth = motion(dx, dy, degrees, 512)
    found = estimate_alignment(spoil(photograph(board, truth)), reference_of(board), AFFINE)
    assert found.accepted
    assert found.method == "affine"
    assert apart(found.matrix, truth, 512) < 0.5
    assert found.shift == pytest.approx(apart(truth, np.eye(3), 512), abs=0.5)


def test_matrix_maps_reference_to_image(board):
    # What the reference has at (x, y) the image has at (x + 7, y - 4).
    image = np.roll(np.roll(reference_of(board), 7, axis=1), -4, axis=0)
    found = estimate_alignment(image, reference_of(board), AlignmentParams(model="translation"))
    assert found.method == "translation"
    assert found.matrix @ [100, 100, 1] == pytest.approx([107, 96, 1], abs=0.1)


def test_translation_estimates_nothing_else(board):
    found = estimate_alignment(
        photograph(board, motion(20, -11, 0, 512)),
        reference_of(board),
        AlignmentParams(model="translation"),
    )
    assert found.accepted
    assert np.array_equal(found.matrix[:2, :2], np.eye(2))
    assert np.array_equal(found.matrix[2], [0, 0, 1])


def test_affine_follows_scale_and_shear(board):
    truth = motion(5, 5, 1, 512) @ np.array([[1.02, 0.01, -5], [0.0, 0.985, 4], [0, 0, 1]])
    found = estimate_alignment(spoil(photograph(board, truth)), reference_of(board), AFFINE)
    assert found.accepted
    assert apart(found.matrix, truth, 512) < 0.5


def test_homography_follows_perspective(board):
    truth = motion(14, -8, 3, 512, perspective=6e-5)
    image = spoil(photograph(board, truth))
    found = estimate_alignment(image, reference_of(board), AlignmentParams(model="homography"))
    assert found.method == "homography"
    assert apart(found.matrix, truth, 512) < 0.5
    # An affine motion cannot, and says so.
    assert estimate_alignment(image, reference_of(board), AFFINE).residual > 1


@pytest.mark.parametrize("degrees", [40, 90, 180])
def test_far_rotations_are_left_to_features(board, degrees):
    truth = motion(0, 0, degrees, 512)
    found = estimate_alignment(
        spoil(photograph(board, truth)), reference_of(board), AlignmentParams(max_shift=1000)
    )
    assert (found.method, found.accepted) == ("features", True)
    assert apart(found.matrix, truth, 512) < 0.5
    assert not estimate_alignment(spoil(photograph(board, truth)), reference_of(board), AFFINE).accepted


@pytest.mark.parametrize("fill", [0, 255])
@pytest.mark.parametrize("degrees", [3, -8])
def test_empty_corners_of_a_rotated_photograph(board, degrees, fill):
    reference = reference_of(board)
    truth = motion(0, 0, degrees, 512)
    image = cv2.warpPerspective(
        reference, truth, (512, 512), borderMode=cv2.BORDER_CONSTANT, borderValue=(fill,) * 3
    )
    found = estimate_alignment(image, reference, AFFINE)
    assert found.accepted
    assert apart(found.matrix, truth, 512) < 0.25


def test_images_of_another_size(board):
    reference = reference_of(board)
    cut = estimate_alignment(reference[30:430, 18:480], reference, AFFINE)
    assert cut.accepted
    assert apart(cut.matrix, np.array([[1, 0, -18], [0, 1, -30], [0, 0, 1]]), 512) < 0.5
    wide = estimate_alignment(board[60:-40, 70:-30], reference, AFFINE)
    assert wide.accepted
    assert apart(wide.matrix, np.array([[1, 0, 30], [0, 1, 40], [0, 0, 1]]), 512) < 0.5


@pytest.mark.parametrize("model", ["translation", "affine", "homography"])
@pytest.mark.parametrize("noise", [0, 6])
def test_aligned_pair_keeps_its_pixels(board, model, noise):
    reference = reference_of(board)
    found = estimate_alignment(spoil(reference, noise=noise), reference, AlignmentParams(model=model))
    assert (found.method, found.accepted) == ("identity", True)
    assert np.array_equal(found.matrix, np.eye(3))
    assert found.residual < 0.25
    assert found.shift == 0


@pytest.mark.parametrize("size", [64, 96, 200, 1300])
def test_other_sizes(size):
    board = make_board(2, size)
    reach = size / 40
    truth = motion(reach, -reach, 1, size)
    found = estimate_alignment(photograph(board, truth), reference_of(board), AFFINE)
    assert found.accepted
    assert apart(found.matrix, truth, size) < 0.5


def test_same_result_again_and_inputs_untouched(board):
    image, reference = spoil(photograph(board, motion(9, 9, 60, 512))), reference_of(board)
    before = image.copy(), reference.copy()
    first, second = (estimate_alignment(image, reference, AFFINE) for _ in range(2))
    assert np.array_equal(first.matrix, second.matrix)
    assert first[1:] == second[1:]
    assert np.array_equal(image, before[0])
    assert np.array_equal(reference, before[1])
