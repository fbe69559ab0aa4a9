"""ResNet and HRNet encoders of timm, with random weights or those of a local file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

ResNetVariant = Literal["resnet18c", "resnet18d", "resnet50c", "resnet101c"]
HRNetVariant = Literal["hrnet_w18_small", "hrnet_w18", "hrnet_w32", "hrnet_w48"]
OutputStride = Literal[8, 16, 32]

_DEEP_STEM = {"stem_width": 32, "stem_type": "deep"}
_PREFIX = "body."


class Backbone(nn.Module):
    """A timm network as an encoder of four levels.

    Args:
        name: timm's name of the architecture.
        unused: first parts of the names of the classification layers that a timm file may hold besides.
        options: further arguments of ``timm.create_model``.

    Attributes:
        channels: channels C_s of the levels, finest first.
    """

    def __init__(self, name: str, unused: tuple[str, ...], **options: Any) -> None:
        # Importing timm defines hundreds of networks and takes seconds; CADNet does not need it.
        import timm

        super().__init__()
        self.unused = unused
        body: Any = timm.create_model(
            name, pretrained=False, features_only=True, out_indices=(1, 2, 3, 4), **options
        )
        self.channels: list[int] = body.feature_info.channels()
        self.body: nn.Module = body

    def forward(self, x: Tensor) -> list[Tensor]:
        """Encode (B, 3, H, W) as four maps (B, C_s, h_s, w_s), finest (H/4, W/4) first, sizes rounded up."""
        levels: list[Tensor] = self.body(x)
        return levels

    def convert_state_dict(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Translate the names of a timm file, with or without classification layers; own names are kept."""
        if any(key.startswith(_PREFIX) for key in state):
            return dict(state)
        return {_PREFIX + key: value for key, value in state.items() if key.split(".")[0] not in self.unused}


class ResNet(Backbone):
    """ResNet with a stem of three 3x3 convolutions ("c", in mmsegmentation V1c).

    Stages past ``output_stride`` are dilated instead of strided, the first block of each by half.

    timm has no "resnet18c", so that is its resnet18 with the deep stem; no weights of it in timm's naming are
    known. There are some of "resnet18d", which also averages in its shortcuts.
    """

    def __init__(self, variant: ResNetVariant, output_stride: OutputStride) -> None:
        if variant == "resnet18c":
            super().__init__("resnet18", ("fc",), output_stride=output_stride, **_DEEP_STEM)
        else:
            super().__init__(variant, ("fc",), output_stride=output_stride)


class HRNet(Backbone):
    """HRNet whose four levels are the raw branches, without the widening for classification."""

    def __init__(self, variant: HRNetVariant) -> None:
        head = ("incre_modules", "downsamp_modules", "final_layer", "classifier")
        super().__init__(variant, head, feature_location="")
