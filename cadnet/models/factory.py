"""Networks by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from torch import nn

from cadnet.models.cadnet import CADNet
from cadnet.models.convnets import FCN, DeepLabV3Plus, PSPNet
from cadnet.models.danet import DANet
from cadnet.models.ocrnet import OCRNet
from cadnet.models.segformer import SegFormer
from cadnet.models.smp import SMP_PREFIX, build_smp
from cadnet.models.tensors import load_encoder_weights
from cadnet.models.unet import UNet

MAX_OPTION = 4096
"""Widths and counts above that are mistakes, with which building alone takes hours."""

Constructor = Callable[..., nn.Module]

MODELS: dict[str, Constructor] = {
    "cadnet": CADNet,
    "danet": DANet,
    "deeplabv3plus": DeepLabV3Plus,
    "fcn": FCN,
    "ocrnet": OCRNet,
    "pspnet": PSPNet,
    "segformer": SegFormer,
    "unet": UNet,
}
"""Every constructor takes ``num_classes`` and keyword-only options with defaults."""


def build_model(
    name: str,
    num_classes: int,
    encoder_weights: Path | str | None = None,
    **options: str | int | float | bool,
) -> nn.Module:
    """Build a network with random or given encoder weights.

    Args:
        name: a key of ``MODELS``, or ``smp:<Architecture>/<encoder>``, for example
            ``smp:UnetPlusPlus/resnet18``, for a network of segmentation_models_pytorch with its defaults.
        num_classes: defect classes K; the network has K + 1 outputs.
        encoder_weights: a safetensors file for the network's encoder, or None for a random start. Nothing is
            downloaded.
        options: keyword options of the constructor, for example ``decoder="multiply"`` of cadnet.

    Returns:
        A module ``forward(image, reference) -> SegOutput``.

    Raises:
        ValueError: unknown name or option, an option of the wrong type or value, fewer than one class; the
            message lists what is allowed.
        FileNotFoundError: ``encoder_weights`` does not exist.
        cadnet.models.tensors.WeightsError: ``encoder_weights`` do not fit.
    """
    foreign = name.startswith(SMP_PREFIX)
    if name not in MODELS and not foreign:
        raise ValueError(
            f"unknown model {name!r}{_suggest(name, MODELS)}; choose one of {sorted(MODELS)} or "
            "'smp:<Architecture>/<encoder>'"
        )
    if isinstance(num_classes, bool) or num_classes < 1:
        raise ValueError(
            f"num_classes counts defect classes without background and must be >= 1, got {num_classes}"
        )
    _check_options(name, model_options(name), options)
    model = build_smp(name, num_classes) if foreign else MODELS[name](num_classes, **options)
    if encoder_weights is not None:
        load_encoder_weights(model, encoder_weights)
    return model


def model_options(name: str) -> dict[str, Any]:
    """Return the option names of a model with their type hints; an ``smp:`` model has none."""
    if name.startswith(SMP_PREFIX):
        return {}
    constructor = MODELS[name]
    init = constructor.__init__ if inspect.isclass(constructor) else constructor
    hints = get_type_hints(init)
    parameters = inspect.signature(constructor).parameters.values()
    return {p.name: hints[p.name] for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _check_options(name: str, allowed: Mapping[str, Any], options: Mapping[str, object]) -> None:
    """Refuse options the constructor does not know or whose value is not of the declared type."""
    for key, value in options.items():
        if key not in allowed:
            raise ValueError(
                f"model {name!r} has no option {key!r}{_suggest(key, allowed)}; it has {sorted(allowed)}"
            )
        hint = allowed[key]
        if get_origin(hint) is Literal:
            if value not in get_args(hint):
                raise ValueError(
                    f"option {key!r} of model {name!r} must be one of {list(get_args(hint))}, got {value!r}"
                )
            continue
        wanted = (int, float) if hint is float else (hint,)
        if not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
            raise ValueError(f"option {key!r} of model {name!r} must be {hint.__name__}, got {value!r}")
        if isinstance(value, int | float) and not 0 <= value <= MAX_OPTION:
            raise ValueError(f"option {key!r} of model {name!r} must be 0 to {MAX_OPTION}, got {value!r}")


def _suggest(word: str, known: Iterable[str]) -> str:
    """' (did you mean ...?)' when a known word is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
