"""Whatever is given as an image, as the array that a network takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cadnet.images import ImageError, read_image

Picture = np.ndarray | Path | str
"""An image file, or uint8 pixels: grey (H, W) or (H, W, 1), RGB (H, W, 3), RGBA (H, W, 4)."""


def as_picture(image: Picture) -> np.ndarray:
    """Return uint8 RGB (H, W, 3), a copy: grey becomes three equal channels, transparency is left out.

    Raises:
        FileNotFoundError: no such file.
        ImageError: the file cannot be decoded, or the array is of another type or shape.
    """
    if isinstance(image, str | Path):
        return read_image(image)
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or channels not in (1, 3, 4) or not image.size:
        raise ImageError(
            f"an image of shape {image.shape} and type {image.dtype} cannot be used; give uint8 of 0..255, "
            "(H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA"
        )
    if channels == 1:
        return np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    # Cameras fill one buffer again and again, while a batch is still being collected.
    return np.array(image[:, :, :3], order="C")
