from __future__ import annotations

import numpy as np

from cadnet.images.labels import Regions


def test_less_than_a_tenth_of_a_region_is_ignored() -> None:
    mask = np.zeros((20, 60), np.uint8)
    mask[2:4, 18:38] = 1  # 20 columns, of which the first window shows two
    mask[10:12, 19:39] = 2  # and of this one
    first, second = Regions(mask).cut([(0, 0), (20, 0)], 20)
    assert (first[2:4, 18:20] == 1).all() and (first[10:12, 19] == 255).all()
    assert np.count_nonzero(first) == 6
    assert (second == mask[:, 20:40]).all()


def test_regions_of_one_class_count_apart_and_255_stays() -> None:
    mask = np.zeros((10, 20), np.uint8)
    mask[0, 0:3] = 1
    mask[5:9, 9:20] = 1  # 44 pixels, the window shows four of them
    mask[9, 0] = 255
    cut, _ = Regions(mask).cut([(0, 0), (10, 0)], 10)
    assert cut[0, :3].tolist() == [1, 1, 1] and cut[9, 0] == 255
    assert (cut[5:9, 9] == 255).all() and (mask[5:9, 9] == 1).all(), "the whole mask is left as it is"


def test_a_region_longer_than_ten_windows_is_not_lost() -> None:
    mask = np.zeros((10, 125), np.uint8)
    mask[5, :] = 1
    cuts = Regions(mask).cut([(x, 0) for x in range(0, 120, 10)] + [(115, 0)], 10)
    assert all((cut[5] == 1).all() for cut in cuts)
