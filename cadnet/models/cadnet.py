"""CADNet: the change-aware Siamese network (paper, "Change-aware Siamese network")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from cadnet.models.change_attention import AddAttention, MultiplyAttention
from cadnet.models.layers import resize
from cadnet.models.mit import FeaturePyramid, MiT, MiTVariant
from cadnet.models.segformer import FusionHead
from cadnet.types import SegOutput

Decoder = Literal["add", "multiply", "none"]
Head = Literal["softmax", "contrastive"]

DISTANCE_EPS = 1e-6
"""Added to every difference, as in ``F.pairwise_distance``: keeps the gradient finite at equal features."""

THRESHOLD = (0.3 + 2.2) / 2
"""Scores above this are defects for the contrastive head. As in the authors' code it is midway between the
margins of the contrastive loss (paper Eq. 8): tau_ok = 0.3, below which unchanged pixels cost nothing, and
tau_ng = 2.2, above which changed ones cost nothing."""


def distance_map(differences: Sequence[Tensor]) -> Tensor:
    """Return the DistMap (paper Eq. 7) as float32 (B, 1, h, w) from the per-level feature differences.

    Defined as ``pairwise_distance(concat(up(f_ng)), concat(up(f_ok)))`` over the channels. Resizing is linear
    and keeps constants, so the difference plus eps is resized instead of both maps, and the norm of a
    concatenation is the norm of its parts' norms, so it is not built. Computed in float32 whatever the
    autocast: squares of a few hundred bfloat16 numbers lose the small distances the lower margin is about.

    Args:
        differences: level maps (B, C_s, h/2^s, w/2^s), finest first.
    """
    size = differences[0].shape[2:]
    levels = [resize(d.float() + DISTANCE_EPS, size) for d in differences]
    norms = torch.cat([torch.linalg.vector_norm(level, dim=1, keepdim=True) for level in levels], dim=1)
    return torch.linalg.vector_norm(norms, dim=1, keepdim=True)  # (B, 1, h, w)


class CADNet(nn.Module):
    """Siamese MiT encoder, multi-stage subtraction, change-aware decoder.

    Args:
        num_classes: defect classes K; the network has K + 1 outputs.
        decoder: "add" (Eq. 11-12), "multiply" (Eq. 13-14) or "none" (the ablation without change attention).
        encoder: MiT variant.
        drop_path: stochastic depth of the encoder.
        dropout: channel dropout before the classifier.
        width: channels per level in the head.
        head: "softmax" (K + 1 free logits) or "contrastive" (the few-label mode, for K = 1): one free channel
            z, which the contrastive loss can train as it trains the distance. The logits are then THRESHOLD
            and z, so that the largest says "defect where z > THRESHOLD" and the softmax gives
            sigmoid(z - THRESHOLD).

    Raises:
        ValueError: an option outside its range, or the contrastive head with more than one class.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        decoder: Decoder = "add",
        encoder: MiTVariant = "b0",
        drop_path: float = 0.1,
        dropout: float = 0.1,
        width: int = 256,
        head: Head = "softmax",
    ) -> None:
        super().__init__()
        _check_head(head, num_classes)
        attention: nn.Module | None
        if decoder == "add":
            attention = AddAttention(width)
        elif decoder == "multiply":
            attention = MultiplyAttention(width)
        elif decoder == "none":
            attention = None
        else:
            raise ValueError(f"unknown decoder {decoder!r}; choose 'add', 'multiply' or 'none'")
        self.contrastive = head == "contrastive"
        outputs = 1 if self.contrastive else num_classes + 1
        self.encoder = MiT(encoder, drop_path)
        self.head = FusionHead(self.encoder.channels, outputs, attention, width, dropout)

    def encode(self, reference: Tensor) -> FeaturePyramid:
        """Encode references (B, 3, H, W) once, for ``forward(image, reference_features=...)``."""
        features: FeaturePyramid = self.encoder(reference)
        return features

    def forward(
        self,
        image: Tensor,
        reference: Tensor | None = None,
        *,
        reference_features: Sequence[Tensor] | None = None,
    ) -> SegOutput:
        """Segment what differs between image and reference.

        Args:
            image: (B, 3, H, W), ImageNet-normalised.
            reference: (B, 3, H, W) of the same size; encoded together with the image.
            reference_features: what ``encode`` gave, instead of ``reference``; batch size B, or 1 for all
                images.

        Returns:
            logits (B, K+1, H, W) and float32 distance (B, 1, ceil(H/4), ceil(W/4)), non-negative.

        Raises:
            ValueError: neither or both references are given, or their shapes do not fit.
        """
        if (reference is None) == (reference_features is None):
            raise ValueError("give either reference or reference_features, not both and not neither")
        if reference is not None:
            if reference.shape != image.shape:
                raise ValueError(
                    f"image {tuple(image.shape)} and reference {tuple(reference.shape)} differ in shape"
                )
            pair = self.encoder(torch.cat((image, reference)))
            differences = [ng - ok for ng, ok in (f.chunk(2) for f in pair)]
        else:
            assert reference_features is not None
            differences = _subtract(self.encoder(image), reference_features)
        distance = distance_map(differences)
        logits = resize(self.head(differences, distance), image.shape[2:])
        if self.contrastive:
            logits = torch.cat((torch.full_like(logits, THRESHOLD), logits), dim=1)
        return SegOutput(logits, distance)


def _check_head(head: str, num_classes: int) -> None:
    """Refuse an unknown head, and the contrastive one where it cannot tell the classes apart."""
    if head not in ("softmax", "contrastive"):
        raise ValueError(f"unknown head {head!r}; choose 'softmax' or 'contrastive'")
    if head == "contrastive" and num_classes != 1:
        raise ValueError(
            "head 'contrastive' only tells changed from unchanged and needs a dataset of one defect class, "
            f"got num_classes {num_classes}; merge the classes into one, or choose head 'softmax'"
        )


def _subtract(features: Sequence[Tensor], reference: Sequence[Tensor]) -> list[Tensor]:
    """Level-wise f_ng - f_ok; a reference of batch 1 serves all images."""
    for ng, ok in zip(features, reference, strict=True):
        if ng.shape[1:] != ok.shape[1:] or ok.shape[0] not in (1, ng.shape[0]):
            raise ValueError(
                f"reference features {tuple(ok.shape)} do not fit image features {tuple(ng.shape)}; "
                "encode a reference of the image's size, one or one per image"
            )
    return [ng - ok for ng, ok in zip(features, reference, strict=True)]
