"""Losses on class logits: cross-entropy (paper Eq. 15) and Dice, both blind to ignored pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cadnet.types import IGNORE_INDEX, SegOutput


def cross_entropy(logits: Tensor, mask: Tensor, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Return the mean cross-entropy over the pixels that count, float32, unweighted (Eq. 15).

    Args:
        logits: (B, K+1, H, W), any float type.
        mask: int64 (B, H, W) in {0..K, ignore_index}.
        ignore_index: mask value of pixels that do not count; when none is left the loss is 0, not NaN.
    """
    with torch.autocast(logits.device.type, enabled=False):
        total = F.cross_entropy(logits.float(), mask, ignore_index=ignore_index, reduction="sum")
        return total / (mask != ignore_index).sum().clamp(min=1)


def cross_entropy_map(logits: Tensor, mask: Tensor, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Return the cross-entropy of every pixel, float32 (B, H, W), 0 where ignored; arguments as above."""
    with torch.autocast(logits.device.type, enabled=False):
        return F.cross_entropy(logits.float(), mask, ignore_index=ignore_index, reduction="none")


def dice_loss(logits: Tensor, mask: Tensor, ignore_index: int = IGNORE_INDEX, eps: float = 1e-7) -> Tensor:
    """Return 1 - mean over labels of 2 sum(p y) / (sum(p) + sum(y) + eps), float32.

    p are softmax probabilities, the sums run over batch and pixels that count, the labels include background.
    A label that occurs neither in mask nor in prediction scores 0, so such a batch costs a constant; combine
    it with ``cross_entropy``, which punishes false alarms there.

    Args:
        logits: (B, K+1, H, W), any float type.
        mask: int64 (B, H, W) in {0..K, ignore_index}.
        ignore_index: mask value of pixels that do not count; when none is left the loss is 0.
        eps: keeps an empty label's quotient finite.
    """
    with torch.autocast(logits.device.type, enabled=False):
        valid = mask != ignore_index  # (B, H, W)
        counted = valid.unsqueeze(1)
        labels = F.one_hot(mask.where(valid, 0), logits.shape[1]).permute(0, 3, 1, 2)  # (B, K+1, H, W)
        probability = logits.float().softmax(dim=1) * counted
        target = labels.float() * counted
        overlap = (probability * target).sum(dim=(0, 2, 3))  # (K+1,)
        size = (probability + target).sum(dim=(0, 2, 3))
        return (1.0 - (2.0 * overlap / (size + eps)).mean()) * valid.any()


def overlap_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Return (CE + Dice) / 2, float32: what the compared semi-supervised methods learn labels with.

    Arguments as :func:`dice_loss`. Dice keeps rare defects from drowning in background.
    """
    return 0.5 * (cross_entropy(logits, mask) + dice_loss(logits, mask))


class OverlapLoss(nn.Module):
    """:func:`overlap_loss` of a network's output."""

    def forward(self, output: SegOutput, mask: Tensor) -> dict[str, Tensor]:
        """Return float32 scalars: "loss" to differentiate; "ce" and "dice" detached.

        Args:
            output: what the network gave.
            mask: int64 (B, H, W) in {0..K, 255}.
        """
        ce, dice = cross_entropy(output.logits, mask), dice_loss(output.logits, mask)
        return {"loss": 0.5 * (ce + dice), "ce": ce.detach(), "dice": dice.detach()}
