"""The convolutional baselines on a ResNet: FCN, PSPNet and DeepLabV3+.

Sources: Long et al. 2015; Zhao et al. 2017; Chen et al. 2018."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cadnet.models.backbones import OutputStride, ResNet, ResNetVariant
from cadnet.models.layers import AuxiliaryHead, Classifier, ConvModule, PooledBranch, SeparableConv, resize
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


BINS = (1, 2, 3, 6)
"""Bins per side of the pyramid's levels."""


class PSPNet(nn.Module):
    """ResNet encoder and pyramid pooling.

    The default is ResNet-18 with a deep stem and counts 12.787 M parameters and 54.26 G multiply-adds; the
    paper prints 12.76 and 54.27. A plain stem comes nearer in parameters (12.768 M) but is at 53.0 G.

    Args:
        num_classes: defect classes K; the network has K + 1 outputs.
        encoder: ResNet variant.
        output_stride: input pixels per position of the deepest level.
        width: channels per pyramid level and after joining them.
        dropout: channel dropout before the classifiers.
        auxiliary_weight: of the loss on the third level, in training.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        encoder: ResNetVariant = "resnet18c",
        output_stride: OutputStride = 8,
        width: int = 128,
        dropout: float = 0.1,
        auxiliary_weight: float = 0.4,
    ) -> None:
        super().__init__()
        outputs = num_classes + 1
        self.auxiliary_weight = auxiliary_weight
        self.encoder = ResNet(encoder, output_stride)
        *_, inner, deepest = self.encoder.channels
        self.pyramid = nn.ModuleList(PooledBranch(deepest, width, bins) for bins in BINS)
        self.join = ConvModule(deepest + len(BINS) * width, width, 3)
        self.classifier = Classifier(width, outputs, dropout)
        self.auxiliary = AuxiliaryHead(inner, outputs, dropout)

    def forward(self, image: Tensor, reference: Tensor | None = None) -> SegOutput:  # noqa: ARG002
        """Segment (B, 3, H, W) images into logits (B, K+1, H, W); ``reference`` is not looked at.

        Raises:
            ValueError: a batch of one image in training mode.
        """
        *_, inner, deepest = self.encoder(image)
        joined = self.join(torch.cat([deepest, *(level(deepest) for level in self.pyramid)], dim=1))
        logits = resize(self.classifier(joined), image.shape[2:])
        if not self.training:
            return SegOutput(logits)
        return SegOutput(logits, auxiliary=(Auxiliary(self.auxiliary(inner), self.auxiliary_weight),))


DILATIONS = (12, 24, 36)
"""Of the pyramid's separable convolutions, for an encoder of output stride 8."""

DETAIL_CHANNELS = 48


class DeepLabV3Plus(nn.Module):
    """ResNet encoder, atrous spatial pyramid, decoder with the finest level.

    Args:
        num_classes: defect classes K; the network has K + 1 outputs.
        encoder: ResNet variant.
        output_stride: input pixels per position of the deepest level; the dilations are halved for each
            doubling past 8, so that the pyramid sees the same pixels.
        width: channels per pyramid branch and in the decoder.
        dropout: channel dropout before the classifiers.
        auxiliary_weight: of the loss on the third level, in training.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        encoder: ResNetVariant = "resnet50c",
        output_stride: OutputStride = 8,
        width: int = 512,
        dropout: float = 0.1,
        auxiliary_weight: float = 0.4,
    ) -> None:
        super().__init__()
        outputs = num_classes + 1
        self.auxiliary_weight = auxiliary_weight
        self.encoder = ResNet(encoder, output_stride)
        finest, _, inner, deepest = self.encoder.channels
        dilations = [d * 8 // output_stride for d in DILATIONS]
        self.pyramid = nn.ModuleList(
            [
                PooledBranch(deepest, width),
                ConvModule(deepest, width),
                *(SeparableConv(deepest, width, dilation) for dilation in dilations),
            ]
        )
        self.join = ConvModule(len(self.pyramid) * width, width, 3)
        self.detail = ConvModule(finest, DETAIL_CHANNELS)
        self.decoder = nn.Sequential(
            SeparableConv(width + DETAIL_CHANNELS, width), SeparableConv(width, width)
        )
        self.classifier = Classifier(width, outputs, dropout)
        self.auxiliary = AuxiliaryHead(inner, outputs, dropout)

    def forward(self, image: Tensor, reference: Tensor | None = None) -> SegOutput:  # noqa: ARG002
        """Segment (B, 3, H, W) images into logits (B, K+1, H, W); ``reference`` is not looked at.

        Raises:
            ValueError: a batch of one image in training mode.
        """
        finest, _, inner, deepest = self.encoder(image)
        context = self.join(torch.cat([branch(deepest) for branch in self.pyramid], dim=1))
        joined = torch.cat([resize(context, finest.shape[2:]), self.detail(finest)], dim=1)
        logits = resize(self.classifier(self.decoder(joined)), image.shape[2:])
        if not self.training:
            return SegOutput(logits)
        return SegOutput(logits, auxiliary=(Auxiliary(self.auxiliary(inner), self.auxiliary_weight),))
