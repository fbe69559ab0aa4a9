"""Boxes of one image in another."""

from __future__ import annotations

import torch
from torch import Tensor

BOX = 0.5
"""Share of the image that a box covers."""


def random_boxes(images: Tensor, chance: float) -> Tensor:
    """Draw at most one box per image: bool (B, 1, H, W), True inside.

    A box has the image's shape and half its area, lies anywhere within it and comes with ``chance``.
    """
    count, _, height, width = images.shape
    side = BOX**0.5
    place = torch.rand(2, count, 1, device=images.device) * (1 - side)
    rows, columns = (
        (low <= steps) & (steps < low + side)
        for low, steps in zip(
            place,
            ((torch.arange(length, device=images.device) + 0.5) / length for length in (height, width)),
            strict=True,
        )
    )
    drawn = torch.rand(count, 1, 1, device=images.device) < chance
    return (rows[:, :, None] & columns[:, None, :] & drawn).unsqueeze(1)
