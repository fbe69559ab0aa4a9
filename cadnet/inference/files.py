"""The image files that arguments name, and the result folder of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from cadnet.images import SUFFIXES

RESULT_FILES = ("mask.png", "probability.png", "overlay.png", "result.json")
"""Files of each image's folder."""
TABLES = ("summary.csv", "errors.csv")

_RESERVED = {*RESULT_FILES, *TABLES}
_MAGIC = "*?["


class ImageFile(NamedTuple):
    """An image, and its results' folder relative to the one of all results, with /."""

    path: Path
    result: str


class _Found(NamedTuple):
    path: Path
    below: PurePath
    """Its path from the folder, or from the fixed part of the pattern, that was asked for."""


def find_images(arguments: Sequence[str], out: Path) -> list[ImageFile]:
    """Return the images of files, folders and patterns, in the order of the arguments, then of paths.

    A folder stands for all images in it and below, a pattern such as ``line*/**/*.png`` for those that it
    matches, hidden ones and results of earlier runs left out; a file is taken whatever its suffix. Duplicates
    come once. Results keep the folders below the one asked for, so that equal names do not
    collide; where they still would, the suffix and the folders below what all images have in common are
    added.

    Raises:
        FileNotFoundError: an argument matches no image; all such are named.
    """
    found: dict[Path, _Found] = {}
    nothing = []
    for argument in arguments:
        matches = list(_matches(argument, out))
        if not matches:
            nothing.append(argument)
        for item in matches:
            found.setdefault(item.path.resolve(), item)
    if nothing or not found:
        what = ", ".join(nothing) or "nothing"
        raise FileNotFoundError(
            f"no image found for {what}; give files, folders that hold images ({', '.join(SUFFIXES)}), or "
            "patterns in quotes"
        )
    return _named(found)


def _matches(argument: str, out: Path) -> Iterator[_Found]:
    path = Path(argument)
    if path.is_dir():
        yield from _images(path.rglob("*"), path, out)
    elif path.is_file():
        yield _Found(path, PurePath(path.name))
    elif any(sign in argument for sign in _MAGIC):
        parts = path.parts
        fixed = next(index for index, part in enumerate(parts) if any(sign in part for sign in _MAGIC))
        base, pattern = Path(*parts[:fixed]), str(Path(*parts[fixed:]))
        yield from _images(base.glob(pattern), base, out)


def _images(files: Iterable[Path], base: Path, out: Path) -> Iterator[_Found]:
    # Results are no images, where ``out`` is a folder among these.
    own = out.resolve() if base.resolve() in out.resolve().parents else None
    for file in sorted(files):
        below = file.relative_to(base)
        hidden = any(part.startswith(".") for part in below.parts)
        if hidden or file.suffix.lower() not in SUFFIXES or not file.is_file():
            continue
        result = file.name in RESULT_FILES and (file.parent / RESULT_FILES[-1]).is_file()
        if not result and own not in file.resolve().parents:
            yield _Found(file, below)


def _named(found: dict[Path, _Found]) -> list[ImageFile]:
    plain = [_safe(item.below.with_suffix("")) for item in found.values()]
    # Some file systems ignore case.
    often = Counter(name.casefold() for name in plain)
    common = _common(list(found))
    taken: set[str] = set()
    images = []
    for (resolved, item), name in zip(found.items(), plain, strict=True):
        if often[name.casefold()] > 1:
            longer = resolved.relative_to(common)
            name = _safe(longer.with_name(f"{longer.stem}-{longer.suffix[1:]}".rstrip("-")))
        unique, number = name, 2
        while unique.casefold() in taken:
            unique, number = f"{name}-{number}", number + 1
        taken.add(unique.casefold())
        images.append(ImageFile(item.path, unique))
    return images


def _safe(path: PurePath) -> str:
    """Return the path with /, no part of which has the name of a result file."""
    return "/".join(f"{part}_" if part.casefold() in _RESERVED else part for part in path.parts)


def _common(paths: Sequence[Path]) -> Path:
    """Return the deepest folder that holds all files."""
    folder = paths[0].parent
    while not all(folder in path.parents for path in paths):
        folder = folder.parent
    return folder
