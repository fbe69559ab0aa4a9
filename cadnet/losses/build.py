"""The loss that a method declares."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from cadnet.config import MethodParams
from cadnet.losses.composite import CompositeLoss
from cadnet.losses.few_label import FewLabelLoss
from cadnet.losses.segmentation import OverlapLoss


def build_loss(method: MethodParams, class_pixels: Sequence[int]) -> nn.Module:
    """Return ``loss(output, mask) -> {"loss": ..., parts}``.

    Args:
        method: what declares it.
        class_pixels: n_1..n_K of the method's training set; only "ce+bcl" uses them.
    """
    if method.loss == "ce+dice":
        return OverlapLoss()
    if method.loss == "few-label":
        return FewLabelLoss(method.contrastive_weight, method.defect_weight)
    return CompositeLoss(method.loss, method.contrastive_weight, class_pixels)
