"""Padding images to a multiple of an encoder's stride, and cropping back."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column of (B, C, H, W) until height and width are multiples; no copy if so."""
    height, width = x.shape[2:]
    bottom, right = -height % multiple, -width % multiple
    if bottom == 0 and right == 0:
        return x
    return F.pad(x, (0, right, 0, bottom), mode="replicate")


def crop(x: Tensor, size: Sequence[int]) -> Tensor:
    """Keep the top left ``size`` (H, W) of (B, C, h, w)."""
    height, width = size
    return x[..., :height, :width]
