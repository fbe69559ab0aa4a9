"""FCN baseline (Long et al. 2015, "Fully convolutional networks for semantic segmentation")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cadnet.models.backbones import OutputStride, ResNet, ResNetVariant
from cadnet.models.convolution import AuxiliaryHead, Classifier, ConvModule
from cadnet.models.fusion_head import resize
from cadnet.types import Auxiliary, SegOutput


class FCN(nn.Module):
    """ResNet encoder, two dilated convolutions, their result joined to the features and classified.

    Args:
        num_classes: defect classes K; the network has K + 1 outputs.
        encoder: ResNet variant.
        output_stride: input pixels per position of the deepest level.
        dilation: of the head's convolutions and of the auxiliary head's.
        width: channels of the head.
        dropout: channel dropout before the classifiers.
        auxiliary_weight: of the loss on the third level, in training.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        encoder: ResNetVariant = "resnet50c",
        output_stride: OutputStride = 16,
        dilation: int = 6,
        width: int = 512,
        dropout: float = 0.1,
        auxiliary_weight: float = 0.4,
    ) -> None:
        super().__init__()
        outputs = num_classes + 1
        self.auxiliary_weight = auxiliary_weight
        self.encoder = ResNet(encoder, output_stride)
        *_, inner, deepest = self.encoder.channels
        self.convs = nn.Sequential(
            ConvModule(deepest, width, 3, dilation), ConvModule(width, width, 3, dilation)
        )
        self.join = ConvModule(deepest + width, width, 3)
        self.classifier = Classifier(width, outputs, dropout)
        self.auxiliary = AuxiliaryHead(inner, outputs, dropout, dilation)

    def forward(self, image: Tensor, reference: Tensor | None = None) -> SegOutput:  # noqa: ARG002
        """Segment (B, 3, H, W) images into logits (B, K+1, H, W); ``reference`` is not looked at."""
        *_, inner, deepest = self.encoder(image)
        joined = self.join(torch.cat([deepest, self.convs(deepest)], dim=1))
        logits = resize(self.classifier(joined), image.shape[2:])
        if not self.training:
            return SegOutput(logits)
        return SegOutput(logits, auxiliary=(Auxiliary(self.auxiliary(inner), self.auxiliary_weight),))
