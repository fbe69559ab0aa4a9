"""Known motions are found to half a pixel; pairs that cannot be aligned are refused; real boards."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from alignment_fakes import MARGIN, apart, make_board, motion, photograph, reference_of, spoil

from cadnet.alignment import estimate_alignment
from cadnet.config import AlignmentParams
from cadnet.images import read_image
from tests.samples import sample

AFFINE = AlignmentParams(model="affine")
OFF = AlignmentParams(model="off")


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


@pytest.mark.parametrize(
    ("dx", "dy", "degrees"), [(1, 0, 0), (0.5, -0.5, 0), (2, 1, 0), (0, 0, 0.3), (1, -2, 0.2), (4, 3, 0)]
)
def test_residual_is_the_true_misalignment(board, dx, dy, degrees):
    truth = motion(dx, dy, degrees, 512)
    off = estimate_alignment(spoil(photograph(board, truth)), reference_of(board), OFF)
    true = apart(truth, np.eye(3), 512)
    assert off.residual == pytest.approx(true, rel=0.2, abs=0.15)
    assert np.array_equal(off.matrix, np.eye(3))


def test_residual_sees_what_no_motion_mends(board):
    # The lower half of the product is bent by up to four pixels.
    reference = reference_of(board)
    y, x = np.mgrid[:512, :512].astype(np.float32)
    bent = cv2.remap(board, x + 100 + 4 * np.sin(y / 60) * (y > 256), y + 100, cv2.INTER_CUBIC)
    found = estimate_alignment(bent, reference, AFFINE)
    assert found.residual > 1
    assert not found.accepted


@pytest.mark.parametrize("shift", [2, 4])
def test_residual_sees_a_third_that_lies_elsewhere(board, shift):
    reference = reference_of(board)
    image = reference.copy()
    image[:, 340:] = photograph(board, motion(0, shift, 0, 512))[:, 340:]
    assert estimate_alignment(image, reference, OFF).residual == pytest.approx(shift, rel=0.25)
    # An affine motion shares the step out and cannot remove it.
    assert estimate_alignment(image, reference, AFFINE).residual > shift / 4


def test_neither_light_nor_a_defect_spoils_the_confidence(board):
    reference = reference_of(board)
    image = np.clip(reference * 0.6 + 30, 0, 255).astype(np.uint8)
    image[100:250, 100:250] = make_board(8)[200:350, 200:350]
    off = estimate_alignment(image, reference, OFF)
    assert off.confidence > 0.95
    assert off.residual < 0.2
    moved = motion(12, -9, 2, 512)
    image = photograph(board, moved)
    image[100:250, 100:250] = make_board(8)[200:350, 200:350]
    found = estimate_alignment(image, reference, AFFINE)
    assert found.accepted
    assert apart(found.matrix, moved, 512) < 0.5


def hard_pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    good, other = reference_of(make_board(3)), reference_of(make_board(4))
    blank = np.full_like(good, 120)
    noise, more = (rng.integers(0, 256, good.shape, dtype=np.uint8) for _ in range(2))
    ramp = np.repeat(np.linspace(0, 255, 512).astype(np.uint8)[None, :, None], 512, 0).repeat(3, 2)
    stripes = np.repeat(((np.arange(512) // 8 % 2) * 200).astype(np.uint8)[None, :, None], 512, 0).repeat(
        3, 2
    )
    lone = blank.copy()
    lone[250:260, 250:260] = 255
    return {
        "another product": (other, good),
        "blank image": (blank, good),
        "blank reference": (good, blank),
        "both blank": (blank, blank),
        "noise on a board": (noise, good),
        "noise on noise": (noise, more),
        "ramp": (ramp, ramp),
        "stripes": (np.roll(stripes, 3, 1), stripes),
        "a lone dot": (np.roll(lone, 5, 1), lone),
        "negative": (255 - good, good),
        "elsewhere on the board": (good[:256, :256].copy(), good[256:, 256:].copy()),
        "half the scale": (good[::2, ::2].copy(), good),
        "tiny": (good[:20, :20].copy(), good[:20, :20].copy()),
        "one pixel": (good[:1, :1].copy(), good[:1, :1].copy()),
        "one pixel of another size": (good[:1, :1].copy(), good),
        "strip across": (good[:32].copy(), good[:, :32].copy()),
    }


@pytest.mark.parametrize("name", hard_pairs())
@pytest.mark.parametrize("model", ["translation", "affine", "homography"])
def test_hard_pairs_are_refused_without_an_error(name, model):
    image, reference = hard_pairs()[name]
    found = estimate_alignment(image, reference, AlignmentParams(model=model))
    assert not found.accepted
    assert np.isfinite(found.matrix).all()
    assert all(math.isfinite(value) for value in (found.residual, found.confidence, found.shift))
    assert 0 <= found.confidence <= 1


def test_what_cannot_be_measured_is_as_far_as_can_be(board):
    blank = np.full((300, 400, 3), 90, np.uint8)
    found = estimate_alignment(blank, blank, AFFINE)
    assert (found.residual, found.confidence) == (500, 0)


def test_each_limit_refuses(board):
    image, reference = spoil(photograph(board, motion(20, 0, 0, 512))), reference_of(board)
    found = estimate_alignment(image, reference, AFFINE)
    assert found.accepted
    for limit in ({"max_shift": 15}, {"max_residual": found.residual / 2}, {"min_confidence": 0.999}):
        refused = estimate_alignment(image, reference, AlignmentParams(**limit))
        assert not refused.accepted, limit


def test_off_takes_pairs_of_one_size_as_they_are(board):
    reference = reference_of(board)
    off = estimate_alignment(photograph(board, motion(9, 0, 0, 512)), reference, OFF)
    assert (off.method, off.accepted, off.shift) == ("off", True, 0)
    assert off.residual > 5
    assert not estimate_alignment(reference[:500], reference, OFF).accepted
    tiny = estimate_alignment(reference[:8, :8], reference[:8, :8], OFF)
    assert tiny.accepted
    assert tiny.confidence == 0


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((64, 64, 3)),
        np.zeros((0, 9, 3), np.uint8),
    ],
)
def test_wrong_input_names_itself_and_the_cure(wrong):
    good = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(ValueError, match=r"image has shape .* give uint8 RGB \(H, W, 3\)"):
        estimate_alignment(wrong, good, AFFINE)
    with pytest.raises(ValueError, match="reference has shape"):
        estimate_alignment(good, wrong, AFFINE)


SIDE = 512 + 2 * MARGIN


@pytest.fixture(scope="module")
def boards() -> Path:
    return sample("pku-pcb-sample")


@pytest.fixture(scope="module")
def clean(boards: Path) -> dict[str, np.ndarray]:
    return {name: read_image(boards / "PCB_USED" / f"{name}.JPG") for name in ("01", "07")}


@pytest.mark.parametrize("seed", range(8))
def test_known_motions_of_a_photograph_with_defects(boards, clean, seed):
    rng = np.random.default_rng(seed)
    path = sorted((boards / "images").glob("*/*.jpg"))[seed * 5]
    reference = clean[path.name[:2]]
    y, x = (int(rng.integers(0, limit - SIDE)) for limit in reference.shape[:2])
    window = slice(y, y + SIDE), slice(x, x + SIDE)
    truth = motion(*rng.uniform(-30, 30, 2), rng.uniform(-5, 5), 512)
    image = spoil(photograph(read_image(path)[window], truth), seed)
    found = estimate_alignment(image, reference_of(reference[window]), AlignmentParams())
    assert found.accepted
    assert apart(found.matrix, truth, 512) < 0.5


@pytest.mark.parametrize("name", ["Short/07_short_10", "Missing_hole/01_missing_hole_09"])
def test_photographs_lie_on_their_board_already(boards, clean, name):
    found = estimate_alignment(
        read_image(boards / "images" / f"{name}.jpg"), clean[Path(name).name[:2]], AlignmentParams()
    )
    assert (found.method, found.accepted) == ("identity", True)
    assert found.residual < 0.1
    assert found.confidence > 0.99


def test_another_board_is_refused(clean):
    for y, x in ((300, 300), (1000, 1500)):
        pair = [clean[name][y : y + 512, x : x + 512] for name in ("01", "07")]
        found = estimate_alignment(*pair, AlignmentParams())
        assert not found.accepted
        assert found.confidence < 0.4
