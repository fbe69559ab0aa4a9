"""SegFormer: the appearance baseline on CADNet's own encoder and head."""

from __future__ import annotations

from torch import Tensor, nn

from cadnet.models.fusion_head import FusionHead, resize
from cadnet.models.mit import MiT, MiTVariant
from cadnet.types import SegOutput


class SegFormer(nn.Module):
    """MiT encoder and all-MLP head on the inspected image alone.

    Args:
        num_classes: defect classes K; the network has K + 1 outputs.
        encoder: MiT variant.
        drop_path: stochastic depth of the encoder.
        dropout: channel dropout before the classifier.
        width: channels per level in the head.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        encoder: MiTVariant = "b0",
        drop_path: float = 0.1,
        dropout: float = 0.1,
        width: int = 256,
    ) -> None:
        super().__init__()
        self.encoder = MiT(encoder, drop_path)
        self.head = FusionHead(self.encoder.channels, num_classes + 1, None, width, dropout)

    def forward(self, image: Tensor, reference: Tensor | None = None) -> SegOutput:  # noqa: ARG002
        """Segment (B, 3, H, W) images into logits (B, K+1, H, W); ``reference`` is not looked at."""
        return SegOutput(resize(self.head(self.encoder(image)), image.shape[2:]))
