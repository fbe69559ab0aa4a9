"""How much an image looks like a reference."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cadnet.images import matching
from cadnet.images.matching import appearance, signature
from cadnet.inference.references import MAX_DIFFERENCE
from tests.fake_pairs import board, moved, pattern, plain


def nearest(image: np.ndarray, candidates: list[np.ndarray]) -> matching.Nearest:
    return matching.nearest(signature(image), candidates)


def difference(image: np.ndarray, reference: np.ndarray) -> float:
    return matching.difference(appearance(image), appearance(reference))


class TestDifference:
    def test_equal_is_zero_and_sizes_may_differ(self) -> None:
        assert difference(pattern(0), pattern(0)) == 0
        assert difference(cv2.resize(pattern(0), (256, 256)), pattern(0)) < 1

    def test_plain_colours_by_hand(self) -> None:
        # No structure: the mean over the channels of the differences 30, 60 and 0.
        assert difference(plain(30, 60, 9), plain(60, 120, 9)) == pytest.approx(30, abs=0.01)

    def test_exposure_counts_little_and_another_product_much(self) -> None:
        brighter = np.clip(pattern(0) * 1.4 + 10.0, 0, 255).astype(np.uint8)
        assert difference(brighter, pattern(0)) < 2
        strong = [cv2.threshold(pattern(seed), 80, 255, cv2.THRESH_BINARY)[1] for seed in (0, 1)]
        assert difference(*strong) > MAX_DIFFERENCE

    def test_a_defect_on_a_plain_product_is_no_other_product(self) -> None:
        image = plain(120, 120, 120)
        image[5:20, 5:20] = 255
        assert difference(image, plain(120, 120, 120)) < MAX_DIFFERENCE


class TestNearest:
    def test_the_distance_is_that_of_correlations(self) -> None:
        one = board(1, 128, 128)
        same = nearest(one, [signature(board(2, 128, 128)), signature(one)])
        assert (same.position, same.distance) == (1, pytest.approx(0, abs=2e-3))
        inverted = nearest(255 - one, [signature(one)])
        assert inverted.distance > 1

    def test_size_brightness_and_small_shifts_do_not_count(self) -> None:
        image = board(1, 256, 192)
        candidates = [signature(board(seed, 256, 192)) for seed in range(5)]
        other = cv2.resize(moved(image, 14, -9), (320, 240))
        changed = np.clip(other * 0.5 + 60, 0, 255).astype(np.uint8)
        assert nearest(changed, candidates).position == 1

    def test_blank_pictures_are_no_error(self) -> None:
        blank = np.full((50, 50, 3), 7, np.uint8)
        assert nearest(blank, [signature(blank), signature(board())]).position == 0
