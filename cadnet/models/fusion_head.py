"""The all-MLP fusion head shared by SegFormer and CADNet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cadnet.models.change_attention import ChangeWeights


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinearly resize (B, C, h, w) to ``size`` (H, W), corners not aligned; no copy at the same size."""
    if x.shape[2:] == torch.Size(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


class PointwiseBlock(nn.Module):
    """1x1 convolution without bias, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.act = nn.ReLU()
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C', h, w)."""
        return self.finish(self.conv(x))

    def finish(self, x: Tensor) -> Tensor:
        """Apply norm and activation to what the convolution gave."""
        out: Tensor = self.act(self.norm(x))
        return out


class FusionHead(nn.Module):
    """Project each level to ``width`` channels, bring all to the finest size, weigh, fuse, classify.

    The literal form concatenates the L upsampled levels to X (B, L*width, h, w), weighs X as
    ``ChangeWeights`` says and applies the fusing 1x1 convolution W. Here W = [W_1 .. W_L] is applied level by
    level before upsampling:

        W (spatial * channel * (X + tile(shared)))
            = spatial * (sum_s up(W_s (channel_s * P_s)) + (sum_s W_s diag(channel_s)) shared)

    which is equal because bilinear resizing acts on positions, W and ``channel`` on channels, and ``spatial``
    is one factor per position. It needs 2/5 (with ``shared``) to 1/3 (without) of the multiply-adds and no
    1024-channel map. ``literal = True`` runs the long form; tests compare the two, and complexity counts are
    taken on it.

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
        parts = self.fuse.conv.weight.chunk(len(projected), dim=1)  # L x (width, width, 1, 1)
        scales = weights.channel.chunk(len(projected), dim=1) if weights else [None] * len(projected)
        total: Tensor | None = None
        for x, part, scale in zip(projected, parts, scales, strict=True):
            term = resize(F.conv2d(x if scale is None else x * scale, part), size)  # (B, width, h, w)
            total = term if total is None else total + term
        assert total is not None
        if weights is not None and weights.shared is not None:
            total = total + _mix(weights.shared, self.fuse.conv.weight, weights.channel)
        if weights is not None and weights.spatial is not None:
            total = total * weights.spatial
        return self.fuse.finish(total)


def _weigh(levels: Sequence[Tensor], weights: ChangeWeights | None) -> Tensor:
    """Return X' (B, L*C, h, w) literally: spatial * channel * (concat(levels) + tile(shared))."""
    x = torch.cat(list(levels), dim=1)
    if weights is None:
        return x
    if weights.shared is not None:
        x = x + weights.shared.repeat(1, len(levels), 1, 1)
    x = x * weights.channel
    return x if weights.spatial is None else x * weights.spatial


def _mix(shared: Tensor, weight: Tensor, channel: Tensor) -> Tensor:
    """Return (sum_s W_s diag(channel_s)) shared: one (C', C) matrix per sample."""
    b, c, h, w = shared.shape
    per_level = weight.view(1, weight.shape[0], -1, c) * channel.view(b, 1, -1, c)  # (B, C', L, C)
    matrix = per_level.sum(dim=2)  # (B, C', C)
    tokens = shared.permute(0, 2, 3, 1).reshape(b, h * w, c)  # (B, hw, C), a view in channels-last memory
    mixed = torch.bmm(tokens, matrix.transpose(1, 2))  # (B, hw, C')
    return mixed.view(b, h, w, -1).permute(0, 3, 1, 2)  # (B, C', h, w)
