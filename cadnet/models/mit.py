"""Mix Transformer encoder (MiT-B0 to B5), the backbone of SegFormer and CADNet (paper, Eq. 4-6).

Tokens are kept as (B, H, W, C): linear layers and layer norms act on the last axis, and a convolution sees
the same memory as a channels-last (B, C, H, W) tensor, so neither needs a copy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MiTVariant = Literal["b0", "b1", "b2", "b3", "b4", "b5"]
FeaturePyramid = tuple[Tensor, Tensor, Tensor, Tensor]
"""Four maps (B, C_s, H/4, W/4) ... (B, C_s, H/32, W/32); sizes are rounded up."""

MIN_SIZE = 32
"""Smallest height or width: below it the spatial reduction of the first stage has nothing left."""

_EPS = 1e-6


class MiTSpec(NamedTuple):
    """Widths and depths of one member of the family."""

    channels: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]


MIT_SPECS: dict[str, MiTSpec] = {
    "b0": MiTSpec((32, 64, 160, 256), (2, 2, 2, 2)),
    "b1": MiTSpec((64, 128, 320, 512), (2, 2, 2, 2)),
    "b2": MiTSpec((64, 128, 320, 512), (3, 4, 6, 3)),
    "b3": MiTSpec((64, 128, 320, 512), (3, 4, 18, 3)),
    "b4": MiTSpec((64, 128, 320, 512), (3, 8, 27, 3)),
    "b5": MiTSpec((64, 128, 320, 512), (3, 6, 40, 3)),
}
HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)
EXPANSION = 4


def _convolve(conv: nn.Conv2d, tokens: Tensor) -> Tensor:
    """Apply ``conv`` to (B, H, W, C) tokens; both permutations are views."""
    out: Tensor = conv(tokens.permute(0, 3, 1, 2))  # (B, C, H, W), channels-last memory
    return out.permute(0, 2, 3, 1)  # (B, H', W', C')


class DropPath(nn.Module):
    """Stochastic depth: in training a sample's residual branch is dropped with ``rate``, else scaled up."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (B, ...) with whole samples set to zero; the identity in eval mode."""
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep).div_(keep)
        return x * mask

    def extra_repr(self) -> str:
        """Show the rate when printed."""
        return f"rate={self.rate:.3f}"


class ReducedAttention(nn.Module):
    """Self-attention whose keys and values come from a map reduced ``reduction`` times per side (Eq. 4-6)."""

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.project = nn.Linear(channels, channels)
        self.reduce: nn.Conv2d | None = None
        self.reduce_norm: nn.LayerNorm | None = None
        if reduction > 1:
            self.reduce = nn.Conv2d(channels, channels, reduction, stride=reduction)
            self.reduce_norm = nn.LayerNorm(channels, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, H, W, C) to (B, H, W, C)."""
        b, h, w, c = x.shape
        source = x
        if self.reduce is not None and self.reduce_norm is not None:
            source = self.reduce_norm(_convolve(self.reduce, x))  # (B, H/R, W/R, C)
        q = self.query(x).view(b, h * w, self.heads, -1).transpose(1, 2)  # (B, heads, HW, d)
        kv = self.key_value(source).view(b, -1, 2, self.heads, c // self.heads)  # (B, M, 2, heads, d)
        k, v = kv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, M, d)
        out = F.scaled_dot_product_attention(q, k, v)  # (B, heads, HW, d)
        projected: Tensor = self.project(out.transpose(1, 2).reshape(b, h, w, c))
        return projected


class MixFFN(nn.Module):
    """Feed-forward layer with a depthwise 3x3 convolution in place of position codes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = EXPANSION * channels
        self.expand = nn.Linear(channels, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.project = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, H, W, C) to (B, H, W, C)."""
        out: Tensor = self.project(F.gelu(_convolve(self.depthwise, self.expand(x))))
        return out


class MiTBlock(nn.Module):
    """Pre-norm transformer block: attention, then feed-forward, each on a residual branch."""

    def __init__(self, channels: int, heads: int, reduction: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=_EPS)
        self.attention = ReducedAttention(channels, heads, reduction)
        self.norm2 = nn.LayerNorm(channels, eps=_EPS)
        self.ffn = MixFFN(channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, H, W, C) to (B, H, W, C)."""
        x = x + self.drop_path(self.attention(self.norm1(x)))
        out: Tensor = x + self.drop_path(self.ffn(self.norm2(x)))
        return out


