"""Tiles that cover an image, what is added to small ones, and scaled images."""

from __future__ import annotations

import numpy as np
import pytest

from cadnet.images.resizing import scale_image, scale_mask
from cadnet.images.tiles import Mosaic, grid, padded, plan_tiles, starts


class TestStarts:
    @pytest.mark.parametrize(
        ("length", "size", "overlap", "expected"),
        [
            (64, 64, 0.125, [0]),
            (10, 64, 0.125, [0]),
            (65, 64, 0.0, [0, 1]),
            (128, 64, 0.0, [0, 64]),
            (130, 64, 0.0, [0, 64, 66]),
            (200, 64, 0.5, [0, 32, 64, 96, 128, 136]),
        ],
    )
    def test_values(self, length: int, size: int, overlap: float, expected: list[int]) -> None:
        assert starts(length, size, overlap) == expected

    def test_every_pixel_is_covered_and_neighbours_overlap_enough(self) -> None:
        for length in range(33, 400, 7):
            for overlap in (0.0, 0.125, 0.33, 0.75):
                places = starts(length, 32, overlap)
                assert places[0] == 0 and places[-1] == length - 32
                steps = np.diff(places)
                assert (steps > 0).all() and (32 - steps >= 32 * overlap).all()

    def test_suffixes_only_where_there_are_several(self) -> None:
        assert grid(64, 50, 64, 0) == [("", 0, 0)]
        assert grid(70, 64, 64, 0) == [("-r00c00", 0, 0), ("-r00c01", 6, 0)]


class TestPixels:
    def test_padding_repeats_edges_or_takes_a_value(self) -> None:
        image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
        wide = padded(image, 4)
        assert wide.shape == (4, 4, 3) and (wide[:2, :2] == image).all() and (wide[3, 3] == image[1, 1]).all()
        assert padded(np.zeros((2, 5), np.uint8), 4, 255).tolist() == [[0] * 5] * 2 + [[255] * 5] * 2
        assert padded(image, 2) is image

    def test_reducing_makes_no_new_labels_and_keeps_places(self) -> None:
        mask = np.zeros((40, 60), np.uint8)
        mask[10:20, 20:40] = 3
        small = scale_mask(mask, 0.5)
        assert small.shape == (20, 30) and set(np.unique(small)) == {0, 3}
        assert np.argwhere(small == 3).min(0).tolist() == [5, 10]
        image = np.repeat(mask[..., None] * 50, 3, axis=2)
        assert ((scale_image(image, 0.5)[..., 0] > 75) == (small > 0)).all()


class TestTiling:
    @pytest.mark.parametrize("shape", [(32, 32), (33, 32), (40, 97), (101, 70), (31, 65)])
    @pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
    def test_weights_add_up_to_one(self, shape: tuple[int, int], overlap: float) -> None:
        tiling = plan_tiles(*shape, 32, overlap)
        assert tiling.tile == (min(32, shape[0]), min(32, shape[1]))
        mosaic = Mosaic(tiling, 2)
        for position in tiling.positions:
            mosaic.add(position, np.ones((2, *tiling.tile), np.float32))
        assert mosaic.maps.shape == (2, *shape) and mosaic.maps.dtype == np.float32
        np.testing.assert_allclose(mosaic.maps, 1, atol=1e-6)

    def test_two_tiles_by_hand(self) -> None:
        # 6 pixels by tiles of 4 that share 2: hats 1 2 2 1, so 1/2 and 1/2 would be cut, 2:1 and 1:2 blend.
        tiling = plan_tiles(4, 6, 4, 0.5)
        np.testing.assert_allclose(tiling.columns[0], [1, 1, 2 / 3, 1 / 3], atol=1e-6)
        np.testing.assert_allclose(tiling.columns[2], [1 / 3, 2 / 3, 1, 1], atol=1e-6)
        assert list(tiling.rows) == [0] and tiling.rows[0].tolist() == [1, 1, 1, 1]

    def test_an_image_of_a_tiles_size_is_one_tile(self) -> None:
        assert plan_tiles(32, 32, 32, 0.25).positions == [(0, 0)]
