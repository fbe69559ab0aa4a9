"""What lies outside the photograph comes from the reference, and labels stay labels."""

import numpy as np
import pytest
from alignment_fakes import make_board, motion, photograph, reference_of

from cadnet.alignment import Alignment, align, estimate_alignment
from cadnet.config import AlignmentParams
from cadnet.types import IGNORE_INDEX


def moved_by(matrix: np.ndarray) -> Alignment:
    return Alignment(matrix, "affine", 0.0, 1.0, 0.0, True)


def shift(dx: float, dy: float) -> np.ndarray:
    return np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1]], np.float64)


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    image, reference = (rng.integers(0, 256, (40, 50, 3), dtype=np.uint8) for _ in range(2))
    return image, rng.integers(0, 3, (40, 50), dtype=np.uint8), reference


def test_identity_changes_nothing_and_shares_nothing(pair):
    image, mask, reference = pair
    aligned = align(image, mask, reference, moved_by(np.eye(3)))
    assert np.array_equal(aligned.image, image)
    assert np.array_equal(aligned.mask, mask)
    assert not aligned.outside.any()
    assert not np.shares_memory(aligned.image, image)
    assert not np.shares_memory(aligned.mask, mask)


def test_whole_pixels_are_moved_exactly(pair):
    image, mask, reference = pair
    # Reference (x, y) is image (x + 3, y - 2): two rows above and three columns at the right were not seen.
    aligned = align(image, mask, reference, moved_by(shift(3, -2)))
    assert np.array_equal(aligned.image[2:, :-3], image[:-2, 3:])
    assert np.array_equal(aligned.mask[2:, :-3], mask[:-2, 3:])
    expected = np.ones((40, 50), bool)
    expected[2:, :-3] = False
    assert np.array_equal(aligned.outside, expected)
    assert np.array_equal(aligned.image[expected], reference[expected])
    assert (aligned.mask[expected] == IGNORE_INDEX).all()


def test_labels_are_not_mixed(pair):
    image, mask, reference = pair
    mask = (mask > 1).astype(np.uint8) * 7
    aligned = align(image, mask, reference, moved_by(motion(1.3, 0.7, 4, 45)))
    assert set(np.unique(aligned.mask)) == {0, 7, IGNORE_INDEX}
    assert np.array_equal(aligned.mask == IGNORE_INDEX, aligned.outside)
    assert align(image, None, reference, moved_by(shift(1.5, 0))).mask is None


def test_border_is_not_darkened():
    white = np.full((32, 32, 3), 255, np.uint8)
    aligned = align(white, None, white, moved_by(motion(2.4, 1.6, 3, 32)))
    assert (aligned.image == 255).all()


@pytest.mark.parametrize("size", [(30, 60), (60, 30), (7, 9)])
def test_result_has_the_size_of_the_reference(pair, size):
    image, mask, _ = pair
    reference = np.full((*size, 3), 9, np.uint8)
    for matrix in (np.eye(3), motion(1, 1, 2, 30)):
        aligned = align(image, mask, reference, moved_by(matrix))
        assert aligned.image.shape == reference.shape
        assert aligned.mask.shape == aligned.outside.shape == size
    kept = align(image, mask, reference, moved_by(np.eye(3)))
    rows, columns = min(size[0], 40), min(size[1], 50)
    assert np.array_equal(kept.image[:rows, :columns], image[:rows, :columns])
    assert kept.outside.sum() == size[0] * size[1] - rows * columns


def test_photograph_far_away_leaves_the_reference(pair):
    image, mask, reference = pair
    aligned = align(image, mask, reference, moved_by(shift(500, 0)))
    assert aligned.outside.all()
    assert np.array_equal(aligned.image, reference)


def test_registered_photograph_looks_like_its_reference():
    board = make_board(5)
    reference = reference_of(board)
    image = photograph(board, motion(17, -12, 3, 512))
    found = estimate_alignment(image, reference, AlignmentParams())
    aligned = align(image, None, reference, found)

    def difference(picture: np.ndarray) -> float:
        return float(np.abs(picture.astype(int) - reference)[~aligned.outside].mean())

    assert difference(aligned.image) < 1.5 < 10 < difference(image)
    assert 0.02 < aligned.outside.mean() < 0.2
    again = estimate_alignment(aligned.image, reference, AlignmentParams())
    assert again.method == "identity"


def test_mask_must_be_the_photographs(pair):
    image, mask, reference = pair
    for wrong in (mask[:-1], mask.astype(np.int64), mask[..., None]):
        with pytest.raises(ValueError, match=r"mask has shape .* give a uint8 mask of the image's height"):
            align(image, wrong, reference, moved_by(np.eye(3)))
    with pytest.raises(ValueError, match="reference has shape"):
        align(image, mask, reference[..., 0], moved_by(np.eye(3)))
