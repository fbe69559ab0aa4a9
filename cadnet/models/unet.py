"""U-Net with one encoder and one or more decoders, the network of the semi-supervised comparison.

Ronneberger et al. 2015, "U-Net", in the small form of PyMIC that published comparisons of the five methods
use: batch norm, leaky ReLU, and dropout that grows with depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from cadnet.models.layers import crop, pad_to_multiple
from cadnet.types import SegOutput

DROPOUTS = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Fraction of elements dropped in each block of the encoder, finest first."""

STRIDE = 16
"""Input pixels per position of the deepest map: four poolings by two."""

SLOPE = 0.01
"""Of the leaky ReLU below zero."""


class ConvBlock(nn.Sequential):
    """Twice a 3x3 convolution with bias, batch norm and leaky ReLU, with dropout of elements between.

    Args:
        in_channels: C of the input (B, C, h, w).
        out_channels: C' of the output (B, C', h, w).
        dropout: fraction of elements dropped in training.
    """

    def __init__(self, in_channels: int, out_channels: int, dropout: float = 0.0) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.LeakyReLU(SLOPE, inplace=True),
        )


class Encoder(nn.Module):
    """Five blocks with 2x2 max-pooling between.

    Args:
        widths: channels of the five maps, finest first.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ConvBlock(before, width, dropout)
            for (before, width), dropout in zip(pairwise((3, *widths)), DROPOUTS, strict=True)
        )
        self.pool = nn.MaxPool2d(2)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) to five maps (B, C_s, H/2^s, W/2^s), s = 0..4."""
        features: list[Tensor] = []
        for block in self.blocks:
            features.append(block(self.pool(features[-1]) if features else image))
        return features


class Decoder(nn.Module):
    """Four times a transposed convolution to twice the size, the encoder's map joined, a block; then logits.

    Args:
        widths: channels of the encoder's maps, finest first.
        outputs: number of logits.
    """

    def __init__(self, widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        steps = list(pairwise(reversed(widths)))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(deep, fine, 2, stride=2) for deep, fine in steps)
        self.blocks = nn.ModuleList(ConvBlock(2 * fine, fine) for _, fine in steps)
        self.classifier = nn.Conv2d(widths[0], outputs, 3, padding=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Map the encoder's maps, finest first, to logits (B, outputs, H, W)."""
        *skips, x = features
        for up, block, skip in zip(self.ups, self.blocks, reversed(skips), strict=True):
            x = block(torch.cat((skip, up(x)), dim=1))
        logits: Tensor = self.classifier(x)
        return logits


class UNet(nn.Module):
    """U-Net; every part starts from PyTorch's random weights, each decoder from its own.

    ``forward`` uses the main decoder alone. Auxiliary decoders are for training methods that compare several
    predictions from one encoder; these call ``encode`` and ``decode``.

    Args:
        num_classes: defect classes K; the network has K + 1 outputs.
        width: channels of the finest map; each deeper one has twice as many.
        auxiliary: decoders besides the main one.

    Raises:
        ValueError: ``width`` below 1 or ``auxiliary`` below 0.
    """

    def __init__(self, num_classes: int, *, width: int = 16, auxiliary: int = 0) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width counts channels and must be at least 1, got {width}")
        if auxiliary < 0:
            raise ValueError(f"auxiliary counts further decoders and must not be negative, got {auxiliary}")
        widths = [width * 2**level for level in range(len(DROPOUTS))]
        self.encoder = Encoder(widths)
        self.decoders = nn.ModuleList(Decoder(widths, num_classes + 1) for _ in range(1 + auxiliary))

    def encode(self, image: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) to five maps (B, width * 2^s, H/2^s, W/2^s), finest (s = 0) first.

        Raises:
            ValueError: H or W is no multiple of 16.
        """
        _check_size(image)
        features: list[Tensor] = self.encoder(image)
        return features

    def decode(self, features: Sequence[Tensor], decoder: int = 0) -> Tensor:
        """Turn the maps of ``encode``, perturbed or not, into logits (B, K+1, H, W).

        Args:
            features: five maps, finest first; H and W are those of the first.
            decoder: 0 for the main one, 1 and up for the auxiliary ones.

        Raises:
            ValueError: no such decoder, not five maps, or H or W is no multiple of 16.
        """
        if not 0 <= decoder < len(self.decoders):
            raise ValueError(
                f"decoder {decoder} is none of the network's {len(self.decoders)}; build it with a larger "
                "'auxiliary'"
            )
        if len(features) != len(DROPOUTS):
            raise ValueError(f"decode takes the {len(DROPOUTS)} maps of encode, got {len(features)}")
        _check_size(features[0])
        logits: Tensor = self.decoders[decoder](features)
        return logits

    def forward(self, image: Tensor, reference: Tensor | None = None) -> SegOutput:  # noqa: ARG002
        """Segment (B, 3, H, W) images into logits (B, K+1, H, W); ``reference`` is ignored."""
        features = self.encode(pad_to_multiple(image, STRIDE))
        return SegOutput(crop(self.decode(features), image.shape[2:]))


def _check_size(x: Tensor) -> None:
    """Refuse (B, C, H, W) whose height or width the poolings cannot halve."""
    height, width = x.shape[2:]
    if height % STRIDE or width % STRIDE:
        raise ValueError(
            f"height and width must be multiples of {STRIDE}, got {height} x {width}; use "
            f"pad_to_multiple(image, {STRIDE}) before and crop after, or call the network, which does both"
        )
