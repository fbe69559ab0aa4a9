"""What a preparer describes and what its parts give: units of work, their renderer, their output."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from cadnet.images import encode_png


class PreparationError(ValueError):
    """A dataset cannot be prepared; the message names the cause and the cure."""


class Unit(NamedTuple):
    """One piece of work, for example a photograph or a drawn sample; ``payload`` must be picklable."""

    unit_id: str
    payload: Any = None


class Finished(NamedTuple):
    """What came of a unit: manifest rows, rows of side tables, and its files with their SHA-256."""

    unit_id: str
    rows: list[dict[str, Any]]
    records: dict[str, list[dict[str, Any]]]
    files: dict[str, str]


class Failed(NamedTuple):
    """A unit whose raw material is unusable, and why."""

    unit_id: str
    problems: tuple[str, ...]


class Renderer(Protocol):
    """Makes the samples of units; pickled into worker processes, so heavy state is built on first use."""

    def render(self, unit: Unit, output: Output) -> None:
        """Write the files and rows of ``unit``; the same bytes whatever was rendered before.

        Raises:
            ValueError, OSError: its raw material is unusable; the message is reported with those of the
                other units, which are still rendered.
        """
        ...


class Output:
    """Where a renderer puts what it makes of one unit."""

    def __init__(self, root: Path, unit_id: str) -> None:
        self._root = root
        self.finished = Finished(unit_id, [], {}, {})

    def write(self, path: str, data: bytes) -> str:
        """Write ``data`` to ``path``, relative to the dataset's folder, and return ``path``."""
        self.finished.files[path] = write_file(self._root / path, data)
        return path

    def image(self, folder: str, name: str, pixels: np.ndarray) -> str:
        """Write uint8 ``pixels`` (H, W) or RGB (H, W, 3) as ``<folder>/<name>.png`` and return that path."""
        return self.write(f"{folder}/{name}.png", encode_png(pixels))

    def row(self, **values: Any) -> None:
        """Add a manifest row: the columns of :data:`cadnet.types.MANIFEST_COLUMNS`, ``n_<class>``, others."""
        self.finished.rows.append(values)

    def record(self, table: str, **values: Any) -> None:
        """Add a row to the side table ``<table>.csv``."""
        self.finished.records.setdefault(table, []).append(values)


def mask_pixels(mask: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    """Return the manifest's ``n_<class>`` columns of a uint8 mask (H, W)."""
    counts = np.bincount(mask.ravel(), minlength=256)
    return {f"n_{name}": int(counts[index]) for index, name in enumerate(classes, start=1)}


def write_file(path: Path, data: bytes) -> str:
    """Write ``data`` so that ``path`` is complete or absent, and return its SHA-256.

    Not synced to the disk one by one, which would cost more than the drawing: the whole folder is synced
    before it gets its final name, and a rerun checks every digest.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return hashlib.sha256(data).hexdigest()


Summary = Callable[[list[dict[str, Any]], Mapping[str, list[dict[str, Any]]]], dict[str, Any]]


def _no_summary(_rows: list[dict[str, Any]], _records: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Plan:
    """A dataset to be written.

    ``description`` is what the dataset is made from: parameters, splits, digests of sources; it goes into
    ``dataset.json``. ``tools`` is what it is made by: versions and digest of code; it goes into
    ``plan.json``, which is no part of the dataset, so that tools that make the same bytes make the same one.
    ``folders`` are the folders that the renderer writes to.
    ``chunk``: units that a worker takes at once. ``summarise`` makes further entries of ``dataset.json`` from
    the manifest's rows and the side tables.
    """

    preparer: str
    name: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    units: tuple[Unit, ...]
    renderer: Renderer
    description: Mapping[str, Any]
    tools: Mapping[str, Any] = field(default_factory=dict)
    folders: tuple[str, ...] = ("images", "masks", "references")
    chunk: int = 1
    summarise: Summary = field(default=_no_summary)
