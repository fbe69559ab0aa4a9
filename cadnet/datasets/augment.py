"""Augmentation of whole batches on the device: one geometry per pair, photometry per image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

# ImageNet statistics on the 0-255 scale (paper: "color normalizing").
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


class Geometry(NamedTuple):
    """Per-sample geometry, shared by image, reference and mask; every field is int64 (B,).

    ``top`` and ``left`` place the crop in pixels; ``flip_x`` and ``flip_y`` are 0 or 1.
    """

    top: Tensor
    left: Tensor
    flip_x: Tensor
    flip_y: Tensor


@dataclass(frozen=True)
class Augmentation:
    """Random crop, flips and photometric change.

    ``crop``: side in pixels; ``flip``: chance of each of the two mirror images; ``photometric``: 0 (off) to
    1, the half-width of the gain and of the offset (in standard deviations), drawn per image and channel, so
    independently for image and reference.
    """

    crop: int
    flip: float = 0.5
    photometric: float = 0.0

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> Geometry:
        """Draw the geometry of ``count`` samples of ``height`` x ``width`` pixels on the CPU.

        Raises:
            ValueError: the crop is larger than the images.
        """
        if self.crop > min(height, width):
            raise ValueError(
                f"train.crop is {self.crop} but the images are {width} x {height}; "
                "lower the crop or prepare the dataset at a larger size"
            )
        top = torch.randint(height - self.crop + 1, (count,), generator=generator)
        left = torch.randint(width - self.crop + 1, (count,), generator=generator)
        flips = torch.rand(2, count, generator=generator) < self.flip
        return Geometry(top, left, flips[0].long(), flips[1].long())

    def distort(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Apply a random gain and offset per sample and channel to normalised ``images`` (B, 3, H, W)."""
        if self.photometric == 0:
            return images
        shape = (2, images.shape[0], images.shape[1], 1, 1)
        amount = (torch.rand(shape, generator=generator) * 2 - 1) * self.photometric
        gain, offset = amount.to(images.device, non_blocking=True)
        return images * (1 + gain) + offset


def gather(source: Tensor, index: Tensor, geometry: Geometry, crop: int) -> Tensor:
    """Cut one ``crop`` x ``crop`` window per sample, mirrored as drawn, in a single gather.

    Args:
        source: (N, H, W) or (N, C, H, W).
        index: int64 (B,), rows of ``source``.
        geometry: as drawn by :meth:`Augmentation.draw`, on the same device.
        crop: side in pixels.

    Returns:
        (B, crop, crop) or (B, C, crop, crop), of the source's type.
    """
    steps = torch.arange(crop, device=source.device)
    # Mirroring is reading the window's rows or columns from its far end.
    y = geometry.top[:, None] + torch.where(
        geometry.flip_y[:, None] == 1, crop - 1 - steps, steps
    )  # (B, crop)
    x = geometry.left[:, None] + torch.where(geometry.flip_x[:, None] == 1, crop - 1 - steps, steps)
    if source.ndim == 3:
        return source[index[:, None, None], y[:, :, None], x[:, None, :]]
    channel = torch.arange(source.shape[1], device=source.device)[None, :, None, None]
    return source[index[:, None, None, None], channel, y[:, None, :, None], x[:, None, None, :]]


def normalise(images: Tensor) -> Tensor:
    """Turn uint8 RGB (B, 3, H, W) into float32 with ImageNet mean 0 and standard deviation 1."""
    mean = torch.tensor(MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=images.device).view(1, 3, 1, 1)
    return (images.float() - mean) / std


def to_unit_range(images: Tensor) -> Tensor:
    """Turn normalised images (B, 3, H, W) into float32 with 0 for black and 1 for white."""
    scale, zero = _unit_range(images)
    return images.float() * scale + zero


def from_unit_range(pixels: Tensor) -> Tensor:
    """Undo :func:`to_unit_range`."""
    scale, zero = _unit_range(pixels)
    return (pixels - zero) / scale


def _unit_range(images: Tensor) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean in the unit range, (1, 3, 1, 1)."""
    scale, zero = (
        torch.tensor(values, device=images.device).view(1, 3, 1, 1) / 255 for values in (STD, MEAN)
    )
    return scale, zero
