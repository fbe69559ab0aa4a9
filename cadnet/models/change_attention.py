"""Change attention: how the feature distance steers the decoder (paper, Eq. 11-14).

Both modes have one form. With X the concatenated level maps (B, L*C, h, w),

    X' = spatial (x) channel (x) (X + tile(shared)),

and each mode leaves the parts out that it does not have. The head can thereby apply them literally or in an
equal, cheaper order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 4
_RATIO = 16


class ChangeWeights(NamedTuple):
    """The parts of X' above; absent ones are None.

    ``channel``: (B, L*C, 1, 1) in (0, 1); ``shared``: (B, C, h, w), added to every level; ``spatial``: (B, 1,
    h, w) in [0, 1].
    """

    channel: Tensor
    shared: Tensor | None = None
    spatial: Tensor | None = None


class ChannelAttention(nn.Module):
    """One weight per channel from its mean and its maximum, through a shared bottleneck (ratio 16, no
    biases)."""

    def __init__(self, channels: int, ratio: int = _RATIO) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // ratio, 1, bias=False)
        self.excite = nn.Conv2d(channels // ratio, channels, 1, bias=False)

    def forward(self, mean: Tensor, maximum: Tensor) -> Tensor:
        """Map spatial means and maxima, each (B, C, 1, 1), to weights (B, C, 1, 1) in (0, 1)."""
        hidden = F.relu(self.squeeze(mean)), F.relu(self.squeeze(maximum))
        return torch.sigmoid(self.excite(hidden[0]) + self.excite(hidden[1]))


class CoordAttention(nn.Module):
    """Coordinate attention: one weight per channel and row, one per channel and column."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(8, channels // 4)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.norm = nn.BatchNorm2d(hidden)
        self.rows = nn.Conv2d(hidden, channels, 1)
        self.columns = nn.Conv2d(hidden, channels, 1)

    def forward(self, z: Tensor) -> Tensor:
        """Return ``z`` (B, C, h, w) times its row and its column weights, both in (0, 1)."""
        tokens = z.permute(0, 2, 3, 1)  # (B, h, w, C)
        height = tokens.shape[1]
        profiles = torch.cat((tokens.mean(dim=2), tokens.mean(dim=1)), dim=1).unsqueeze(2)  # (B, h+w, 1, C)
        hidden = F.hardswish(self.norm(self.squeeze(profiles.permute(0, 3, 1, 2))))  # (B, C/4, h+w, 1)
        rows = torch.sigmoid(self.rows(hidden[:, :, :height]))  # (B, C, h, 1)
        columns = torch.sigmoid(self.columns(hidden[:, :, height:])).transpose(2, 3)  # (B, C, 1, w)
        weighed = tokens * rows.permute(0, 2, 3, 1) * columns.permute(0, 2, 3, 1)  # (B, h, w, C)
        return weighed.permute(0, 3, 1, 2)


def change_map(distance: Tensor) -> Tensor:
    """Return delta = sigmoid(distance) without gradient: the loss alone trains the distance."""
    return torch.sigmoid(distance.detach())


PRIOR_EPS = 1e-10
"""Added to the span of the min-max, as in the authors' code."""


def change_prior(distance: Tensor) -> Tensor:
    """Return (delta - min) / (max - min) per image, delta = sigmoid(distance); in [0, 1], without gradient.

    A constant image gives zeros. The authors' code takes minimum and maximum over the whole batch, which
    makes a sample's result depend on its neighbours; per image is the same at batch size 1.

    Delta itself is not computed: an untrained encoder's distances are around 20, where it has rounded to 1,
    and stretching that would give zeros everywhere and stop all learning. With d0 the smallest distance,

        delta - min = (1 - sigmoid(d0)) * (1 - exp(d0 - d)) * sigmoid(d),

    and the first factor, all that vanishes at large distances, cancels. 1 - exp(-x) is 2t / (1 + t) with
    t = tanh(x / 2), which keeps its digits at small x too, and which ONNX has (unlike expm1); the 2 cancels.

    Args:
        distance: (B, 1, h, w), non-negative, float32.
    """
    distance = distance.detach()
    half = torch.tanh((distance - distance.amin(dim=(1, 2, 3), keepdim=True)) / 2)
    rise = half / (1 + half) * torch.sigmoid(distance)
    return rise / (rise.amax(dim=(1, 2, 3), keepdim=True) + PRIOR_EPS)


def _mean_and_maximum(levels: Sequence[Tensor], delta: Tensor | None) -> tuple[Tensor, Tensor]:
    """Spatial mean and maximum of concat(levels) + delta, each (B, L*C, 1, 1); nothing is concatenated."""
    shifted = levels if delta is None else [level + delta for level in levels]
    # Over the tokens (B, hw, C), so that forward and gradient stay in channels-last memory.
    mean = torch.cat([level.permute(0, 2, 3, 1).flatten(1, 2).mean(dim=1) for level in shifted], dim=1)
    maximum = torch.cat([F.adaptive_max_pool2d(level, 1) for level in shifted], dim=1)
    return mean[:, :, None, None], maximum


class AddAttention(nn.Module):
    """Fully supervised mode: shared = HA (x) VA (x) (sum of levels + delta), channel = CA(X + delta).

    Eq. 11-12 in the form of the authors' code, which the published 3.90 M parameters identify: row and column
    attention act on the sum of the levels, not on their concatenation.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = ChannelAttention(LEVELS * channels)
        self.coordinate = CoordAttention(channels)

    def forward(self, levels: Sequence[Tensor], distance: Tensor) -> ChangeWeights:
        """Weigh four level maps, each (B, C, h, w), by the distance (B, 1, h, w)."""
        delta = change_map(distance).to(levels[0].dtype)
        shared = self.coordinate(sum(levels[1:], levels[0]) + delta)
        return ChangeWeights(self.channel(*_mean_and_maximum(levels, delta)), shared=shared)


class MultiplyAttention(nn.Module):
    """Few-label mode (Eq. 13-14): spatial = per-image min-max of delta, channel = CA(X)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = ChannelAttention(LEVELS * channels)

    def forward(self, levels: Sequence[Tensor], distance: Tensor) -> ChangeWeights:
        """Weigh four level maps, each (B, C, h, w), by the distance (B, 1, h, w)."""
        spatial = change_prior(distance).to(levels[0].dtype)
        return ChangeWeights(self.channel(*_mean_and_maximum(levels, None)), spatial=spatial)
