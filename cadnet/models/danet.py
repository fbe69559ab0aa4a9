"""DANet baseline (Fu et al. 2019, "Dual attention network for scene segmentation")."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cadnet.models.backbones import OutputStride, ResNet, ResNetVariant
from cadnet.models.layers import (
    AuxiliaryHead,
    Classifier,
    ConvModule,
    at_least_float32,
    resize,
    without_autocast,
)
from cadnet.types import Auxiliary, SegOutput


class PositionAttention(nn.Module):
    """Add to each position what similar positions hold: x + gamma * softmax(Q^T K) V (section 3.2).

    Similarities are not scaled. In float32 under any autocast: they are exponents, and gamma starts at 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1)
        self.key = nn.Conv2d(channels, channels // 8, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C, h, w)."""
        # One head of h*w tokens each, (B, 1, hw, c).
        q, k, v = (
            at_least_float32(layer(x)).flatten(2).transpose(1, 2).unsqueeze(1)
            for layer in (self.query, self.key, self.value)
        )
        with without_autocast(x):
            out = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        return x + self.gamma * out.squeeze(1).transpose(1, 2).reshape(x.shape).to(x.dtype)


class ChannelAttention(nn.Module):
    """Add to each channel what unlike channels hold: x + gamma * softmax(max E - E) F (section 3.3).

    E = F F^T sums over all positions, too many for half precision: float32 under any autocast.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C, h, w)."""
        flat = at_least_float32(x).flatten(2)  # (B, C, hw)
        with without_autocast(x):
            energy = flat @ flat.transpose(1, 2)  # (B, C, C)
            # softmax subtracts the maximum itself, so softmax(max E - E) is softmax(-E).
            out = (-energy).softmax(dim=-1) @ flat
        return x + self.gamma * out.reshape(x.shape).to(x.dtype)


class AttentionBranch(nn.Module):
    """3x3 ``ConvModule``, attention, 3x3 ``ConvModule``."""

    def __init__(self, in_channels: int, width: int, attention: nn.Module) -> None:
        super().__init__()
        self.reduce = ConvModule(in_channels, width, 3)
        self.attention = attention
        self.refine = ConvModule(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, width, h, w)."""
        out: Tensor = self.refine(self.attention(self.reduce(x)))
        return out


class DANet(nn.Module):
    """ResNet encoder, position and channel attention side by side; their sum is classified.

    In training each branch is classified on its own too, with weight 1. The published network computes that
    in every forward pass; with ``literal = True`` so does this one, for complexity counts.

    Args:
        num_classes: defect classes K; the network has K + 1 outputs.
        encoder: ResNet variant.
        output_stride: input pixels per position of the deepest level.
        width: channels of each branch, a multiple of 8.
        dropout: channel dropout before the classifiers.
        auxiliary_weight: of the loss on the third level, in training.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        encoder: ResNetVariant = "resnet50c",
        output_stride: OutputStride = 8,
        width: int = 512,
        dropout: float = 0.1,
        auxiliary_weight: float = 0.4,
    ) -> None:
        super().__init__()
        outputs = num_classes + 1
        self.literal = False
        self.auxiliary_weight = auxiliary_weight
        self.encoder = ResNet(encoder, output_stride)
        *_, inner, deepest = self.encoder.channels
        self.position = AttentionBranch(deepest, width, PositionAttention(width))
        self.channel = AttentionBranch(deepest, width, ChannelAttention())
        self.classifier = Classifier(width, outputs, dropout)
        self.position_classifier = Classifier(width, outputs, dropout)
        self.channel_classifier = Classifier(width, outputs, dropout)
        self.auxiliary = AuxiliaryHead(inner, outputs, dropout)

    def forward(self, image: Tensor, reference: Tensor | None = None) -> SegOutput:  # noqa: ARG002
        """Segment (B, 3, H, W) images into logits (B, K+1, H, W); ``reference`` is ignored."""
        *_, inner, deepest = self.encoder(image)
        position, channel = self.position(deepest), self.channel(deepest)
        logits = resize(self.classifier(position + channel), image.shape[2:])
        branches: tuple[Auxiliary, ...] = ()
        if self.training or self.literal:
            branches = (
                Auxiliary(self.position_classifier(position), 1.0),
                Auxiliary(self.channel_classifier(channel), 1.0),
            )
        if not self.training:
            return SegOutput(logits)
        inner_logits = Auxiliary(self.auxiliary(inner), self.auxiliary_weight)
        return SegOutput(logits, auxiliary=(*branches, inner_logits))
