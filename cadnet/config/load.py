"""Reading a parameter file, with every error explained."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from cadnet.config.base import ConfigError, Params
from cadnet.config.datasets import PREPARERS
from cadnet.config.project import ProjectParams

Model = TypeVar("Model", bound=Params)
RESTORE = "restore it with `make profile PROFILE=default`"

MAX_YAML_BYTES = 2**16
"""YAML is read slowly, at 10 to 50 kB a second."""
MAX_YAML_VALUES = 20_000
"""Values of a file, with those that stand for others unfolded: a kilobyte of aliases can mean billions."""

RENAMED = {
    "registration": "alignment",
    "registration_failures": "alignment_failures",
    "onecycle": "cosine",
    "few-label": "cl+cl",
    "false_share": "false_fraction",
}
"""Former names of keys and values, with the present ones."""
MOVED = {"train.recipes": "methods.*.recipe", "train.encoder_weights": "methods.*.encoder_weights"}
"""Former places of keys, with the present ones."""


def load_params(path: Path | str = "params.yaml") -> ProjectParams:
    """Read and check a parameter file.

    Raises:
        FileNotFoundError: no such file.
        ConfigError: unknown key, wrong type or value out of range; all of them are listed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"parameter file {path} does not exist; run from the project's folder")
    return read_model(path, ProjectParams, RESTORE)


def parse_params(text: str, path: Path) -> ProjectParams:
    """Check the text of a parameter file; ``path`` names it in errors.

    Raises:
        ConfigError: as :func:`load_params`.
    """
    return parse_model(text, path, ProjectParams, RESTORE)


def read_model(
    path: Path, model: type[Model], fix: str, completed: Callable[[dict[str, Any]], Any] = dict
) -> Model:
    """Read a YAML file into a parameter class, as :func:`parse_model` does its text."""
    if path.stat().st_size > MAX_YAML_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_YAML_BYTES // 2**10} KiB; it is no parameter file")
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    return parse_model(text, path, model, fix, completed)


def parse_model(
    text: str, path: Path, model: type[Model], fix: str, completed: Callable[[dict[str, Any]], Any] = dict
) -> Model:
    """Check YAML text against a parameter class.

    Args:
        text: YAML.
        path: its name in errors.
        model: what it must hold.
        fix: what to do about an empty file.
        completed: expands short forms of the file to those of ``model``.

    Raises:
        ConfigError: not YAML, a key given twice or unknown, a wrong type or value; all of them are listed.
    """
    try:
        data, repeated = parse_yaml(text)
    except ValueError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if repeated:
        # YAML readers silently take the last of two equal keys.
        raise ConfigError(f"{path}: given twice: {', '.join(repeated)}; keep one of each")
    if not isinstance(data, dict):
        raise ConfigError(f"{path} is empty or holds no sections; {fix}")
    try:
        # Through JSON because strict mode takes a list for a tuple only there; str for YAML's dates.
        return model.model_validate_json(json.dumps(completed(data), default=str))
    except ValidationError as error:
        raise ConfigError(f"{path}: " + "; ".join(_explain(item) for item in error.errors())) from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def parse_yaml(text: str) -> tuple[Any, list[str]]:
    """Return the value of a YAML text, and the dotted keys that it gives twice.

    Raises:
        ValueError: it is not YAML, is nested too deeply, or unfolds to more values than the limit above.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        repeated = sorted({name for name, given_twice in _keys(node, count()) if given_twice})
        return (loader.construct_document(node) if node else None), repeated
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:
        # Of a date or number that is none, too.
        raise ValueError(" ".join(str(error).split())) from error


def _keys(node: yaml.Node | None, counter: Iterator[int], path: str = "") -> Iterator[tuple[str, bool]]:
    """Each dotted key, and whether its mapping has it already.

    Raises:
        ValueError: there are too many values.
    """
    if next(counter) > MAX_YAML_VALUES:
        raise ValueError(f"its aliases unfold to more than {MAX_YAML_VALUES} values")
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _keys(item, counter, path)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = f"{path}{key.value}" if isinstance(key, yaml.ScalarNode) else path
            yield name, name in seen
            seen.add(name)
            yield from _keys(value, counter, f"{name}.")


def _explain(item: Any) -> str:
    """One pydantic error as 'key: what is wrong (got value)'."""
    path = list(item["loc"])
    if path[:1] == ["datasets"]:
        # Pydantic names the preparer after the dataset, which the file does not.
        del path[2:3]
    key = ".".join(str(part) for part in path)
    prefix = f"{key}: " if key else ""
    kind, value, message = item["type"], item.get("input"), item["msg"].removeprefix("Value error, ")
    if key in MOVED:
        return f"{prefix}is {MOVED[key]} now; move it there"
    old = path[-1] if kind == "extra_forbidden" and path else value
    if kind in ("extra_forbidden", "literal_error") and old in RENAMED:
        return f"{prefix}{old!r} is called {RENAMED[old]!r} now; rename it"
    if kind == "extra_forbidden":
        return f"{prefix}unknown key; check its spelling or remove it"
    if kind == "missing":
        return f"{prefix}missing; add it"
    if kind == "union_tag_not_found":
        return f"{prefix}preparer is missing; add `preparer:` with one of {PREPARERS}"
    if kind == "union_tag_invalid":
        return f"{prefix}preparer {item['ctx']['tag']!r} is unknown; choose one of {PREPARERS}"
    if kind == "value_error":
        return f"{prefix}{message}"
    if kind in ("float_type", "int_type") and isinstance(value, str) and value[:1] in "+-.0123456789":
        # YAML 1.1 takes 1e-3 for text.
        message += "; write it without quotes, and 1e-3 as 0.001"
    if kind == "string_type" and isinstance(value, bool):
        # YAML 1.1 takes no, off, on and yes for truth values.
        message += "; write no, off, on and yes in quotes"
    return f"{prefix}{message} (got {value!r})"
