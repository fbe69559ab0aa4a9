"""What alignment gives."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

Method = Literal["off", "identity", "translation", "affine", "homography", "features"]
"""What produced a matrix: nothing was asked for ("off"), the pair was found to lie on each other already
("identity"), correlation of the pixels under that motion model, or matched features refined by it."""


class Alignment(NamedTuple):
    """How an image lies on its reference.

    ``matrix``: float64 (3, 3), maps reference pixel coordinates (x, y, 1) to image coordinates.
    ``residual``: pixels of the reference by which the aligned pair is still apart, as measured on textured
    patches; the reference's diagonal where too little texture allows no measurement.
    ``confidence``: correlation of the aligned pair in 0..1, the median over textured patches.
    ``shift``: pixels by which the matrix moves the corner of the reference that it moves farthest.
    ``accepted``: residual, confidence and shift lie within the limits of the parameters. With the model "off"
    nothing is limited and only sizes must agree: the user has said that the pair is aligned.
    """

    matrix: np.ndarray
    method: Method
    residual: float
    confidence: float
    shift: float
    accepted: bool


class Aligned(NamedTuple):
    """An image in its reference's frame.

    (H, W) is the reference's size. ``outside``: bool (H, W), True where the photograph shows nothing;
    ``image``: uint8 (H, W, 3), the reference's pixels there; ``mask``: uint8 (H, W), 255 there, or None.
    """

    image: np.ndarray
    mask: np.ndarray | None
    outside: np.ndarray
