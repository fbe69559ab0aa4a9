"""OCRNet baseline (Yuan et al. 2020, "Object-contextual representations for semantic segmentation")."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cadnet.models.backbones import HRNet, HRNetVariant
from cadnet.models.layers import (
    Classifier,
    ConvModule,
    at_least_float32,
    crop,
    pad_to_multiple,
    resize,
    without_autocast,
)
from cadnet.types import Auxiliary, SegOutput

STRIDE = 32
"""HRNet adds maps of its branches, whose sizes agree only when height and width are multiples of this."""


def object_regions(features: Tensor, logits: Tensor) -> Tensor:
    """Return the mean feature of each class, weighted by its spatial softmax (Eq. 8): (B, C, K+1, 1).

    Summed in float32 under any autocast.

    Args:
        features: (B, C, h, w).
        logits: coarse logits (B, K+1, h, w).
    """
    with without_autocast(features):
        weight = at_least_float32(logits).flatten(2).softmax(dim=2)  # (B, K+1, hw)
        regions = weight @ at_least_float32(features).flatten(2).transpose(1, 2)  # (B, K+1, C)
    return regions.transpose(1, 2).unsqueeze(3).to(features.dtype)


class ObjectAttention(nn.Module):
    """Describe each position by the regions it resembles (Eq. 9-11).

    Args:
        channels: C of features and regions.
        width: channels in which they are compared.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.query = nn.Sequential(ConvModule(channels, width), ConvModule(width, width))
        self.key = nn.Sequential(ConvModule(channels, width), ConvModule(width, width))
        self.value = ConvModule(channels, width)
        self.project = ConvModule(width, channels)

    def forward(self, features: Tensor, regions: Tensor) -> Tensor:
        """Map features (B, C, h, w) and regions (B, C, K+1, 1) to contexts (B, C, h, w)."""
        b, _, h, w = features.shape
        # One head of tokens each: h*w queries, K+1 keys and values.
        q, k, v = (
            x.flatten(2).transpose(1, 2).unsqueeze(1)
            for x in (self.query(features), self.key(regions), self.value(regions))
        )
        context = F.scaled_dot_product_attention(q, k, v)  # (B, 1, hw, width)
        out: Tensor = self.project(context.squeeze(1).transpose(1, 2).reshape(b, -1, h, w))
        return out


class OCRNet(nn.Module):
    """HRNet encoder, coarse segmentation, object-contextual features.

    The loss of the final logits reaches the coarse ones through the regions, too.

    Args:
        num_classes: defect classes K; the network has K + 1 outputs.
        encoder: HRNet variant.
        width: channels of features and regions.
        key_width: channels of the attention's queries, keys and values.
        dropout: channel dropout before the final classifier.
        auxiliary_weight: of the coarse segmentation's loss, in training.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        encoder: HRNetVariant = "hrnet_w18",
        width: int = 512,
        key_width: int = 256,
        dropout: float = 0.1,
        auxiliary_weight: float = 0.4,
    ) -> None:
        super().__init__()
        outputs = num_classes + 1
        self.auxiliary_weight = auxiliary_weight
        self.encoder = HRNet(encoder)
        channels = sum(self.encoder.channels)
        self.coarse = nn.Sequential(ConvModule(channels, channels), Classifier(channels, outputs, 0.0))
        self.pixels = ConvModule(channels, width, 3)
        self.attention = ObjectAttention(width, key_width)
        self.join = ConvModule(2 * width, width)
        self.classifier = Classifier(width, outputs, dropout)

    def forward(self, image: Tensor, reference: Tensor | None = None) -> SegOutput:  # noqa: ARG002
        """Segment (B, 3, H, W) images into logits (B, K+1, H, W); ``reference`` is ignored."""
        padded = pad_to_multiple(image, STRIDE)
        levels = self.encoder(padded)
        features = torch.cat([resize(level, levels[0].shape[2:]) for level in levels], dim=1)
        coarse = self.coarse(features)
        pixels = self.pixels(features)
        context = self.attention(pixels, object_regions(pixels, coarse))
        logits = self.classifier(self.join(torch.cat([context, pixels], dim=1)))
        size, padded_size = image.shape[2:], padded.shape[2:]
        logits = crop(resize(logits, padded_size), size)
        if not self.training:
            return SegOutput(logits)
        if size != padded_size:  # the loss would stretch what belongs to the padded image
            coarse = crop(resize(coarse, padded_size), size)
        return SegOutput(logits, auxiliary=(Auxiliary(coarse, self.auxiliary_weight),))
