"""Tiles that cover an image, and their results blended into one."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from cadnet.preparers.pairs.tiles import starts


class Place(NamedTuple):
    """Top and left pixel of a tile."""

    y: int
    x: int


class Tiling(NamedTuple):
    """Overlapping tiles of one shape (h, w) that cover ``shape`` (H, W).

    ``rows`` and ``columns``: start of a tile -> float32 weights (h,) and (w,). Over all tiles the weights of
    each row and of each column add up to 1; in an overlap they fall towards the tile's edge, where a network
    knows the surroundings least.
    """

    shape: tuple[int, int]
    tile: tuple[int, int]
    rows: dict[int, np.ndarray]
    columns: dict[int, np.ndarray]

    @property
    def places(self) -> list[Place]:
        """The tiles, row by row."""
        return [Place(y, x) for y in self.rows for x in self.columns]


@lru_cache(maxsize=16)
def plan_tiles(height: int, width: int, side: int, overlap: float) -> Tiling:
    """Cover an image by tiles of at most ``side`` pixels; neighbours share at least ``overlap`` of a tile.

    An image that is not larger than a tile is one tile of its own shape.
    """
    rows, columns = (_weights(length, min(side, length), overlap) for length in (height, width))
    return Tiling((height, width), (min(side, height), min(side, width)), rows, columns)


def cut(image: np.ndarray, place: Place, tile: tuple[int, int]) -> np.ndarray:
    """Return the tile (h, w, ...) of an image (H, W, ...) as a view."""
    return image[place.y : place.y + tile[0], place.x : place.x + tile[1]]


class Mosaic:
    """Results of the tiles, added up by weight. ``maps``: float32 (K, H, W)."""

    def __init__(self, tiling: Tiling, classes: int) -> None:
        self._tiling = tiling
        self._alone = len(tiling.rows) * len(tiling.columns) == 1
        self.maps = np.zeros((classes, 0, 0) if self._alone else (classes, *tiling.shape), np.float32)

    def add(self, place: Place, maps: np.ndarray) -> None:
        """Add the result (K, h, w) of one tile."""
        if self._alone:
            # A copy, because it is a view of its whole batch.
            self.maps = maps.copy()
            return
        weights = self._tiling.rows[place.y][:, None] * self._tiling.columns[place.x]  # (h, w)
        height, width = self._tiling.tile
        self.maps[:, place.y : place.y + height, place.x : place.x + width] += maps * weights


def _weights(length: int, tile: int, overlap: float) -> dict[int, np.ndarray]:
    """Start -> weights (tile,): hats, divided by the sum of all hats at each pixel."""
    steps = np.arange(tile)
    hat = np.minimum(steps + 1, tile - steps).astype(np.float64)
    places = starts(length, tile, overlap)
    total = np.zeros(length)
    for start in places:
        total[start : start + tile] += hat
    return {start: (hat / total[start : start + tile]).astype(np.float32) for start in places}
