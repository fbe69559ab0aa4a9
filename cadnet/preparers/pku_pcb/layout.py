"""The raw folder: which photographs there are, what belongs to them, and everything that is wrong with it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from cadnet.fetching.unpacking import extracted, find_root
from cadnet.images import MAX_PIXELS
from cadnet.preparers.naming import safe_name
from cadnet.preparers.pku_pcb.annotations import Annotation, read_annotation
from cadnet.preparers.pku_pcb.rotation import read_angles
from cadnet.writing.problems import listed
from cadnet.writing.units import PreparationError

BOARDS, PHOTOGRAPHS, ANNOTATIONS, ROTATION = "PCB_USED", "images", "Annotations", "rotation"
RAW_CACHE = Path("cache/raw")
"""Where archives are unpacked."""
LISTED = 100
"""Problems shown in an error's message."""
_JPEG = {".jpg", ".jpeg"}
_TAIL_BYTES = 2**16
_ORIENTATION = 0x0112
_TURNED_ASIDE = 5


Size = tuple[int, int]
"""Width and height in pixels."""


class Photograph(NamedTuple):
    """One photograph with what belongs to it; paths are relative to the raw folder.

    ``name``: its file name without extension; ``sample``: the same as an ASCII-safe file name; ``copy``: its
    rotated copy; ``angle``: degrees recorded for that, None where there is no record.
    """

    name: str
    sample: str
    board: str
    board_file: str
    file: str
    annotation_file: str
    annotation: Annotation
    copy: str | None = None
    angle: float | None = None


class Raw(NamedTuple):
    """The raw folder and its photographs, ordered by board and name; ``angle_files`` as relative paths."""

    root: Path
    photographs: tuple[Photograph, ...]
    angle_files: tuple[str, ...]


def read_layout(raw: str, rotated: bool) -> Raw:
    """Find everything below ``raw``, a folder or an archive, and check it without decoding pixels.

    Raises:
        PreparationError: no raw data, or files that are unusable or do not belong together; all are listed.
        ArchiveError: an archive that cannot be unpacked safely.
    """
    root = _find_root(Path(raw))
    return _Reader(root).read(rotated)


def _find_root(raw: Path) -> Path:
    wanted = (
        f"{raw}/{BOARDS}/01.JPG, {raw}/{PHOTOGRAPHS}/Short/01_short_01.jpg, "
        f"{raw}/{ANNOTATIONS}/Short/01_short_01.xml and {raw}/{ROTATION}/Short_rotation/..., Short_angles.txt"
    )
    cure = f"put it there ({wanted}), or its archive, or run `make fetch-data DATASET=pku_pcb`"
    if not raw.exists():
        raise PreparationError(f"there is no PKU-Market-PCB at {raw}: {cure}")
    try:
        return find_root(extracted(raw, RAW_CACHE), (BOARDS, PHOTOGRAPHS, ANNOTATIONS))
    except (FileNotFoundError, ValueError) as error:
        raise PreparationError(f"no PKU-Market-PCB at {raw} ({error}): {cure}") from error


