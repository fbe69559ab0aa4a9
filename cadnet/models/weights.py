"""Trained networks on disk: ``weights.safetensors`` beside ``model.json``, no pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from cadnet.files import file_digest, read_json, write_bytes, write_json

WEIGHTS_NAME = "weights.safetensors"
CARD_NAME = "model.json"


class WeightsError(ValueError):
    """Weights are damaged or belong to another network; the message names file, cause and cure."""


@dataclass(frozen=True)
class ModelCard:
    """What is needed to build the network that a weights file belongs to, and where it came from.

    ``options`` are keyword options of ``build_model``; ``class_names`` name the defect classes 1..K;
    ``extra`` is free for whoever trains (JSON values); ``weights_sha256`` is filled in by ``save_model``.
    """

    name: str
    num_classes: int
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    class_names: Sequence[str] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    project_version: str = field(default_factory=lambda: version("cadnet"))
    weights_sha256: str = ""

    def __post_init__(self) -> None:
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
            raise FileNotFoundError(f"model card {path} does not exist; give a folder written by training")
        try:
            data = read_json(path)
            card = cls(**data)
        except (ValueError, TypeError) as error:
            raise WeightsError(f"{path} is not a model card: {error}") from error
        if not isinstance(card.name, str) or not isinstance(card.num_classes, int):
            raise WeightsError(f"{path} is not a model card: name must be text, num_classes a whole number")
        return card


def save_model(folder: Path | str, model: nn.Module, card: ModelCard) -> None:
    """Write weights, then card, each atomically; the card carries the digest of the weights it belongs to.

    A crash between the two leaves a pair that ``load_weights`` refuses, never one that loads wrongly.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    folder = Path(folder)
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_bytes(folder / WEIGHTS_NAME, save(state))
    values = asdict(card) | {"weights_sha256": file_digest(folder / WEIGHTS_NAME)}
    write_json(folder / CARD_NAME, values)


def load_weights(folder: Path | str, model: nn.Module, *, card: ModelCard | None = None) -> ModelCard:
    """Load the weights of a folder written by ``save_model`` into ``model``; nothing changes on error.

    Args:
        folder: holds ``weights.safetensors`` and ``model.json``.
        model: a network of the same structure.
        card: the folder's card when it has been read already.

    Returns:
        The folder's card.

    Raises:
        FileNotFoundError: a file is missing.
        WeightsError: a file is damaged, the two do not belong together, or the weights are of another network
            or another number of classes.
    """
    folder = Path(folder)
    card = ModelCard.read(folder / CARD_NAME) if card is None else card
    path = folder / WEIGHTS_NAME
    state = read_tensors(path)
    if card.weights_sha256 and file_digest(path) != card.weights_sha256:
        raise WeightsError(
            f"{path} is not the file that {folder / CARD_NAME} describes (digests differ); "
            "train or copy both again"
        )
    cure = (
        f"The weights are of model {card.name!r} with {card.num_classes} defect classes and options "
        f"{dict(card.options)}; build that model, or train again"
    )
    load_strictly(model, state, path, cure)
    return card


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """Read a safetensors file onto the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: the file is cut short or is not safetensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights file {path} does not exist; check the path, nothing is downloaded")
    try:
        return load_file(path)
    except (SafetensorError, ValueError) as error:
        raise WeightsError(
            f"{path} is not a complete safetensors file ({error}); copy or train it again"
        ) from error


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], source: Path | str, cure: str) -> None:
    """Load ``state`` into ``module`` when every name and shape fits, else change nothing.

    Raises:
        WeightsError: names or shapes differ; the first few of each kind are listed, then ``cure``.
    """
    own = module.state_dict()
    problems = []
    for what, names in (
        ("missing", sorted(own.keys() - state.keys())),
        ("unexpected", sorted(state.keys() - own.keys())),
    ):
        if names:
            problems.append(f"{what} {_shorten(names)}")
    shapes = [
        f"{name} {tuple(state[name].shape)} where {tuple(own[name].shape)} is needed"
        for name in own.keys() & state.keys()
        if own[name].shape != state[name].shape
    ]
    if shapes:
        problems.append(f"other shapes: {_shorten(sorted(shapes))}")
    if problems:
        raise WeightsError(f"{source} does not fit {type(module).__name__}: {'; '.join(problems)}. {cure}")
    module.load_state_dict(dict(state))


def load_encoder_weights(model: nn.Module, path: Path | str) -> None:
    """Load a safetensors file into ``model.encoder``.

    An encoder with a ``convert_state_dict`` method translates foreign names by it.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: damaged file, or weights of another encoder.
    """
    encoder = model.get_submodule("encoder")
    state = read_tensors(path)
    convert = getattr(encoder, "convert_state_dict", None)
    try:
        state = convert(state) if convert is not None else state
    except KeyError as error:
        raise WeightsError(
            f"{path} does not hold weights of {type(encoder).__name__}: {error.args[0]}"
        ) from error
    load_strictly(encoder, state, path, "Give weights of the same encoder variant")


def _shorten(items: list[str], limit: int = 5) -> str:
    """Join the first few items and count the rest."""
    rest = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + rest
