"""Trained networks on disk: ``weights.safetensors`` beside ``model.json``, no pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from safetensors.torch import save
from torch import nn

from cadnet.files import file_digest, read_json, write_bytes, write_json
from cadnet.models.factory import build_model
from cadnet.models.tensors import WeightsError, load_strictly, read_tensors

WEIGHTS_NAME = "weights.safetensors"
DESCRIPTION_NAME = "model.json"


@dataclass(frozen=True)
class ModelDescription:
    """What is needed to build the network a weights file belongs to, and where it came from.

    ``options`` are keyword options of ``build_model``; ``class_names`` name the defect classes 1..K; ``metadata``
    is free for whoever trained (JSON values); ``weights_sha256`` ties the description to its weights.
    """

    name: str
    num_classes: int
    options: Mapping[str, str | int | float | bool]
    class_names: Sequence[str]
    metadata: Mapping[str, Any]
    project_version: str
    weights_sha256: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not isinstance(self.num_classes, int):
            raise TypeError("name must be text and num_classes a whole number")
        if self.class_names and len(self.class_names) != self.num_classes:
            raise ValueError(
                f"class_names {list(self.class_names)} must name the {self.num_classes} defect classes"
            )

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Read a ``model.json``.

        Raises:
            FileNotFoundError: there is no such file.
            WeightsError: the file is not JSON, or has missing, unknown or ill-typed entries.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"model description {path} does not exist; give a folder training wrote")
        try:
            return cls(**read_json(path))
        except (ValueError, TypeError) as error:
            raise WeightsError(f"{path} is not a model description: {error}; train again") from error


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
    """Write the weights, then their description, each atomically, and return the description.

    The description carries the digest of its weights: a crash between the two files leaves a pair that loading
    refuses, never one that loads wrongly. Equal weights and arguments give equal bytes.

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
    write_bytes(folder / WEIGHTS_NAME, save(state))
    description = ModelDescription(
        name=name,
        num_classes=num_classes,
        options=dict(options or {}),
        class_names=list(class_names),
        metadata=dict(metadata or {}),
        project_version=version("cadnet"),
        weights_sha256=file_digest(folder / WEIGHTS_NAME),
    )
    write_json(folder / DESCRIPTION_NAME, asdict(description))
    return description


def load_weights(folder: Path | str, model: nn.Module) -> ModelDescription:
    """Load a folder written by ``save_weights`` into ``model``; nothing changes on error.

    Raises:
        FileNotFoundError: a file is missing.
        WeightsError: a file is damaged, the two do not belong together, or the weights are of another network
            or another number of classes.
    """
    folder = Path(folder)
    description = ModelDescription.read(folder / DESCRIPTION_NAME)
    path = folder / WEIGHTS_NAME
    state = read_tensors(path)
    if file_digest(path) != description.weights_sha256:
        raise WeightsError(
            f"{path} is not the file that {DESCRIPTION_NAME} beside it describes (digests differ); "
            "train or copy both again"
        )
    cure = (
        f"The weights are of model {description.name!r} with {description.num_classes} defect classes and "
        f"options {dict(description.options)}; build that model or train again"
    )
    load_strictly(model, state, path, cure)
    return description


def load_model(folder: Path | str) -> tuple[nn.Module, ModelDescription]:
    """Build the network a folder describes, load its weights and put it in eval mode.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the description names a model or option that does not exist.
        WeightsError: a file is damaged or does not fit.
    """
    description = ModelDescription.read(Path(folder) / DESCRIPTION_NAME)
    model = build_model(description.name, description.num_classes, None, **description.options)
    load_weights(folder, model)
    return model.eval(), description
