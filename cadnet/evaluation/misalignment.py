"""Pairs that are apart by a known motion (paper, limitation 1: sensitivity to geometric misalignment)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from cadnet.types import IGNORE_INDEX, PairBatch

GOLDEN = math.pi * (3 - math.sqrt(5))
"""Angle between the directions of two samples in a row, so that few samples point everywhere."""


def moved(batch: PairBatch, shift: float, angle: float) -> PairBatch:
    """Move the inspected images and their masks away from the references, which stay.

    Every sample is shifted in a direction of its own and turned about its middle to one side or the other, as
    its ``index`` says. Beyond the edge an image is continued, and its mask is 255.

    Args:
        batch: aligned pairs.
        shift: pixels.
        angle: degrees.
    """
    if not shift and not angle:
        return batch
    height, width = batch.image.shape[-2:]
    way = batch.index.double() * GOLDEN
    turn = math.radians(angle) * (1 - 2 * (batch.index % 2)).double()
    # Where each pixel of the result comes from, in units of half an image as the library counts.
    cos, sin = turn.cos(), turn.sin()
    x, y = -shift * way.cos(), -shift * way.sin()
    rows = [
        torch.stack([cos, sin * height / width, (cos * x + sin * y) * 2 / width], dim=1),
        torch.stack([-sin * width / height, cos, (cos * y - sin * x) * 2 / height], dim=1),
    ]
    theta = torch.stack(rows, dim=1).to(batch.image)
    grid = affine_grid(theta, [*batch.image.shape], align_corners=False)

    def sample(values: Tensor, mode: str, padding: str) -> Tensor:
        return grid_sample(values, grid, mode=mode, padding_mode=padding, align_corners=False)

    labels = sample(batch.mask[:, None].to(batch.image) - IGNORE_INDEX, "nearest", "zeros") + IGNORE_INDEX
    image = sample(batch.image, "bilinear", "border")
    return PairBatch(image, batch.reference, labels[:, 0].round().long(), batch.index)


class MovedBatches:
    """Batches of which each pair is apart, see :func:`moved`."""

    def __init__(self, batches: Iterable[PairBatch], shift: float, angle: float) -> None:
        self.batches, self.shift, self.angle = batches, shift, angle

    def __iter__(self) -> Iterator[PairBatch]:
        for batch in self.batches:
            yield moved(batch, self.shift, self.angle)
