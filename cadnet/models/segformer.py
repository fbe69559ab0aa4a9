"""SegFormer, the appearance baseline, and its all-MLP fusion head, which CADNet shares."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cadnet.models.change_attention import ChangeWeights
from cadnet.models.layers import resize
from cadnet.models.mit import MiT, MiTVariant
from cadnet.types import SegOutput


class PointwiseBlock(nn.Module):
    """1x1 convolution without bias (a linear layer on channels-last tokens), batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.act = nn.ReLU(inplace=True)
        nn.init.kaiming_normal_(self.linear.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C', h, w)."""
        return self.finish(self.linear(x.permute(0, 2, 3, 1)))

    def finish(self, tokens: Tensor) -> Tensor:
        """Apply norm and activation to mixed tokens (B, h, w, C'); returns (B, C', h, w)."""
        out: Tensor = self.act(self.norm(tokens.permute(0, 3, 1, 2)))
        return out


class FusionHead(nn.Module):
    """Project each level to ``width`` channels, bring all to the finest size, weigh, fuse, classify.

    The literal form concatenates the L upsampled levels to X (B, L*width, h, w), weighs X as
    ``ChangeWeights`` says and applies the fusing 1x1 convolution W. Here W = [W_1 .. W_L] is applied level by
    level before upsampling:

        W (spatial * channel * (X + tile(shared)))
            = spatial * (sum_s up(W_s (channel_s * P_s)) + (sum_s W_s diag(channel_s)) shared)

    which is equal because bilinear resizing acts on positions, W and ``channel`` on channels, and ``spatial``
    is one factor per position. It needs about 3/5 (with ``shared``) or 1/3 (without) of the multiply-adds and
    no 1024-channel map. ``literal = True`` runs the long form; tests compare the two, and complexity counts
    are taken on it.

    Args:
        channels: channels of the levels, finest first.
        outputs: number of logits.
        attention: module (levels, distance) -> ChangeWeights, or None.
        width: channels per level.
        dropout: channel dropout before the classifier.
    """

    def __init__(
        self,
        channels: Sequence[int],
        outputs: int,
        attention: nn.Module | None = None,
        width: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
        self.literal = False
        self.levels = nn.ModuleList(PointwiseBlock(c, width) for c in channels)
        self.attention = attention
        self.fuse = PointwiseBlock(len(channels) * width, width)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(width, outputs, 1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor], distance: Tensor | None = None) -> Tensor:
        """Map level maps (B, C_s, h/2^s, w/2^s) and the distance (B, 1, h, w) to logits (B, outputs, h,
        w)."""
        projected = [level(x) for level, x in zip(self.levels, features, strict=True)]
        size = projected[0].shape[2:]
        weights: ChangeWeights | None = None
        upsampled: list[Tensor] = []
        if self.attention is not None or self.literal:
            upsampled = [resize(x, size) for x in projected]
        if self.attention is not None:
            weights = self.attention(upsampled, distance)
        fused = self.fuse(_weigh(upsampled, weights)) if self.literal else self._fuse(projected, weights)
        logits: Tensor = self.classifier(self.dropout(fused))
        return logits

    def _fuse(self, projected: Sequence[Tensor], weights: ChangeWeights | None) -> Tensor:
        """The cheap form of the class docstring, on levels before upsampling."""
        size = projected[0].shape[2:]
        weight = self.fuse.linear.weight  # (C', L*C)
        if weights is None:
            mixers = list(weight.chunk(len(projected), dim=1))  # L x (C', C), one for all samples
        else:
            mixers = _per_sample(weight, weights.channel, len(projected))  # L x (B, C', C)
        terms = [resize(_mix(x, mixer), size) for x, mixer in zip(projected, mixers, strict=True)]
        if weights is not None and weights.shared is not None:
            terms.append(_mix(weights.shared, sum(mixers[1:], mixers[0])))
        total = sum(terms[1:], terms[0])
        if weights is not None and weights.spatial is not None:
            total = total * weights.spatial
        return self.fuse.finish(total.permute(0, 2, 3, 1))


def _weigh(levels: Sequence[Tensor], weights: ChangeWeights | None) -> Tensor:
    """Return X' (B, L*C, h, w) literally: spatial * channel * (concat(levels) + tile(shared))."""
    x = torch.cat(list(levels), dim=1)
    if weights is None:
        return x
    if weights.shared is not None:
        x = x + weights.shared.repeat(1, len(levels), 1, 1)
    x = x * weights.channel
    return x if weights.spatial is None else x * weights.spatial


def _per_sample(weight: Tensor, channel: Tensor, levels: int) -> list[Tensor]:
    """Return W_s diag(channel_s), L x (B, C', C), from W (C', L*C) and channel (B, L*C, 1, 1)."""
    per_level = weight.view(1, weight.shape[0], levels, -1) * channel.view(len(channel), 1, levels, -1)
    return list(per_level.unbind(dim=2))  # (B, C', L, C) without the third axis


def _mix(x: Tensor, mixer: Tensor) -> Tensor:
    """Apply a channel matrix (C', C), or one per sample (B, C', C), to (B, C, h, w)."""
    b, c, h, w = x.shape
    tokens = x.permute(0, 2, 3, 1)  # (B, h, w, C), contiguous when x is channels-last
    if mixer.ndim == 2:
        return F.linear(tokens, mixer).permute(0, 3, 1, 2)
    mixed = torch.bmm(tokens.reshape(b, h * w, c), mixer.transpose(1, 2))  # (B, hw, C')
    return mixed.view(b, h, w, -1).permute(0, 3, 1, 2)  # (B, C', h, w)


class SegFormer(nn.Module):
    """MiT encoder and all-MLP head on the inspected image alone.

    Args:
        num_classes: defect classes K; the network has K + 1 outputs.
        encoder: MiT variant.
        drop_path: stochastic depth of the encoder.
        dropout: channel dropout before the classifier.
        width: channels per level in the head.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        encoder: MiTVariant = "b0",
        drop_path: float = 0.1,
        dropout: float = 0.1,
        width: int = 256,
    ) -> None:
        super().__init__()
        self.encoder = MiT(encoder, drop_path)
        self.head = FusionHead(self.encoder.channels, num_classes + 1, None, width, dropout)

    def forward(self, image: Tensor, reference: Tensor | None = None) -> SegOutput:  # noqa: ARG002
        """Segment (B, 3, H, W) images into logits (B, K+1, H, W); ``reference`` is ignored."""
        return SegOutput(resize(self.head(self.encoder(image)), image.shape[2:]))
