"""Digests of what a dataset is made from and by."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np

from cadnet.files import file_digest, tree_digest


def versions() -> dict[str, str]:
    """Versions of the libraries that decide pixels."""
    return {"opencv": cv2.__version__, "numpy": np.__version__}


def code_digest(*modules: ModuleType) -> str:
    """Return one digest over the sources of ``modules``, of a package with all below it.

    A dataset made by other code is made again.
    """
    files: set[Path] = set()
    for module in modules:
        file = Path(module.__file__ or "")
        files |= set(file.parent.rglob("*.py")) if file.name == "__init__.py" else {file}
    root = Path(__file__).parents[1]
    return tree_digest(sorted(files), root)


def source_digests(files: Iterable[Path], root: Path) -> dict[str, str]:
    """Return path relative to ``root`` -> SHA-256 of each raw file."""
    ordered = sorted(files)
    with ThreadPoolExecutor() as pool:
        digests = pool.map(file_digest, ordered)
        return {
            file.relative_to(root).as_posix(): digest for file, digest in zip(ordered, digests, strict=True)
        }
