"""Contrastive losses: plain (CL, Eq. 8), class-balanced (BCL, Eq. 9-10), and on scores and distances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cadnet.types import BACKGROUND, IGNORE_INDEX, SegOutput

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


class ScoreDistanceLoss(nn.Module):
    """loss = hinge(z) + distance_weight * hinge(D): scores and distances, both against the same margins.

    The paper's loss for few labels, without cross-entropy ("Few-label learning"). z is the one score per
    pixel that CADNet gives with ``head: contrastive``; like the distance D it is pulled below 0.3 on
    background and pushed above 2.2 on defects. Both are means over the pixels that count, those of defects
    weighted by ``defect_weight``: plain hinges put the decision at a probability of one half, which is above
    the threshold of the best IoU.

    Args:
        distance_weight: of the distance's term. The authors' code sums both terms with different divisors,
            which makes it 1/512 of the score's at 512 px; the paper says nothing.
        defect_weight: 1 is the paper's (its factor B of one class).

    Raises:
        ValueError: a negative weight, or none for defects.
    """

    factors: Tensor

    def __init__(self, distance_weight: float, defect_weight: float = 1.0) -> None:
        super().__init__()
        if distance_weight < 0 or defect_weight <= 0:
            raise ValueError(
                f"the weight of the distance must not be negative, got {distance_weight}, and that of "
                f"defects must be positive, got {defect_weight}"
            )
        self.distance_weight = distance_weight
        self.register_buffer("factors", torch.tensor([defect_weight]), persistent=False)

    def forward(self, output: SegOutput, mask: Tensor) -> dict[str, Tensor]:
        """Return float32 scalars: "loss" to differentiate; "score" and "contrastive" detached.

        Args:
            output: logits (B, 2, H, W), whose second channel is z, and a distance.
            mask: int64 (B, H, W) in {0, 1, 255}.

        Raises:
            ValueError: the network has more than one class or gives no distance.
        """
        if output.distance is None or output.logits.shape[1] != 2:
            raise ValueError(
                "loss cl+cl needs a distance and one score per pixel; use model: cadnet with "
                "options {decoder: multiply, head: contrastive}"
            )
        score = contrastive_loss(output.logits[:, 1:], mask, self.factors)
        distance = contrastive_loss(output.distance, mask, self.factors)
        loss = score + self.distance_weight * distance
        return {"loss": loss, "score": score.detach(), "contrastive": distance.detach()}
