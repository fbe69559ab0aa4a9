"""Random changes of unlabelled images: a weak and a strong view of each, and boxes of one image in another.

Strengths: UAPS's code for UCC. No view moves a pixel. Each change has its own probability per image; random
numbers come from torch's generator of the images' device."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from cadnet.datasets.augment import from_unit_range, to_unit_range

Change = Callable[[Tensor], Tensor]
"""Maps images (B, 3, H, W) with values in 0-1 to changed ones."""

GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""


def weak_view(images: Tensor) -> Tensor:
    """Brighten, blur and add noise, of normalised images (B, 3, H, W)."""
    return _changed(images, [(0.3, brighten), (0.3, blur), (0.4, add_noise)])


def strong_view(images: Tensor) -> Tensor:
    """Blur, change colours, drop pixels and add noise, of normalised images (B, 3, H, W)."""
    return _changed(images, [(0.3, blur), (0.3, jitter), (0.2, drop_pixels), (0.4, add_noise)])


def _changed(images: Tensor, changes: list[tuple[float, Change]]) -> Tensor:
    pixels = to_unit_range(images)
    for probability, change in changes:
        chosen = torch.rand(len(pixels), 1, 1, 1, device=pixels.device) < probability
        pixels = torch.where(chosen, change(pixels).clamp(0, 1), pixels)
    return from_unit_range(pixels).to(images.dtype)


def brighten(pixels: Tensor) -> Tensor:
    """Raise contrast by up to a half and brightness by up to half of the range."""
    contrast, brightness = 0.5 * torch.rand(2, len(pixels), 1, 1, 1, device=pixels.device)
    return pixels * (1 + contrast) + brightness


def blur(pixels: Tensor) -> Tensor:
    """Take the mean of 3 x 3 pixels."""
    return F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def add_noise(pixels: Tensor) -> Tensor:
    """Add Gaussian noise with a variance of 10 to 50 squared grey levels of 255."""
    variance = 10 + 40 * torch.rand(len(pixels), 1, 1, 1, device=pixels.device)
    return pixels + torch.randn_like(pixels) * variance.sqrt() / 255


def drop_pixels(pixels: Tensor) -> Tensor:
    """Set one pixel in a hundred to black."""
    kept = torch.rand(len(pixels), 1, *pixels.shape[2:], device=pixels.device) >= 0.01
    return pixels * kept


def jitter(pixels: Tensor) -> Tensor:
    """Change brightness, contrast, saturation by up to a fifth; turn hues by up to a fifth of a circle."""
    amount = 0.2 * (2 * torch.rand(4, len(pixels), 1, 1, 1, device=pixels.device) - 1)
    pixels = (pixels * (1 + amount[0])).clamp(0, 1)
    grey = _grey(pixels)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    pixels = (mean + (pixels - mean) * (1 + amount[1])).clamp(0, 1)
    grey = _grey(pixels)
    pixels = (grey + (pixels - grey) * (1 + amount[2])).clamp(0, 1)
    return turn_hue(pixels, amount[3])


def turn_hue(pixels: Tensor, turns: Tensor) -> Tensor:
    """Turn colours (B, 3, H, W) about the grey axis by ``turns`` (B, 1, 1, 1) of a circle; greys stay."""
    angle = 2 * math.pi * turns
    cosine, sine = angle.cos(), angle.sin()
    # Rodrigues' formula about (1, 1, 1) / sqrt(3).
    red, green, blue = pixels.unbind(dim=1)
    cross = torch.stack((blue - green, red - blue, green - red), dim=1) / math.sqrt(3)
    along = pixels.mean(dim=1, keepdim=True)
    return pixels * cosine + cross * sine + along * (1 - cosine)


def _grey(pixels: Tensor) -> Tensor:
    weights = torch.tensor(GREY, device=pixels.device).view(1, 3, 1, 1)
    return (pixels * weights).sum(dim=1, keepdim=True)


BOX = 0.5
"""Fraction of the image that a box covers."""


def random_boxes(images: Tensor, probability: float) -> Tensor:
    """Sample at most one box per image: bool (B, 1, H, W), True inside.

    A box has the image's shape, half its area, a uniform position, and occurs with ``probability``.
    """
    count, _, height, width = images.shape
    side = BOX**0.5
    corner = torch.rand(2, count, 1, device=images.device) * (1 - side)
    rows, columns = (
        (low <= steps) & (steps < low + side)
        for low, steps in zip(
            corner,
            ((torch.arange(length, device=images.device) + 0.5) / length for length in (height, width)),
            strict=True,
        )
    )
    present = torch.rand(count, 1, 1, device=images.device) < probability
    return (rows[:, :, None] & columns[:, None, :] & present).unsqueeze(1)
