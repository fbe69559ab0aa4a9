"""Which photograph a name in a table, in an annotation file or of a label file means."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cadnet.files import relative_name
from cadnet.writing.units import Problems

_UPLOAD = re.compile(r"^(?:.*/)?(?:upload/\d+/|local-files/\?d=)")
"""What Label Studio's server puts before a name."""
_PREFIX = re.compile(r"^[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before an uploaded file's name."""
_HASH = re.compile(r"_(jpe?g|png|bmp|tiff?|webp)\.rf\.[0-9A-Za-z]+$")
"""What Roboflow makes of a suffix; another may follow."""
_SUFFIX = re.compile(r"\.(jpe?g|png|bmp|tiff?|webp)$", re.IGNORECASE)


class Picture(NamedTuple):
    """A picture file, or one that may be its label.

    ``source`` is its path in the product's folder, ``name`` that below the searched folder, without
    suffix; both with /, in Unicode's composed form.
    """

    path: Path
    source: str
    name: str


def composed(text: str) -> str:
    """Return ``text`` in Unicode's composed form; some systems write file names in the decomposed one."""
    return unicodedata.normalize("NFC", text)


class PictureFinder:
    """Finds photographs by the names that tables, annotation files and labelling tools give them.

    ``guessed``: name -> source, of those found only without what a labelling tool had added.
    """

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self.guessed: dict[str, str] = {}
        # By source, path below the images folder and that without suffix; then the same in lower case.
        self._paths: tuple[dict[str, list[str]], ...] = ({}, {}, {}, {}, {}, {})
        self._files: dict[str, list[str]] = {}
        self._folder: dict[str, str] = {}
        for item in pictures:
            whole = item.name + PurePosixPath(item.source).suffix
            self._folder[item.source] = item.name.rpartition("/")[0].casefold()
            keys = (item.source, whole, item.name)
            for table, key in zip(self._paths, (*keys, *(key.casefold() for key in keys)), strict=True):
                table.setdefault(key, []).append(item.source)
            for key in dict.fromkeys(path.rpartition("/")[2].casefold() for path in (whole, item.name)):
                self._files.setdefault(key, []).append(item.source)
        self._folders = set(self._folder.values())

    def find(self, name: str, where: str, problems: Problems) -> str | None:
        """Return the source of the photograph ``name``.

        ``name`` is its path in the product's folder or below the images folder, also as another system or a
        labelling tool writes it, or its bare file name where only one photograph has it. The folders that it
        gives must not contradict the photograph's. None, and a problem that begins with ``where``, when none
        or several fit.
        """
        path = _UPLOAD.sub("", composed(name).replace("\\", "/"))
        found = self._exact(path) or self._unlike(name, path)
        if len(found) == 1:
            return found[0]
        if found:
            problems.add(f"{where}: {name!r} may be {' or '.join(found)}; write its path")
            return None
        try:
            relative_name(path)
            problems.add(f"{where}: there is no photograph {name!r}; add it, or remove the entry")
        except ValueError as error:
            problems.add(f"{where}: {error}")
        return None

    def source(self, path: str) -> str | None:
        """Return ``path``, in the product's folder, where a photograph is there, else None."""
        return composed(path) if composed(path) in self._paths[0] else None

    def owners(self, name: str) -> list[str]:
        """Return the sources of the photographs that a label file may belong to.

        ``name``: its path below the labels folder without suffix, equal to the photograph's with or without
        suffix, but for letter case and for what labelling tools add.
        """
        found = self._exact(name)
        for plain in () if found else _undone(name):
            found = found or self._exact(plain)
            if len(found) == 1:
                self.guessed[name] = found[0]
        return found

    def _exact(self, path: str) -> list[str]:
        """Photographs of that path, else of that path in other letter case."""
        keys = [path] * 3 + [path.casefold()] * 3
        found = (table.get(key) for table, key in zip(self._paths, keys, strict=True))
        return next(filter(None, found), [])

    def _unlike(self, name: str, path: str) -> list[str]:
        """Photographs whose file has that name, or has it without what labelling tools add."""
        folder, _, file = path.rpartition("/")
        stated = folder.casefold()
        found = [s for s in self._files.get(file.casefold(), []) if self._agree(stated, self._folder[s], s)]
        for plain in () if found else _undone(file):
            # Tools that add something put all files into one folder of theirs.
            found = found or self._files.get(plain.casefold(), [])
            if len(found) == 1:
                self.guessed[name] = found[0]
        return found

    def _agree(self, stated: str, own: str, source: str) -> bool:
        """Whether a photograph in ``own``, below the images folder, may be that of an entry in ``stated``."""
        if not stated or f"/{source.casefold()}".rpartition("/")[0].endswith(f"/{stated}"):
            return True
        parts = stated.split("/")
        ends = ("/".join(parts[index:]) for index in range(len(parts)))
        # The longest end that is a folder here: day2/a.jpg is not day1/a.jpg, nor a.jpg where day2 exists.
        return next((end for end in ends if end in self._folders), "") == own


def _undone(name: str) -> Iterator[str]:
    """``name`` without Label Studio's prefix or Roboflow's hash; the latter also as the suffix it was."""
    folder, slash, file = name.rpartition("/")
    if _PREFIX.match(file):
        yield folder + slash + _PREFIX.sub("", file)
    plain = _SUFFIX.sub("", file)
    if _HASH.search(plain):
        yield folder + slash + _HASH.sub(r".\1", plain)
        yield folder + slash + _HASH.sub("", plain)