class MiTStage(nn.Module):
    """Overlapping patch embedding, a run of blocks, a final norm."""

    def __init__(self, in_channels: int, channels: int, index: int, drop_paths: list[float]) -> None:
        super().__init__()
        kernel, stride = (7, 4) if index == 0 else (3, 2)
        self.embed = nn.Conv2d(in_channels, channels, kernel, stride=stride, padding=kernel // 2)
        self.embed_norm = nn.LayerNorm(channels, eps=_EPS)
        self.blocks = nn.ModuleList(
            MiTBlock(channels, HEADS[index], REDUCTIONS[index], rate) for rate in drop_paths
        )
        self.norm = nn.LayerNorm(channels, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, H, W, C) to (B, ceil(H/s), ceil(W/s), C'), s = 4 in the first stage, else 2."""
        x = self.embed_norm(_convolve(self.embed, x))
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out


class MiT(nn.Module):
    """Mix Transformer encoder.

    Args:
        variant: "b0" (the paper's) to "b5".
        drop_path: stochastic depth of the last block; it rises linearly from 0 over the blocks.

    Raises:
        ValueError: unknown variant, or a drop path outside [0, 1).
    """

    def __init__(self, variant: MiTVariant = "b0", drop_path: float = 0.1) -> None:
        super().__init__()
        if variant not in MIT_SPECS:
            raise ValueError(f"unknown MiT variant {variant!r}; choose one of {sorted(MIT_SPECS)}")
        if not 0.0 <= drop_path < 1.0:
            raise ValueError(f"drop_path must lie in [0, 1), got {drop_path}")
        self.channels, depths = MIT_SPECS[variant]
        blocks = sum(depths)
        rates = [drop_path * i / (blocks - 1) for i in range(blocks)]
        self.stages = nn.ModuleList()
        for index, (channels, depth) in enumerate(zip(self.channels, depths, strict=True)):
            before = 3 if index == 0 else self.channels[index - 1]
            self.stages.append(MiTStage(before, channels, index, rates[:depth]))
            rates = rates[depth:]
        self.apply(_initialise)
        # The layout convolutions work in; otherwise every call would convert the kernel.
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> FeaturePyramid:
        """Encode (B, 3, H, W) images into four maps of stride 4, 8, 16, 32 (channels-last memory).

        Raises:
            ValueError: the image is smaller than ``MIN_SIZE`` on a side or has not three channels.
        """
        if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[2:]) < MIN_SIZE:
            raise ValueError(
                f"expected images (B, 3, H, W) of at least {MIN_SIZE} px per side, got {tuple(image.shape)}"
            )
        x = image.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)  # (B, H, W, 3)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x.permute(0, 3, 1, 2))  # (B, C, H/s, W/s), a view
        return maps[0], maps[1], maps[2], maps[3]

    @staticmethod
    def convert_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Bring foreign weights into this class's names; own names pass unchanged."""
        return from_smp_state_dict(state) if "patch_embed1.proj.weight" in state else dict(state)


def _initialise(module: nn.Module) -> None:
    """SegFormer's start: linear trunc-normal 0.02, convolutions normal by fan-out, biases zero."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        nn.init.zeros_(module.bias)


_SMP_BLOCK_NAMES = {
    "attn.q": "attention.query",
    "attn.kv": "attention.key_value",
    "attn.proj": "attention.project",
    "attn.sr": "attention.reduce",
    "attn.norm": "attention.reduce_norm",
    "mlp.fc1": "ffn.expand",
    "mlp.dwconv.dwconv": "ffn.depthwise",
    "mlp.fc2": "ffn.project",
    "norm1": "norm1",
    "norm2": "norm2",
}


def from_smp_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the state dict of segmentation-models-pytorch's ``mit_b*`` encoder to ``MiT``'s names.

    With s = 1..4: ``patch_embed{s}.proj`` is ``stages.{s-1}.embed``, ``patch_embed{s}.norm`` its
    ``embed_norm``, ``norm{s}`` its ``norm``, and in ``block{s}.{i}`` (our ``stages.{s-1}.blocks.{i}``) q, kv,
    proj, sr, norm of ``attn`` and fc1, dwconv, fc2 of ``mlp`` get spelled-out names. The classifier
    ``head.*`` is left out. That library's norms after embedding and reduction use eps 1e-5 where the paper's
    code has 1e-6 everywhere.

    Raises:
        KeyError: a name that is none of these.
    """
    return {_from_smp_name(name): value for name, value in state.items() if not name.startswith("head.")}


def _from_smp_name(name: str) -> str:
    """Translate one name; see ``from_smp_state_dict``."""
    path, _, leaf = name.rpartition(".")
    first, _, rest = path.partition(".")
    kind, digit = first[:-1], first[-1:]
    stage = f"stages.{int(digit) - 1}" if digit.isdigit() else ""
    if stage and kind == "patch_embed" and rest in ("proj", "norm"):
        return f"{stage}.{'embed' if rest == 'proj' else 'embed_norm'}.{leaf}"
    if stage and kind == "norm" and not rest:
        return f"{stage}.norm.{leaf}"
    if stage and kind == "block":
        index, _, part = rest.partition(".")
        if part in _SMP_BLOCK_NAMES:
            return f"{stage}.blocks.{index}.{_SMP_BLOCK_NAMES[part]}.{leaf}"
    raise KeyError(f"{name!r} is not a parameter of a segmentation-models-pytorch MiT encoder")
