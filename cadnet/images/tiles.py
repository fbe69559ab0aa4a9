"""Tiles that cover an image, and the results of tiles blended into one."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np


class Position(NamedTuple):
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
    def positions(self) -> list[Position]:
        """The tiles, row by row."""
        return [Position(y, x) for y in self.rows for x in self.columns]


def starts(length: int, size: int, overlap: float) -> list[int]:
    """Return the first pixels of the tiles of ``size`` that cover ``length`` pixels.

    Neighbours share at least ``overlap`` of a tile; the last is moved inside. A length within one tile gives
    [0].
    """
    step = max(1, int(size * (1 - overlap)))
    last = max(0, length - size)
    return sorted({min(start, last) for start in range(0, last + step, step)})


def grid(width: int, height: int, size: int, overlap: float) -> list[tuple[str, int, int]]:
    """Return suffix, x and y of each tile, row by row; the suffix is empty where there is but one."""
    ys, xs = starts(height, size, overlap), starts(width, size, overlap)
    if len(ys) == len(xs) == 1:
        return [("", 0, 0)]
    return [(f"-r{row:02d}c{column:02d}", x, y) for row, y in enumerate(ys) for column, x in enumerate(xs)]


def cut(image: np.ndarray, position: Position, tile: tuple[int, int]) -> np.ndarray:
    """Return the tile (h, w, ...) of an image (H, W, ...) as a view."""
    return image[position.y : position.y + tile[0], position.x : position.x + tile[1]]


def padded(image: np.ndarray, size: int, value: int | tuple[int, int, int] | None = None) -> np.ndarray:
    """Return ``image`` (H, W) or (H, W, 3), enlarged to the right and below to ``size`` where it is smaller.

    Added pixels are ``value``, or for None repeat the edge.
    """
    below, right = (max(0, size - side) for side in image.shape[:2])
    if not below and not right:
        return image
    if value is None:
        return cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)
    return cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT, value=value)


@lru_cache(maxsize=16)
def plan_tiles(height: int, width: int, side: int, overlap: float) -> Tiling:
    """Cover an image by tiles of at most ``side`` pixels; neighbours share at least ``overlap`` of a tile.

    An image that is not larger than a tile is one tile of its own shape.
    """
    rows, columns = (_weights(length, min(side, length), overlap) for length in (height, width))
    return Tiling((height, width), (min(side, height), min(side, width)), rows, columns)


class Mosaic:
    """Results of the tiles, added up by weight. ``maps``: float32 (K, H, W)."""

    def __init__(self, tiling: Tiling, classes: int) -> None:
        self._tiling = tiling
        self._alone = len(tiling.rows) * len(tiling.columns) == 1
        self.maps = np.zeros((classes, 0, 0) if self._alone else (classes, *tiling.shape), np.float32)

    def add(self, position: Position, maps: np.ndarray) -> None:
        """Add the result (K, h, w) of one tile."""
        if self._alone:
            # A copy, because it is a view of its whole batch.
            self.maps = maps.copy()
            return
        weights = self._tiling.rows[position.y][:, None] * self._tiling.columns[position.x]  # (h, w)
        height, width = self._tiling.tile
        self.maps[:, position.y : position.y + height, position.x : position.x + width] += maps * weights


def _weights(length: int, tile: int, overlap: float) -> dict[int, np.ndarray]:
    """Start -> weights (tile,): hats, divided by the sum of all hats at each pixel."""
    steps = np.arange(tile)
    hat = np.minimum(steps + 1, tile - steps).astype(np.float64)
    found = starts(length, tile, overlap)
    total = np.zeros(length)
    for start in found:
        total[start : start + tile] += hat
    return {start: (hat / total[start : start + tile]).astype(np.float32) for start in found}
