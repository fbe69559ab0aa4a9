"""The raw folder: its photographs, what belongs to them, and everything that is wrong with it."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cadnet.fetching.unpacking import extracted, find_root
from cadnet.images import ImageError, read_header
from cadnet.images.files import safe_name
from cadnet.preparers.pku_pcb.rotation import read_angles
from cadnet.preparers.voc import VocObject, read_voc_file
from cadnet.writing.units import PreparationError, Problems

CLASSES = ("missing_hole", "mouse_bite", "open_circuit", "short", "spur", "spurious_copper")
"""Defect classes in mask order, the paper's c1..c6."""
BOARDS, PHOTOGRAPHS, ANNOTATIONS, ROTATION = "PCB_USED", "images", "Annotations", "rotation"
RAW_CACHE = Path("cache/raw")
"""Where archives are unpacked."""
MAX_BOXES = 200
"""More in one photograph are refused; numbered in one byte, with room for what is ignored."""
_JPEG = {".jpg", ".jpeg"}
_TAIL_BYTES = 2**16

Size = tuple[int, int]
"""Width and height in pixels."""


class Box(NamedTuple):
    """A rectangle in pixels, x0 <= x < x1 and y0 <= y < y1, with the class of what it holds."""

    label: str
    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def area(self) -> int:
        """Pixels inside."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)


class Annotation(NamedTuple):
    """The content of one file: the photograph's size in pixels and its boxes, clipped to it.

    ``clipped``: for each box, whether it reached over the edge.
    """

    width: int
    height: int
    boxes: tuple[Box, ...]
    clipped: tuple[bool, ...]


def class_name(text: str) -> str:
    """Return a class or folder name in the form of :data:`CLASSES`: lower case, words joined by one "_"."""
    return re.sub(r"[\s_-]+", "_", text.strip()).lower()


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
    fix = f"put it there ({wanted}), or its archive, or run `make fetch-data DATASET=pku_pcb`"
    if not raw.exists():
        raise PreparationError(f"there is no PKU-Market-PCB at {raw}: {fix}")
    try:
        return find_root(extracted(raw, RAW_CACHE), (BOARDS, PHOTOGRAPHS, ANNOTATIONS))
    except (FileNotFoundError, ValueError) as error:
        raise PreparationError(f"no PKU-Market-PCB at {raw} ({error}): {fix}") from error


class _Reader:
    """Reads one raw folder and collects its problems."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._problems = Problems(root)

    def read(self, rotated: bool) -> Raw:
        boards = self._by_name(BOARDS, _JPEG)
        files, notes = self._by_name(PHOTOGRAPHS, _JPEG), self._by_name(ANNOTATIONS, {".xml"})
        copies = self._by_name(ROTATION, _JPEG) if rotated else {}
        angle_files = self._files(ROTATION, {".txt"}) if rotated else []
        angles = self._angles(angle_files)
        for missing, what, fault in (
            (files.keys() - notes.keys(), "photograph", f"no annotation of its name in {ANNOTATIONS}"),
            (notes.keys() - files.keys(), "annotation", f"no photograph of its name in {PHOTOGRAPHS}"),
            (copies.keys() - files.keys(), "rotated copy", f"no photograph of its name in {PHOTOGRAPHS}"),
        ):
            paths = {"photograph": files, "annotation": notes, "rotated copy": copies}[what]
            self._problems.add(
                *(
                    f"{what} {self._root / paths[name]} has {fault}; add it or remove this one"
                    for name in sorted(missing)
                )
            )
        sizes = {board: self._size(file) for board, file in boards.items()}
        found = []
        for name in sorted(files.keys() & notes.keys()):
            photograph = self._photograph(name, files[name], notes[name], boards, sizes)
            if name in copies:
                self._size(copies[name])
            if photograph is not None:
                found.append(photograph._replace(copy=copies.get(name), angle=angles.get(name)))
        if not files and not self._problems:
            self._problems.add(f"{self._root / PHOTOGRAPHS} holds no photographs (.jpg)")
        self._problems.raise_all()
        found.sort(key=lambda p: (p.board, p.name))
        return Raw(self._root, tuple(found), tuple(angle_files))

    def _photograph(
        self, name: str, file: str, note: str, boards: dict[str, str], sizes: dict[str, Size | None]
    ) -> Photograph | None:
        size = self._size(file)
        board = name.split("_", 1)[0]
        if board not in boards:
            self._problems.add(
                f"photograph {self._root / file} shows board {board!r}, and {self._root / BOARDS} holds no "
                f"{board}.JPG; add it"
            )
        elif size is not None and sizes[board] is not None and size != sizes[board]:
            self._problems.add(
                f"photograph {self._root / file} is {_times(size)} and its board {_times(sizes[board])}; "
                "replace one of them"
            )
        try:
            annotation = read_annotation(self._root / note)
        except (OSError, ValueError) as error:
            self._problems.add(*str(error).splitlines())
            return None
        noted = (annotation.width, annotation.height)
        if size is not None and size != noted:
            self._problems.add(
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
            header = read_header(path)
            with path.open("rb") as stream:
                stream.seek(max(path.stat().st_size - _TAIL_BYTES, 0))
                whole = b"\xff\xd9" in stream.read()
        except (ImageError, OSError) as error:
            self._problems.add(str(error))
            return None
        if not whole:
            # Decoders fill the rest of a cut-off JPEG with grey and raise nothing.
            self._problems.add(f"image {path} is cut short; replace it with an intact copy")
            return None
        return header.width, header.height

    def _angles(self, files: Iterable[str]) -> dict[str, float]:
        angles: dict[str, float] = {}
        for file in files:
            try:
                found, faults = read_angles(self._root / file)
            except OSError as error:
                found, faults = {}, [f"angle file {self._root / file} cannot be read ({error})"]
            self._problems.add(*faults)
            angles |= {unicodedata.normalize("NFC", name): angle for name, angle in found.items()}
        return angles

    def _by_name(self, folder: str, suffixes: set[str]) -> dict[str, str]:
        """Name without extension -> path below the root; names that come twice are problems."""
        found: dict[str, str] = {}
        for file in self._files(folder, suffixes):
            # One system writes an accent as its own character and the next does not.
            name = unicodedata.normalize("NFC", Path(file).stem)
            if name in found:
                self._problems.add(
                    f"{name} exists twice: {self._root / found[name]} and {file}; rename or remove one"
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


def read_annotation(path: Path) -> Annotation:
    """Read a VOC file; a box that reaches over the photograph's edge is clipped.

    Raises:
        OSError: it cannot be read.
        ValueError: no VOC file, too large, or boxes that cannot be used; one line per fault.
    """
    content = read_voc_file(path)
    width, height = (_whole(side) for side in (content.width, content.height))
    if width is None or height is None or width < 1 or height < 1:
        raise PreparationError(f"annotation {path} gives no photograph size; get it anew")
    found = [_box(item, width, height) for item in content.objects]
    faults = [f"annotation {path}, box {n}: {f}" for n, f in enumerate(found, 1) if isinstance(f, str)]
    if not found:
        faults = [f"annotation {path} has no box; remove it and its photograph"]
    if len(found) > MAX_BOXES:
        faults = [f"annotation {path} has {len(found)} boxes; at most {MAX_BOXES} are read"]
    if faults:
        raise PreparationError("\n".join(faults))
    kept = [entry for entry in found if not isinstance(entry, str)]
    return Annotation(width, height, tuple(box for box, _ in kept), tuple(over for _, over in kept))


def _box(item: VocObject, width: int, height: int) -> tuple[Box, bool] | str:
    """The clipped box of one object and whether it was clipped, or what is wrong with it."""
    label = class_name(item.label)
    if label not in CLASSES:
        return f"class {label!r} is unknown; known are {', '.join(CLASSES)}"
    numbers = [value for value in map(_whole, item.edges) if value is not None]
    if len(numbers) < len(item.edges):
        return "its four corners are not all numbers; correct or remove it"
    x0, y0, x1, y1 = numbers[0] - 1, numbers[1] - 1, numbers[2], numbers[3]
    corners = ", ".join(map(str, numbers))
    # An inclusive box of equal corners would be one pixel; nobody draws that, so it is a slip.
    if x1 - x0 < 2 or y1 - y0 < 2:
        return f"({corners}) has no area; correct or remove it"
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        return f"({corners}) is outside the {width} x {height} photograph; correct or remove it"
    box = Box(label, max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))
    return box, box[1:] != (x0, y0, x1, y1)


def _whole(value: float) -> int | None:
    return round(value) if math.isfinite(value) else None


def _times(size: Size | None) -> str:
    return f"{size[0]} x {size[1]}" if size else "unreadable"
