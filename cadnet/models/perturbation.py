"""Random changes of an encoder's maps, under which auxiliary decoders should still agree with the main one.

The three kinds are those of Ouali et al. 2020, "Semi-supervised semantic segmentation with cross-consistency
training", as UCC and UAPS use them. All functions perturb in any mode of a
network; they use torch's global generator of the maps' device, without synchronising.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

ATTENTION_RANGE = (0.7, 0.9)
"""Range of gamma, the fraction of the largest attention from which ``feature_dropout`` drops positions."""


def feature_noise(features: Sequence[Tensor], amount: float = 0.3) -> list[Tensor]:
    """Return z * (1 + n) for each map z, with n uniform in [-amount, amount) and of shape (C, H, W).

    Each map has its own n, which all samples of the batch share.

    Args:
        features: maps (B, C, H, W) of any sizes and float types, which are kept.
        amount: largest relative change.

    Raises:
        ValueError: ``amount`` outside [0, 1], beyond which a change could turn the sign.
    """
    if not 0.0 <= amount <= 1.0:
        raise ValueError(f"amount must lie in [0, 1], got {amount}")
    return [z * _uniform(z.shape[1:], 1.0 - amount, 1.0 + amount, z).to(z.dtype) for z in features]


def feature_dropout(features: Sequence[Tensor]) -> list[Tensor]:
    """Set the positions of each map to zero that are the most active ones.

    The attention of a position is the mean over its channels; dropped is where it reaches gamma times the
    largest attention of the sample. Gamma is uniform in [0.7, 0.9), sampled once per map for the whole batch.
    A
    sample whose attention is negative everywhere loses nothing: all positions are below gamma times the
    largest.

    Args:
        features: maps (B, C, H, W) of any sizes and float types, which are kept.
    """
    return [z * _inactive(z).to(z.dtype) for z in features]


def element_dropout(features: Sequence[Tensor], p: float = 0.5) -> list[Tensor]:
    """Set single elements of the maps to zero with probability ``p`` and divide the others by 1 - p.

    Args:
        features: maps (B, C, H, W) of any sizes and float types, which are kept.
        p: probability.

    Raises:
        ValueError: ``p`` outside [0, 1).
    """
    if not 0.0 <= p < 1.0:
        raise ValueError(f"p must lie in [0, 1), got {p}")
    return [F.dropout(z, p) for z in features]


def _inactive(z: Tensor) -> Tensor:
    """Mask (B, 1, H, W) of the positions of (B, C, H, W) that ``feature_dropout`` keeps."""
    # In float32, as means rounded to bfloat16 would tie with the threshold.
    attention = z.detach().mean(dim=1, keepdim=True, dtype=torch.promote_types(z.dtype, torch.float32))
    gamma = _uniform((), *ATTENTION_RANGE, z)
    return attention < gamma * attention.amax(dim=(2, 3), keepdim=True)


def _uniform(shape: Sequence[int], low: float, high: float, like: Tensor) -> Tensor:
    """Numbers uniform in [low, high) on the device of ``like``, at least float32."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    return torch.empty(shape, device=like.device, dtype=dtype).uniform_(low, high)
