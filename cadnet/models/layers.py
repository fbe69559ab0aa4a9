"""Layers of the convolutional networks, and how maps change their size."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinearly resize (B, C, h, w) to ``size`` (H, W), corners not aligned; no copy at the same size."""
    if x.shape[2:] == torch.Size(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


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


CLASSIFIER_STD = 0.01


class ConvModule(nn.Sequential):
    """Convolution without bias that keeps height and width, batch norm, ReLU.

    Args:
        in_channels: C of the input (B, C, h, w).
        out_channels: C' of the output (B, C', h, w).
        kernel: odd kernel size.
        dilation: distance between the kernel's taps.
        groups: groups of the convolution.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 1, dilation: int = 1, groups: int = 1
    ) -> None:
        padding = kernel // 2 * dilation
        conv = nn.Conv2d(
            in_channels, out_channels, kernel, padding=padding, dilation=dilation, groups=groups, bias=False
        )
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        super().__init__(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


class SeparableConv(nn.Sequential):
    """3x3 convolution within each channel, then a 1x1 one across channels, each with batch norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int = 1) -> None:
        super().__init__(
            ConvModule(in_channels, in_channels, 3, dilation, groups=in_channels),
            ConvModule(in_channels, out_channels),
        )


class AdaptiveAvgPool(nn.AdaptiveAvgPool2d):
    """Adaptive average pooling to ``size`` x ``size`` bins that can be exported for any height and width."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Average (B, C, h, w) over bins; returns (B, C, size, size)."""
        if not torch.compiler.is_exporting():
            return super().forward(x)
        # ONNX has no adaptive pooling. Bins are products of row and column ranges, so means are taken twice.
        rows, columns = (_bins(self.size, length, x) for length in x.shape[2:])
        return rows @ x @ columns.transpose(0, 1)


def _bins(size: int, length: int, like: Tensor) -> Tensor:
    """Averaging matrix (size, length): bin i holds floor(i length / size) to ceil((i + 1) length / size)."""
    bin_index = torch.arange(size, device=like.device).unsqueeze(1)
    position = torch.arange(length, device=like.device).unsqueeze(0)
    start = bin_index * length // size
    end = ((bin_index + 1) * length + size - 1) // size
    inside = ((position >= start) & (position < end)).to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


class PooledBranch(nn.Module):
    """Average to ``size`` x ``size`` bins, 1x1 ``ConvModule``, resize back to the input's size."""

    def __init__(self, in_channels: int, out_channels: int, size: int = 1) -> None:
        super().__init__()
        self.pool = AdaptiveAvgPool(size)
        self.conv = ConvModule(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C', h, w).

        Raises:
            ValueError: one image in training mode where it is pooled to a single value per channel.
        """
        if self.training and x.shape[0] == 1 and self.pool.size == 1:
            raise ValueError(
                "this network pools each image to one value per channel, and batch norm cannot normalise a "
                "single value: train with at least 2 images per batch and drop a last batch of 1"
            )
        return resize(self.conv(self.pool(x)), x.shape[2:])


class Classifier(nn.Sequential):
    """Channel dropout and a 1x1 convolution to ``outputs`` logits.

    Raises:
        ValueError: dropout outside [0, 1).
    """

    def __init__(self, in_channels: int, outputs: int, dropout: float) -> None:
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
        conv = nn.Conv2d(in_channels, outputs, 1)
        nn.init.normal_(conv.weight, std=CLASSIFIER_STD)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        super().__init__(nn.Dropout2d(dropout), conv)


class AuxiliaryHead(nn.Sequential):
    """3x3 ``ConvModule`` to a quarter of the channels and a classifier, for an inner level of the encoder."""

    def __init__(self, in_channels: int, outputs: int, dropout: float, dilation: int = 1) -> None:
        width = in_channels // 4
        super().__init__(ConvModule(in_channels, width, 3, dilation), Classifier(width, outputs, dropout))


def at_least_float32(x: Tensor) -> Tensor:
    """Return ``x`` as float32, or unchanged when it is as precise already."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """Context in which products of float32 tensors on the device of ``x`` stay float32."""
    # An exported graph and shapes without values have no autocast that could be switched off.
    if torch.compiler.is_exporting() or x.is_meta:
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)
