"""What a preparer gives: a plan of units, their renderer and output, digests of sources, problems."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np

from cadnet.files import below, file_digest, refuse_links, tree_digest
from cadnet.images import encode_png

LISTED = 100
"""Problems of raw material named in an error's message."""


class PreparationError(ValueError):
    """A dataset cannot be prepared; the message names the cause and the fix."""


class Problems:
    """Collects what is wrong with a folder: sentences that name a file, its fault and the fix."""

    def __init__(self, root: Path, what: str = "raw folder") -> None:
        self._root, self._what = root, what
        self._found: dict[str, None] = {}

    def add(self, *problems: str) -> None:
        """Add problems; a repeated one counts once."""
        self._found.update(dict.fromkeys(problems))

    def __bool__(self) -> bool:
        return bool(self._found)

    def raise_all(self) -> None:
        """Report all problems together.

        Raises:
            PreparationError: there are some.
        """
        if not self._found:
            return
        found = list(self._found)
        count = f"{len(found)} problem{'s' if len(found) > 1 else ''}"
        raise PreparationError(
            f"{count} in the {self._what} {self._root}; correct and run again:\n" + listed(found, LISTED)
        )


def listed(problems: Sequence[str], limit: int) -> str:
    """Return the first ``limit`` problems a line each, and how many more there are."""
    more = [f"and {len(problems) - limit} more"] if len(problems) > limit else []
    return "\n".join([*problems[:limit], *more])


def shown(names: Iterable[str], limit: int = 5) -> str:
    """Return a few of ``names``, joined by commas, and how many more there are."""
    ordered = list(names)
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return ", ".join(ordered[:limit]) + more


class Unit(NamedTuple):
    """One piece of work, for example a photograph or a generated sample; ``payload`` must be picklable."""

    unit_id: str
    payload: Any = None


class Finished(NamedTuple):
    """A rendered unit: manifest rows, rows of side tables, and its files with their SHA-256."""

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
        """Write ``data`` to ``path``, relative to the dataset's folder, and return ``path``.

        Raises:
            ValueError, FileExistsError: it leads out of that folder, in itself or by a link.
        """
        target = below(self._root, path)
        refuse_links(target.parent, self._root)
        self.finished.files[path] = write_file(target, data)
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

    Not synced to the disk one by one, which would cost more than generating them: the whole folder is synced
    before it gets its final name, and a rerun checks every digest.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
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


def tools(*modules: ModuleType, **libraries: str) -> dict[str, Any]:
    """Return :attr:`Plan.tools`: versions of the libraries that decide pixels, and one digest of the code.

    A dataset made by other code is made again.

    Args:
        modules: that decide the bytes, of a package with all below it.
        libraries: versions besides those of OpenCV and numpy.
    """
    files: set[Path] = set()
    for module in modules:
        file = Path(module.__file__ or "")
        files |= set(file.parent.rglob("*.py")) if file.name == "__init__.py" else {file}
    versions = {"opencv": cv2.__version__, "numpy": np.__version__, **libraries}
    return {"versions": versions, "code": tree_digest(sorted(files), Path(__file__).parents[1])}


def source_digests(files: Iterable[Path], root: Path) -> dict[str, str]:
    """Return path relative to ``root`` -> SHA-256 of each raw file."""
    ordered = sorted(files)
    with ThreadPoolExecutor() as pool:
        digests = pool.map(file_digest, ordered)
        return {
            file.relative_to(root).as_posix(): digest for file, digest in zip(ordered, digests, strict=True)
        }
