"""Contrastive loss on the feature distance, plain (CL, Eq. 8) and class-balanced (BCL, Eq. 9-10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cadnet.types import BACKGROUND, IGNORE_INDEX

MARGIN_OK = 0.3
"""tau_ok: unchanged pixels cost nothing below this distance."""
MARGIN_NG = 2.2
"""tau_ng: changed pixels cost nothing above this distance."""

Normalisation = Literal["pixel", "class"]


def balance_factors(class_pixels: Sequence[int]) -> tuple[float, ...]:
    """Return B_1..B_K = (sum_q n_q) / n_p (Eq. 9).

    Args:
        class_pixels: n_1..n_K, pixels of each defect class in the whole training set (not in a batch).

    Returns:
        One factor >= 1 per class. A class without a pixel has no defined frequency; it gets 1, its weight in
        the plain loss, so that it neither dominates nor vanishes should it appear after all.

    Raises:
        ValueError: no class, or a negative count.
    """
    if not class_pixels:
        raise ValueError("class_pixels is empty; give the pixel count of every defect class 1..K")
    if min(class_pixels) < 0:
        raise ValueError(f"class_pixels must not be negative, got {list(class_pixels)}")
    total = sum(class_pixels)
    return tuple(total / count if count else 1.0 for count in class_pixels)


def contrastive_loss(
    distance: Tensor,
    mask: Tensor,
    factors: Tensor | None = None,
    *,
    margin_ok: float = MARGIN_OK,
    margin_ng: float = MARGIN_NG,
    normalisation: Normalisation = "pixel",
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Return CL (``factors`` None) or BCL as a float32 scalar.

    A background pixel costs max(0, D - margin_ok), a pixel of class p costs B_p max(0, margin_ng - D). The
    paper prints no clamp in the first; without one the loss has no lower bound. D is bilinearly resized to
    the label's size first.

    Args:
        distance: (B, 1, h, w), non-negative, any float type.
        mask: int64 (B, H, W) in {0..K, ignore_index}.
        factors: (K,) B_1..B_K of ``balance_factors``.
        margin_ok: tau_ok.
        margin_ng: tau_ng.
        normalisation: "pixel" is the mean over all pixels that count. "class" takes the mean within each
            label that occurs and averages those, unchanged pixels being one label and changed pixels one (CL)
            or K (BCL); it is balanced per batch, so the values of ``factors`` are not used.
        ignore_index: mask value of pixels that do not count; when none is left the loss is 0.
    """
    with torch.autocast(distance.device.type, enabled=False):
        d = distance.float()
        if d.shape[2:] != mask.shape[1:]:
            d = F.interpolate(d, size=mask.shape[1:], mode="bilinear", align_corners=False)
        d = d.squeeze(1)  # (B, H, W)
        valid = mask != ignore_index
        changed = mask != BACKGROUND
        hinge = torch.where(changed, margin_ng - d, d - margin_ok).clamp(min=0)
        label = mask.where(valid, BACKGROUND)
        if normalisation == "class":
            classes = 1 if factors is None else len(factors)
            return _class_mean(hinge, label.clamp(max=1) if factors is None else label, valid, classes + 1)
        weight = valid.to(hinge.dtype)
        if factors is not None:
            weight = weight * F.pad(factors.to(hinge), (1, 0), value=1.0)[label]
        return (hinge * weight).sum() / valid.sum().clamp(min=1)


def _class_mean(hinge: Tensor, label: Tensor, valid: Tensor, labels: int) -> Tensor:
    """Mean over the labels that occur of the mean hinge of their pixels; 0 when none occurs."""
    index, weight = label.flatten(), valid.flatten().to(hinge.dtype)
    sums = hinge.new_zeros(labels).index_add(0, index, hinge.flatten() * weight)
    counts = hinge.new_zeros(labels).index_add(0, index, weight)
    return (sums / counts.clamp(min=1)).sum() / (counts > 0).sum().clamp(min=1)
