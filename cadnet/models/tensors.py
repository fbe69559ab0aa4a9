"""Tensors from safetensors files into modules, with errors that name what does not fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn


class WeightsError(ValueError):
    """Weights are damaged or belong to another network; the message names file, cause and fix."""


@contextmanager
def _readable(path: Path | str) -> Iterator[Path]:
    """Yield the path of an existing file; damage found while it is read becomes a ``WeightsError``."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights file {path} does not exist; check the path, nothing is downloaded")
    try:
        yield path
    except (SafetensorError, ValueError) as error:
        raise WeightsError(
            f"{path} is not a complete safetensors file ({error}); copy or train it again"
        ) from error


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """Read a safetensors file onto the CPU.

    Raises:
        FileNotFoundError: no such file.
        WeightsError: the file is cut short or is not safetensors.
    """
    with _readable(path) as file:
        return load_file(file)


def read_header(path: Path | str) -> dict[str, str]:
    """Read the free texts in a safetensors file's header; empty when it has none.

    Raises:
        FileNotFoundError: no such file.
        WeightsError: the file is cut short or is not safetensors.
    """
    with _readable(path) as file, safe_open(file, framework="pt") as content:
        return dict(content.metadata() or {})


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], source: Path | str, hint: str) -> None:
    """Load ``state`` into ``module`` when every name and shape fits, else change nothing.

    Raises:
        WeightsError: as :func:`require_fit`.
    """
    require_fit(module, state, source, hint)
    module.load_state_dict(dict(state))


def require_fit(module: nn.Module, state: Mapping[str, Tensor], source: Path | str, hint: str) -> None:
    """Check that every name and shape of ``state`` is that of ``module``.

    Raises:
        WeightsError: names or shapes differ; the first few of each kind are listed, then ``hint``.
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
        raise WeightsError(f"{source} does not fit {type(module).__name__}: {'; '.join(problems)}. {hint}")


def load_encoder_weights(model: nn.Module, path: Path | str) -> None:
    """Load a safetensors file into ``model.encoder``.

    An encoder with a ``convert_state_dict`` method translates foreign names by it.

    Raises:
        FileNotFoundError: no such file.
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
