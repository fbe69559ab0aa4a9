"""Trained networks on disk: one ``weights.safetensors`` that describes itself, no pickle.

The description (model name, options, classes, ...) is in the header of the weights file, so that both are one
atomic write; ``model.json`` beside it is a copy for people and other tools and is never
read back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Self

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from safetensors.torch import save
from torch import Tensor, nn

from cadnet.files import parse_json, write_bytes, write_json
from cadnet.models.factory import build_model
from cadnet.models.smp import SMP_PREFIX
from cadnet.models.tensors import WeightsError, load_strictly, read_header, read_tensors, require_fit
from cadnet.types import IGNORE_INDEX

WEIGHTS_NAME = "weights.safetensors"
DESCRIPTION_NAME = "model.json"

_HEADER_KEY = "cadnet"


@dataclass(frozen=True)
class ModelDescription:
    """Everything needed to build the network of some weights, and their origin.

    ``options`` are keyword options of ``build_model``; ``class_names`` name the defect classes 1..K;
    ``metadata`` is free (JSON values).
    """

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    name: str
    num_classes: Annotated[int, Field(ge=1, lt=IGNORE_INDEX)]
    options: dict[str, str | int | float | bool]
    class_names: list[str]
    metadata: dict[str, Any]
    project_version: str

    def __post_init__(self) -> None:
        if self.class_names and len(self.class_names) != self.num_classes:
            raise ValueError(
                f"class_names {list(self.class_names)} must name the {self.num_classes} defect classes"
            )

    @classmethod
    def read(cls, folder: Path | str) -> Self:
        """Read the description in the header of a folder's weights file.

        Raises:
            FileNotFoundError: no weights file.
            WeightsError: the file is damaged, or was not written by ``save_weights``.
        """
        path = Path(folder) / WEIGHTS_NAME
        text = read_header(path).get(_HEADER_KEY)
        if text is None:
            raise WeightsError(
                f"{path} does not say which model it is of; give weights that this project saved, or use "
                "encoder_weights for those of an encoder alone"
            )
        try:
            parse_json(text)
            return TypeAdapter(cls).validate_json(text)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
            raise WeightsError(f"{path} describes no model of this version: {wrong}; train again") from error
        except ValueError as error:
            raise WeightsError(f"{path} describes no model of this version: {error}; train again") from error


def save_weights(
    folder: Path | str,
    model: nn.Module,
    *,
    name: str,
    num_classes: int,
    options: Mapping[str, str | int | float | bool] | None = None,
    class_names: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
) -> ModelDescription:
    """Write weights and description as one atomic file, then the readable copy of the description.

    Equal weights and arguments give equal bytes.

    Args:
        folder: created when missing; existing files are replaced.
        model: what ``build_model(name, num_classes, **options)`` gave.
        name: model name of the factory.
        num_classes: defect classes K.
        options: options of the factory.
        class_names: names of the classes 1..K, or none.
        metadata: JSON values to keep with the weights.

    Raises:
        OSError: the disk is full or the folder cannot be written.
        ValueError: class names do not match their number, or metadata is not JSON (NaN, for example).
    """
    folder = Path(folder)
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    description = ModelDescription(
        name=name,
        num_classes=num_classes,
        options=dict(options or {}),
        class_names=list(class_names),
        metadata=dict(metadata or {}),
        project_version=version("cadnet"),
    )
    header = json.dumps(asdict(description), allow_nan=False, sort_keys=True)
    write_bytes(folder / WEIGHTS_NAME, save(state, metadata={_HEADER_KEY: header}))
    write_json(folder / DESCRIPTION_NAME, asdict(description))
    return description


def load_weights(folder: Path | str, model: nn.Module) -> ModelDescription:
    """Load a folder written by ``save_weights`` into ``model``; nothing changes on error.

    Raises:
        FileNotFoundError: no weights file.
        WeightsError: the file is damaged, or the weights are of another network, number of classes or
            number format.
    """
    description = ModelDescription.read(folder)
    path = Path(folder) / WEIGHTS_NAME
    _load(model, read_tensors(path), path, description)
    return description


def load_model(folder: Path | str) -> tuple[nn.Module, ModelDescription]:
    """Build the network a folder describes, load its weights and put it in eval mode.

    Raises:
        FileNotFoundError: no weights file.
        WeightsError: the file is damaged, does not fit, or names a model or option that does not exist here.
    """
    description = ModelDescription.read(folder)
    path = Path(folder) / WEIGHTS_NAME
    state = read_tensors(path)
    # First without memory: options may ask for more than there is. Foreign networks have none, and some
    # cannot be built so.
    if not description.name.startswith(SMP_PREFIX):
        with torch.device("meta"):
            outline = _built(description, path)
        require_fit(outline, state, path, _hint(description))
    model = _built(description, path)
    _load(model, state, path, description)
    return model.eval(), description


def _load(model: nn.Module, state: Mapping[str, Tensor], path: Path, description: ModelDescription) -> None:
    own = model.state_dict()
    # They would be cast in silence, and the network would be another one than was trained and measured.
    others = sorted(name for name in own.keys() & state.keys() if own[name].dtype != state[name].dtype)
    if others:
        name = others[0]
        raise WeightsError(f"{path} has {name} as {state[name].dtype}, not {own[name].dtype}; train again")
    load_strictly(model, state, path, _hint(description))


def _built(description: ModelDescription, path: Path) -> nn.Module:
    try:
        return build_model(description.name, description.num_classes, None, **description.options)
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        raise WeightsError(f"{path} cannot be built here: {error}") from error


def _hint(description: ModelDescription) -> str:
    return (
        f"The weights are of model {description.name!r} with {description.num_classes} defect classes and "
        f"options {dict(description.options)}; build that model or train again"
    )
