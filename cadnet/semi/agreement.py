"""Decoders that disagree say where a pseudo-label is to be doubted."""

from __future__ import annotations

from torch import Tensor

from cadnet.config.consistency import Weighting
from cadnet.losses.segmentation import cross_entropy_map, dice_loss, overlap_loss


def divergence(target: Tensor, probability: Tensor) -> Tensor:
    """Return KL(target || probability) per pixel, (B, H, W) in nats, of two distributions (B, K+1, H, W)."""
    logarithms = target.clamp(min=1e-8).log() - probability.clamp(min=1e-8).log()
    return (target * logarithms).sum(dim=1)


def doubted_loss(logits: Tensor, labels: Tensor, doubt: Tensor, weighting: Weighting) -> Tensor:
    """Return (CE + Dice) / 2 against pseudo-labels, the less of it the more ``doubt`` there is.

    "scalar": mean(e^-V) (CE + Dice) / 2, which is what the published code computes, its CE being a mean;
    "pixel": (mean(e^-V CE) + mean(e^-V) Dice) / 2, the formula, Dice having no pixels. Gradients flow through
    V as well.

    Args:
        logits: (B, K+1, H, W).
        labels: int64 (B, H, W) in {0..K, 255}.
        doubt: V >= 0 in nats, (B, H, W).
        weighting: see above.
    """
    trust = (-doubt).exp()
    if weighting == "scalar":
        return trust.mean() * overlap_loss(logits, labels)
    pixels = trust * cross_entropy_map(logits, labels)
    return 0.5 * (pixels.mean() + trust.mean() * dice_loss(logits, labels))
