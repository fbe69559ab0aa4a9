"""Networks of segmentation_models_pytorch under names such as ``smp:UnetPlusPlus/resnet18``."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from cadnet.models.layers import crop, pad_to_multiple, resize
from cadnet.types import SegOutput

SMP_PREFIX = "smp:"

STRIDE = 32
"""Images are padded to multiples of this, the total stride of the library's encoders."""

_UNSUITABLE = ("DPT",)
"""Architectures that want one fixed size of image and a transformer of their own."""

_CLASSIFICATION = ("fc", "classifier", "head", "last_linear")
_BODY = "body."


class SmpEncoder(nn.Module):
    """An encoder of the library that can read weights with timm's or the library's names."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Sequence[Tensor]:
        """Encode (B, 3, H, W) as the maps the library's decoders take."""
        features: Sequence[Tensor] = self.body(x)
        return features

    def convert_state_dict(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Prefix names as this encoder has them and leave classification layers out; own names are kept."""
        if any(key.startswith(_BODY) for key in state):
            return dict(state)
        own = self.state_dict().keys()
        # The library keeps a timm network ("tu-...") one level deeper than its own.
        deeper = any(f"{_BODY}model.{key}" in own for key in state)
        prefix = f"{_BODY}model." if deeper else _BODY
        return {prefix + key: x for key, x in state.items() if key.split(".")[0] not in _CLASSIFICATION}


class SmpNetwork(nn.Module):
    """One architecture and encoder of segmentation_models_pytorch with the library's defaults.

    Some architectures pool each image to one value per channel, and torch then refuses a training batch of
    one image ("Expected more than 1 value per channel").

    Args:
        num_classes: defect classes K; the network has K + 1 outputs.
        architecture: class name in the library, for example "UnetPlusPlus".
        encoder: encoder name in the library, for example "resnet18", or "tu-<name>" for one of timm.

    Raises:
        ValueError: unknown architecture or encoder (the message lists near ones), or a pair that the library
            cannot join.
    """

    def __init__(self, num_classes: int, *, architecture: str, encoder: str) -> None:
        super().__init__()
        network = _create(architecture, encoder, num_classes + 1)
        self.encoder = SmpEncoder(network.get_submodule("encoder"))
        self.decoder = network.get_submodule("decoder")
        self.head = network.get_submodule("segmentation_head")

    def forward(self, image: Tensor, reference: Tensor | None = None) -> SegOutput:  # noqa: ARG002
        """Segment (B, 3, H, W) images into logits (B, K+1, H, W); ``reference`` is ignored."""
        padded = pad_to_multiple(image, STRIDE)
        logits = resize(self.head(self.decoder(self.encoder(padded))), padded.shape[2:])
        return SegOutput(crop(logits, image.shape[2:]))


def build_smp(name: str, num_classes: int) -> SmpNetwork:
    """Build the network of a name ``smp:<Architecture>/<encoder>`` with random weights.

    Raises:
        ValueError: the name is not of that form, or see ``SmpNetwork``.
    """
    architecture, slash, encoder = name.removeprefix(SMP_PREFIX).partition("/")
    if not (architecture and slash and encoder):
        raise ValueError(
            f"model {name!r} is not of the form 'smp:<Architecture>/<encoder>', for example "
            "'smp:UnetPlusPlus/resnet18'"
        )
    return SmpNetwork(num_classes, architecture=architecture, encoder=encoder)


def _create(architecture: str, encoder: str, outputs: int) -> nn.Module:
    # Importing the library takes seconds, which no other network needs to wait for.
    import segmentation_models_pytorch as smp
    import timm

    known = {cls.__name__: cls for cls in smp.MODEL_ARCHITECTURES_MAPPING.values()}
    offered = [name for name in known if name not in _UNSUITABLE]
    if architecture not in offered:
        raise ValueError(f"smp has no architecture {architecture!r}; {_near(architecture, offered)}")
    # "timm-" names are the library's deprecated ones.
    encoders = [name for name in smp.encoders.get_encoder_names() if not name.startswith("timm-")]
    if encoder.startswith("tu-"):
        encoders = [f"tu-{name}" for name in timm.list_models()]
    if encoder not in encoders:
        raise ValueError(f"smp has no encoder {encoder!r}; {_near(encoder, encoders)}")
    try:
        network: nn.Module = known[architecture](
            encoder_name=encoder, encoder_weights=None, in_channels=3, classes=outputs
        )
    except (ValueError, RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"smp cannot join {architecture} and {encoder}: {error}") from error
    return network


def _near(word: str, known: Iterable[str], count: int = 5) -> str:
    """'near ones are ...', by spelling without regard to case, or all when few or none is near."""
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, n=count, cutoff=0.5)
    if close:
        return f"near ones are {[names[name] for name in close]}"
    some = sorted(names.values())[:20]
    return f"there are {some}{' and others' if len(names) > len(some) else ''}"
