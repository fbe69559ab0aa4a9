"""The training loss: cross-entropy plus lambda_2 times a contrastive loss (paper Eq. 16); losses by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cadnet.config import MethodParams
from cadnet.losses.contrastive import (
    MARGIN_NG,
    MARGIN_OK,
    Normalisation,
    ScoreDistanceLoss,
    balance_factors,
    contrastive_loss,
)
from cadnet.losses.segmentation import OverlapLoss, cross_entropy
from cadnet.types import Auxiliary, SegOutput

LossKind = Literal["ce", "ce+cl", "ce+bcl"]


class CompositeLoss(nn.Module):
    """loss = CE + contrastive_weight * (CL or BCL) + weighted CE of auxiliary logits.

    Args:
        kind: which parts.
        contrastive_weight: lambda_2.
        class_pixels: n_1..n_K of the training set; only "ce+bcl" needs them.
        margin_ok: tau_ok of Eq. 8.
        margin_ng: tau_ng of Eq. 8.
        normalisation: see ``contrastive_loss``.

    Raises:
        ValueError: unknown kind or normalisation, a negative weight, margins not in order, or no usable
            class_pixels for "ce+bcl".
    """

    factors: Tensor | None

    def __init__(
        self,
        kind: LossKind,
        contrastive_weight: float = 0.0,
        class_pixels: Sequence[int] = (),
        *,
        margin_ok: float = MARGIN_OK,
        margin_ng: float = MARGIN_NG,
        normalisation: Normalisation = "pixel",
    ) -> None:
        super().__init__()
        if kind not in ("ce", "ce+cl", "ce+bcl"):
            raise ValueError(f"unknown loss {kind!r}; choose 'ce', 'ce+cl' or 'ce+bcl'")
        if normalisation not in ("pixel", "class"):
            raise ValueError(f"unknown normalisation {normalisation!r}; choose 'pixel' or 'class'")
        if contrastive_weight < 0:
            raise ValueError(f"contrastive_weight must not be negative, got {contrastive_weight}")
        if not 0 <= margin_ok < margin_ng:
            raise ValueError(f"margins must satisfy 0 <= ok < ng, got ok {margin_ok} and ng {margin_ng}")
        self.kind: LossKind = kind
        self.contrastive_weight = contrastive_weight
        self.margin_ok, self.margin_ng = margin_ok, margin_ng
        self.normalisation: Normalisation = normalisation
        factors = torch.tensor(balance_factors(class_pixels)) if kind == "ce+bcl" else None
        # Derived from the data, not learnt: it moves with the module but is not part of its weights.
        self.register_buffer("factors", factors, persistent=False)

    def forward(self, output: SegOutput, mask: Tensor) -> dict[str, Tensor]:
        """Return float32 scalars: "loss" to differentiate, and its unweighted parts detached.

        The parts are "ce"; unless the kind is "ce", "contrastive"; for a network with auxiliary logits their
        weighted sum "auxiliary", each resized to the mask first.

        Args:
            output: of the network.
            mask: int64 (B, H, W) in {0..K, 255}.

        Raises:
            ValueError: a contrastive loss on a network that gives no distance.
        """
        ce = cross_entropy(output.logits, mask)
        loss, parts = ce, {"ce": ce.detach()}
        if output.auxiliary:
            auxiliary = auxiliary_loss(output.auxiliary, mask)
            loss, parts["auxiliary"] = loss + auxiliary, auxiliary.detach()
        if self.kind == "ce":
            return {"loss": loss, **parts}
        if output.distance is None:
            raise ValueError(
                f"loss {self.kind!r} needs a feature distance, which only Siamese networks give; "
                "use loss: ce or model: cadnet"
            )
        contrastive = contrastive_loss(
            output.distance,
            mask,
            self.factors,
            margin_ok=self.margin_ok,
            margin_ng=self.margin_ng,
            normalisation=self.normalisation,
        )
        loss = loss + self.contrastive_weight * contrastive
        return {"loss": loss, **parts, "contrastive": contrastive.detach()}


def auxiliary_loss(auxiliary: Sequence[Auxiliary], mask: Tensor) -> Tensor:
    """Return the weighted sum of the cross-entropies of ``auxiliary`` logits, float32.

    Each is resized bilinearly to the size of ``mask``, int64 (B, H, W) in {0..K, 255}.
    """
    losses = [
        weight * cross_entropy(F.interpolate(logits, mask.shape[1:], mode="bilinear"), mask)
        for logits, weight in auxiliary
    ]
    return torch.stack(losses).sum()


def build_loss(method: MethodParams, class_pixels: Sequence[int]) -> nn.Module:
    """Return ``loss(output, mask) -> {"loss": ..., parts}``.

    Args:
        method: what declares it.
        class_pixels: n_1..n_K of the method's training set; only "ce+bcl" uses them.
    """
    if method.loss == "ce+dice":
        return OverlapLoss()
    if method.loss == "cl+cl":
        return ScoreDistanceLoss(method.contrastive_weight, method.defect_weight)
    return CompositeLoss(method.loss, method.contrastive_weight, class_pixels)