class _Reader:
    """Reads one raw folder and collects its problems."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._problems: list[str] = []

    def read(self, rotated: bool) -> Raw:
        boards = self._by_name(BOARDS, _JPEG)
        files, notes = self._by_name(PHOTOGRAPHS, _JPEG), self._by_name(ANNOTATIONS, {".xml"})
        copies = self._by_name(ROTATION, _JPEG) if rotated else {}
        angle_files = self._files(ROTATION, {".txt"}) if rotated else []
        angles = self._angles(angle_files)
        for missing, what, cure in (
            (files.keys() - notes.keys(), "photograph", f"no annotation of its name in {ANNOTATIONS}"),
            (notes.keys() - files.keys(), "annotation", f"no photograph of its name in {PHOTOGRAPHS}"),
            (copies.keys() - files.keys(), "rotated copy", f"no photograph of its name in {PHOTOGRAPHS}"),
        ):
            place = {"photograph": files, "annotation": notes, "rotated copy": copies}[what]
            self._problems += [
                f"{what} {self._root / place[name]} has {cure}; add it or remove this one"
                for name in sorted(missing)
            ]
        sizes = {board: self._size(file) for board, file in boards.items()}
        found = []
        for name in sorted(files.keys() & notes.keys()):
            photograph = self._photograph(name, files[name], notes[name], boards, sizes)
            if name in copies:
                self._size(copies[name])
            if photograph is not None:
                found.append(photograph._replace(copy=copies.get(name), angle=angles.get(name)))
        if not files and not self._problems:
            self._problems.append(f"{self._root / PHOTOGRAPHS} holds no photographs (.jpg)")
        self._raise()
        found.sort(key=lambda p: (p.board, p.name))
        return Raw(self._root, tuple(found), tuple(angle_files))

    def _photograph(
        self, name: str, file: str, note: str, boards: dict[str, str], sizes: dict[str, Size | None]
    ) -> Photograph | None:
        size = self._size(file)
        board = name.split("_", 1)[0]
        if board not in boards:
            self._problems.append(
                f"photograph {self._root / file} shows board {board!r}, and {self._root / BOARDS} holds no "
                f"{board}.JPG; add it"
            )
        elif size is not None and sizes[board] is not None and size != sizes[board]:
            self._problems.append(
                f"photograph {self._root / file} is {_times(size)} and its board {_times(sizes[board])}; "
                "replace one of them"
            )
        try:
            annotation = read_annotation(self._root / note)
        except (OSError, PreparationError) as error:
            self._problems += str(error).splitlines()
            return None
        noted = (annotation.width, annotation.height)
        if size is not None and size != noted:
            self._problems.append(
                f"annotation {self._root / note} is for {_times(noted)} pixels and its photograph is "
                f"{_times(size)}; replace one of them"
            )
        if board not in boards:
            return None
        return Photograph(name, safe_name(name), board, boards[board], file, note, annotation)

    def _size(self, file: str) -> Size | None:
        """Width and height as decoded, from the header; None for a file that cannot be used."""
        path = self._root / file
        try:
            with Image.open(path) as header:
                width, height = header.size
                # The decoder turns the picture as the camera says.
                if header.getexif().get(_ORIENTATION, 1) >= _TURNED_ASIDE:
                    width, height = height, width
            with path.open("rb") as stream:
                stream.seek(max(path.stat().st_size - _TAIL_BYTES, 0))
                whole = b"\xff\xd9" in stream.read()
        except Image.DecompressionBombError:
            width = height = MAX_PIXELS
            whole = True
        except (OSError, ValueError, SyntaxError) as error:
            self._problems.append(f"image {path} cannot be read ({error}); replace it")
            return None
        if width * height > MAX_PIXELS:
            self._problems.append(f"image {path} has more than {MAX_PIXELS} pixels; replace it")
            return None
        if not whole:
            # Decoders fill the rest of a cut-off JPEG with grey and say nothing.
            self._problems.append(f"image {path} is cut short; replace it with an intact copy")
            return None
        return width, height

    def _angles(self, files: Iterable[str]) -> dict[str, float]:
        angles: dict[str, float] = {}
        for file in files:
            try:
                found, faults = read_angles(self._root / file)
            except OSError as error:
                found, faults = {}, [f"angle file {self._root / file} cannot be read ({error})"]
            self._problems += faults
            angles |= {unicodedata.normalize("NFC", name): angle for name, angle in found.items()}
        return angles

    def _by_name(self, folder: str, suffixes: set[str]) -> dict[str, str]:
        """Name without extension -> path below the root; names that come twice are problems."""
        found: dict[str, str] = {}
        for file in self._files(folder, suffixes):
            # One system writes an accent as its own character and the next does not.
            name = unicodedata.normalize("NFC", Path(file).stem)
            if name in found:
                self._problems.append(
                    f"{name} is there twice: {self._root / found[name]} and {file}; rename or remove one"
                )
            found.setdefault(name, file)
        return found

    def _files(self, folder: str, suffixes: set[str]) -> list[str]:
        """Paths below the root of the files in ``folder``, hidden ones left out."""
        return sorted(
            path.relative_to(self._root).as_posix()
            for path in (self._root / folder).rglob("*")
            if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
        )

    def _raise(self) -> None:
        if not self._problems:
            return
        problems = list(dict.fromkeys(self._problems))
        raise PreparationError(
            f"{len(problems)} problems in {self._root}; correct them and run again:\n"
            + listed(problems, LISTED)
        )


def _times(size: Size | None) -> str:
    return f"{size[0]} x {size[1]}" if size else "unreadable"
