"""The convolutional baselines on a ResNet: FCN, PSPNet and DeepLabV3+.

Sources: Long et al. 2015; Zhao et al. 2017; Chen et al. 2018.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cadnet.models.backbones import OutputStride, ResNet, ResNetVariant
from cadnet.models.layers import AuxiliaryHead, Classifier, ConvModule, PooledBranch, SeparableConv, resize
from cadnet.types import Auxiliary, SegOutput

BINS = (1, 2, 3, 6)
"""Bins per side of PSPNet's pyramid levels."""

DILATIONS = (12, 24, 36)
"""Of DeepLabV3+'s separable convolutions, for an encoder of output stride 8."""

DETAIL_CHANNELS = 48


class ResNetSegmenter(nn.Module, ABC):
    """A ResNet encoder, a decoder with a classifier, and in training an auxiliary head on the third level.

    All networks have these arguments:

        num_classes: defect classes K; the network has K + 1 outputs.
        encoder: ResNet variant.
        output_stride: input pixels per position of the deepest level.
        width: channels of the decoder.
        dropout: channel dropout before the classifiers.
        auxiliary_weight: of the loss of the auxiliary head.
    """

    def __init__(self, encoder: ResNetVariant, output_stride: OutputStride, auxiliary_weight: float) -> None:
        super().__init__()
        self.auxiliary_weight = auxiliary_weight
        self.encoder = ResNet(encoder, output_stride)

    def add_classifiers(self, num_classes: int, width: int, dropout: float, dilation: int = 1) -> None:
        """Build the classifier and the auxiliary head; last, because the order decides the random weights."""
        *_, inner, _ = self.encoder.channels
        self.classifier = Classifier(width, num_classes + 1, dropout)
        self.auxiliary = AuxiliaryHead(inner, num_classes + 1, dropout, dilation)

    @abstractmethod
    def decode(self, levels: Sequence[Tensor]) -> Tensor:
        """Map the encoder's levels, finest first, to features (B, width, h, w)."""

    def forward(self, image: Tensor, reference: Tensor | None = None) -> SegOutput:  # noqa: ARG002
        """Segment (B, 3, H, W) images into logits (B, K+1, H, W); ``reference`` is ignored.

        Raises:
            ValueError: PSPNet or DeepLabV3+ with a batch of one image in training mode.
        """
        levels = self.encoder(image)
        logits = resize(self.classifier(self.decode(levels)), image.shape[2:])
        if not self.training:
            return SegOutput(logits)
        return SegOutput(logits, auxiliary=(Auxiliary(self.auxiliary(levels[2]), self.auxiliary_weight),))


class FCN(ResNetSegmenter):
    """Two convolutions of ``dilation``, as in the auxiliary head; their result is joined to the features."""

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
        super().__init__(encoder, output_stride, auxiliary_weight)
        deepest = self.encoder.channels[3]
        self.convs = nn.Sequential(
            ConvModule(deepest, width, 3, dilation), ConvModule(width, width, 3, dilation)
        )
        self.join = ConvModule(deepest + width, width, 3)
        self.add_classifiers(num_classes, width, dropout, dilation)

    def decode(self, levels: Sequence[Tensor]) -> Tensor:
        """Map the encoder's levels, finest first, to features (B, width, h, w)."""
        joined: Tensor = self.join(torch.cat([levels[3], self.convs(levels[3])], dim=1))
        return joined


class PSPNet(ResNetSegmenter):
    """Pyramid pooling; ``width`` channels per pyramid level and after joining them.

    The default is ResNet-18 with a deep stem and counts 12.787 M parameters and 54.26 G multiply-adds; the
    paper prints 12.76 and 54.27. A plain stem comes nearer in parameters (12.768 M) but is at 53.0 G.
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
        super().__init__(encoder, output_stride, auxiliary_weight)
        deepest = self.encoder.channels[3]
        self.pyramid = nn.ModuleList(PooledBranch(deepest, width, bins) for bins in BINS)
        self.join = ConvModule(deepest + len(BINS) * width, width, 3)
        self.add_classifiers(num_classes, width, dropout)

    def decode(self, levels: Sequence[Tensor]) -> Tensor:
        """Map the encoder's levels, finest first, to features (B, width, h, w)."""
        pooled = (level(levels[3]) for level in self.pyramid)
        joined: Tensor = self.join(torch.cat([levels[3], *pooled], dim=1))
        return joined


class DeepLabV3Plus(ResNetSegmenter):
    """Atrous spatial pyramid, decoder with the finest level; ``width`` channels per branch and in the
    decoder.

    The dilations are halved for each doubling of ``output_stride`` past 8, so that the pyramid sees the same
    pixels.
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
        super().__init__(encoder, output_stride, auxiliary_weight)
        finest, _, _, deepest = self.encoder.channels
        self.pyramid = nn.ModuleList(
            [
                PooledBranch(deepest, width),
                ConvModule(deepest, width),
                *(SeparableConv(deepest, width, d * 8 // output_stride) for d in DILATIONS),
            ]
        )
        self.join = ConvModule(len(self.pyramid) * width, width, 3)
        self.detail = ConvModule(finest, DETAIL_CHANNELS)
        self.decoder = nn.Sequential(
            SeparableConv(width + DETAIL_CHANNELS, width), SeparableConv(width, width)
        )
        self.add_classifiers(num_classes, width, dropout)

    def decode(self, levels: Sequence[Tensor]) -> Tensor:
        """Map the encoder's levels, finest first, to features (B, width, h, w)."""
        context = self.join(torch.cat([branch(levels[3]) for branch in self.pyramid], dim=1))
        joined = torch.cat([resize(context, levels[0].shape[2:]), self.detail(levels[0])], dim=1)
        decoded: Tensor = self.decoder(joined)
        return decoded
