"""Reduced copies of a pair, free of slow changes of brightness, and coordinates between them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

COARSE_SIDE = 128
"""Longer side in pixels of the level on which the search starts."""
_COARSE_SHORT = 32
"""Smallest shorter side: strips are reduced less."""
LIGHT_SIGMA = 8.0
"""Pixels of the coarse level; slower changes are treated as lighting."""


@dataclass(frozen=True)
class Level:
    """One reduced pair, float32.

    ``reference`` and ``image`` are without their slow part, ``grey_reference`` and ``grey_image`` with it;
    the scales (3, 3) take full pixels to level pixels.
    """

    reference: np.ndarray
    image: np.ndarray
    grey_reference: np.ndarray
    grey_image: np.ndarray
    reference_scale: np.ndarray
    image_scale: np.ndarray

    def to_level(self, matrix: np.ndarray) -> np.ndarray:
        """Express a motion between full-size pictures between those of this level."""
        return _normalised(self.image_scale @ matrix @ np.linalg.inv(self.reference_scale))

    def to_full(self, matrix: np.ndarray) -> np.ndarray:
        """Express a motion between this level's pictures between the full-size ones."""
        return _normalised(np.linalg.inv(self.image_scale) @ matrix @ self.reference_scale)

    @property
    def pixel(self) -> float:
        """Full-size pixels per pixel of this level, along the axis reduced more."""
        return float(1 / min(self.reference_scale[0, 0], self.reference_scale[1, 1]))

    def warped(self, matrix: np.ndarray, grey: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """The level's image in the reference's frame by a level motion, and where it has pixels (bool)."""
        height, width = self.reference.shape
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        image = self.grey_image if grey else self.image
        warped = cv2.warpPerspective(image, matrix, (width, height), flags=flags)
        ones = np.ones(self.image.shape, np.uint8)
        inside = cv2.warpPerspective(
            ones, matrix, (width, height), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        )
        return warped, inside.astype(bool)


def sides_for(shortest: int, longest: int, largest: int) -> list[int]:
    """Longer sides of the levels from coarse to fine for pictures of these shortest and longest sides.

    They double up to ``longest``, or to ``largest`` where that is less.
    """
    coarse = max(COARSE_SIDE, longest * _COARSE_SHORT // shortest)
    top = min(longest, max(largest, coarse))
    sides = [min(coarse, top)]
    while sides[-1] < top:
        # A last step of less than a quarter would cost a level and gain nothing.
        sides.append(top if sides[-1] * 2.5 >= top else sides[-1] * 2)
    return sides


class Pyramid:
    """The levels of one grey uint8 pair (reference, image), each made when it is asked for and kept."""

    def __init__(self, reference: np.ndarray, image: np.ndarray) -> None:
        self._pair = reference, image
        self._longest = max(*reference.shape, *image.shape)
        # Blurred at the coarse size: the same as a wide blur of each level, in a fraction of its time.
        self._lights = tuple(
            cv2.GaussianBlur(_reduced(grey, self._factor(COARSE_SIDE))[0], (0, 0), LIGHT_SIGMA)
            for grey in self._pair
        )
        self._levels: dict[int, Level] = {}

    def level(self, side: int) -> Level:
        """The pair reduced by one factor so that the longest side becomes ``side`` pixels; never enlarged."""
        if side not in self._levels:
            factor = self._factor(side)
            (reference, reference_scale), (image, image_scale) = (_reduced(g, factor) for g in self._pair)
            flat = [
                picture - enlarged(light, picture)
                for picture, light in zip((reference, image), self._lights, strict=True)
            ]
            self._levels[side] = Level(flat[0], flat[1], reference, image, reference_scale, image_scale)
        return self._levels[side]

    def _factor(self, side: int) -> float:
        return min(1.0, side / self._longest)


def enlarged(light: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """A reduced picture at the size of another one."""
    return cv2.resize(light, picture.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _reduced(grey: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    height, width = grey.shape
    size = max(1, round(width * factor)), max(1, round(height * factor))
    x, y = size[0] / width, size[1] / height
    # Pixel centres are whole numbers, so the origin of a reduced picture shifts by half a pixel.
    scale = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
    reduced = grey if size == (width, height) else cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return reduced.astype(np.float32), scale


def _normalised(matrix: np.ndarray) -> np.ndarray:
    return matrix / matrix[2, 2]
