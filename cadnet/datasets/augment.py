"""Augmentation of whole batches on the device: one geometry per pair, photometry per image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample

# ImageNet statistics on the 0-255 scale (paper: "color normalizing").
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


class Geometry(NamedTuple):
    """Per-sample geometry, shared by image, reference and mask; every field is int64 (B,).

    A window of ``side`` pixels at ``top`` and ``left``, which may reach beyond the image, becomes the crop:
    mirrored where ``flip_x`` or ``flip_y`` is 1, then with rows and columns exchanged where ``transpose`` is.
    """

    top: Tensor
    left: Tensor
    side: Tensor
    flip_x: Tensor
    flip_y: Tensor
    transpose: Tensor


@dataclass(frozen=True)
class Augmentation:
    """Random crop and the variations of :class:`~cadnet.config.training.AugmentParams`.

    ``crop``: side in pixels; ``scale``: range of the factor that a sample is resized by before; ``flip``:
    chance of each of the two mirror images; ``turn``: of a turn by a random multiple of 90 degrees;
    ``photometric``: 0 (off) to 1, the half-width of the gain and of the offset (in standard deviations),
    drawn per image and channel, so independently for image and reference; ``brightness, blur, noise``:
    chances of those changes of an image.
    """

    crop: int
    flip: float = 0.5
    scale: tuple[float, float] = (1.0, 1.0)
    turn: float = 0.0
    photometric: float = 0.0
    brightness: float = 0.0
    blur: float = 0.0
    noise: float = 0.0

    @property
    def resizes(self) -> bool:
        """Whether windows may have another side than the crop."""
        return self.scale != (1.0, 1.0)

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> Geometry:
        """Draw the geometry of ``count`` samples of ``height`` x ``width`` pixels on the CPU.

        Raises:
            ValueError: without resizing, the crop is larger than the images.
        """
        transpose = torch.zeros(count, dtype=torch.int64)
        if self.resizes:
            low, high = self.scale
            factors = low + (high - low) * torch.rand(count, generator=generator)
            side = (self.crop / factors).round().long().clamp(min=1)
            places = torch.rand(2, count, generator=generator)
            # A window larger than the image lies anywhere around it.
            top, left = (
                (torch.minimum(room, torch.zeros_like(room)) + place * (room.abs() + 1)).floor().long()
                for room, place in ((height - side, places[0]), (width - side, places[1]))
            )
        else:
            if self.crop > min(height, width):
                raise ValueError(
                    f"train.crop is {self.crop} but the images are {width} x {height}; "
                    "lower the crop or prepare the dataset at a larger size"
                )
            side = torch.full_like(transpose, self.crop)
            top = torch.randint(height - self.crop + 1, (count,), generator=generator)
            left = torch.randint(width - self.crop + 1, (count,), generator=generator)
        flip_x, flip_y = (torch.rand(2, count, generator=generator) < self.flip).long()
        if self.turn:
            quarters = torch.randint(4, (count,), generator=generator)
            quarters *= torch.rand(count, generator=generator) < self.turn
            transpose = quarters % 2
            # One quarter is a transposition of the image mirrored sideways, three of that upside down.
            flip_x ^= ((quarters == 1) | (quarters == 2)).long()
            flip_y ^= (quarters >= 2).long()
        return Geometry(top, left, side, flip_x, flip_y, transpose)

    def distort(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Change brightness, contrast, colour, sharpness and noise of normalised ``images`` (B, 3, H, W)."""
        if self.photometric:
            shape = (2, images.shape[0], images.shape[1], 1, 1)
            amount = (torch.rand(shape, generator=generator) * 2 - 1) * self.photometric
            gain, offset = amount.to(images.device, non_blocking=True)
            images = images * (1 + gain) + offset
        if self.brightness or self.blur or self.noise:
            images = from_unit_range(self._degrade(to_unit_range(images), generator).clamp(0, 1))
        return images

    def _degrade(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Brighten, blur and add noise, each with its chance, to float (B, 3, H, W), 0 black to 1 white."""
        drawn = torch.rand(7, len(pixels), 1, 1, 1, generator=generator)
        seed = int(torch.randint(2**31, (1,), generator=generator))
        brighter, blurred, noisy, contrast, offset, size, variance = drawn.to(pixels.device)
        if self.brightness:
            stronger = (pixels * (1 + contrast / 2) + offset / 2).clamp(0, 1)
            pixels = torch.where(brighter < self.brightness, stronger, pixels)
        for number, width in enumerate((3, 5, 7)) if self.blur else ():
            soft = avg_pool2d(pixels, width, 1, width // 2, count_include_pad=False)
            pixels = torch.where((blurred < self.blur) & ((3 * size).floor() == number), soft, pixels)
        if self.noise:
            # Drawn where the images are: millions of numbers a step would take long on the way.
            own = torch.Generator(pixels.device).manual_seed(seed)
            grain = torch.randn(pixels.shape, generator=own, device=pixels.device)
            grain *= (10 + 40 * variance).sqrt() / 255
            pixels = torch.where(noisy < self.noise, pixels + grain, pixels)
        return pixels


def gather(source: Tensor, index: Tensor, geometry: Geometry, crop: int) -> Tensor:
    """Cut one ``crop`` x ``crop`` window per sample, mirrored as drawn, in a single gather.

    Args:
        source: (N, H, W) or (N, C, H, W).
        index: int64 (B,), rows of ``source``.
        geometry: as drawn by :meth:`Augmentation.draw` without resizing, on the same device.
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


def resample(
    images: Tensor, geometry: Geometry, crop: int, *, fill: float = 0.0, smooth: bool = True
) -> Tensor:
    """Resize one window per sample to ``crop`` x ``crop``, mirrored as drawn.

    Args:
        images: float (B, C, H, W).
        geometry: as drawn by :meth:`Augmentation.draw`, on the same device.
        crop: side in pixels.
        fill: value beyond the image.
        smooth: interpolate, which labels must not be.

    Returns:
        float (B, C, crop, crop).
    """
    steps = (torch.arange(crop, device=images.device) + 0.5) / crop  # centres of the crop's pixels, 0 to 1

    def places(start: Tensor, flip: Tensor, length: int) -> Tensor:
        along = torch.where(flip[:, None] == 1, 1 - steps, steps)
        return (start[:, None] + along * geometry.side[:, None]) * (2 / length) - 1

    x = places(geometry.left, geometry.flip_x, images.shape[3])
    y = places(geometry.top, geometry.flip_y, images.shape[2])
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)
    mode = "bilinear" if smooth else "nearest"
    return grid_sample(images - fill, grid, mode=mode, padding_mode="zeros", align_corners=False) + fill


def transposed(crops: Tensor, geometry: Geometry) -> Tensor:
    """Exchange rows and columns of (B, ..., S, S) where it was drawn."""
    swap = geometry.transpose.view(-1, *[1] * (crops.ndim - 1)) == 1
    return torch.where(swap, crops.mT, crops)


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
