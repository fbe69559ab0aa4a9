"""A product folder being read: its photographs, their sizes, the table about them and their groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from cadnet.config import PairsParams
from cadnet.files import read_rows
from cadnet.images import SUFFIXES, ImageError, read_header
from cadnet.images.files import is_safe, slug
from cadnet.preparers.pairs.names import Picture, PictureFinder, composed
from cadnet.preparers.pairs.product import Product, find_group
from cadnet.types import SPLITS, UNLABELLED
from cadnet.writing.units import Problems

SIDECARS = (".json", ".xml", ".md", ".csv", ".txt", ".yaml", ".db", ".ini")
"""Suffixes of files that may be beside photographs."""
TABLE_FILE = "images.csv"
COLUMNS = ("image", "group", "reference", "split")


class Size(NamedTuple):
    """Width and height in pixels as shown; ``turned``: EXIF turns the stored pixels by a right angle."""

    width: int
    height: int
    turned: bool


class Entry(NamedTuple):
    """A row; what is not given is empty."""

    group: str = ""
    reference: str = ""
    split: str = ""


class Table(NamedTuple):
    """``entries``: source of a photograph -> its row; ``columns`` that the table has; ``path`` or None."""

    entries: dict[str, Entry]
    columns: frozenset[str]
    path: Path | None

    def entry(self, source: str) -> Entry:
        """Return the row of a photograph, an empty one where it has none."""
        return self.entries.get(source, Entry())


@dataclass(frozen=True)
class ProductFolder:
    """A product folder while it is read, with the problems found in it so far.

    ``pictures``: its photographs; ``clean``: its references; ``sizes``: source -> size, of the photographs
    whose header could be read; ``groups``: source -> group, "" for none; ``others``: files in the images
    folder that are no pictures; ``finder`` of its photographs.
    """

    root: Path
    product: Product
    params: PairsParams
    problems: Problems
    pictures: list[Picture]
    clean: list[Picture]
    sizes: dict[str, Size]
    table: Table
    groups: dict[str, str]
    others: list[str]
    finder: PictureFinder


def open_folder(root: Path, product: Product, params: PairsParams) -> ProductFolder:
    """Find the pictures of a product folder and read its table; what is wrong is in ``problems``."""
    problems = Problems(root, "product folder")

    def find(spec: str, what: str) -> tuple[list[Picture], list[str]]:
        try:
            return find_pictures(root, spec)
        except FileNotFoundError as error:
            problems.add(f"{what}: {error}")
            return [], []

    clean, _ = find(product.references, "references")
    pictures, others = find(product.images, "images")
    known = {item.source for item in clean}
    pictures = [item for item in pictures if item.source not in known and not _is_mask(item, product)]
    if not pictures:
        problems.add(f"images {product.images!r} of product.yaml holds no photograph; put some there")
    sizes = {}
    for item in pictures:
        try:
            header = read_header(item.path)
            sizes[item.source] = Size(header.width, header.height, header.turned)
        except ImageError as error:
            problems.add(str(error))
    finder = PictureFinder(pictures)
    table = read_table(root, product, finder, problems)
    groups = {item.source: _group_of(item, product, table, problems) for item in pictures}
    return ProductFolder(
        root, product, params, problems, pictures, clean, sizes, table, groups, others, finder
    )


def _is_mask(item: Picture, product: Product) -> bool:
    """Whether a picture of the images folder is a mask."""
    labels = product.labels
    if labels is None or labels.format != "masks":
        return False
    if labels.path == product.images:
        return bool(labels.suffix) and item.name.endswith(labels.suffix)
    return item.source.startswith(f"{labels.path.rstrip('/')}/")


def find_pictures(root: Path, spec: str) -> tuple[list[Picture], list[str]]:
    """Return the pictures of ``spec``, a folder, file or glob below ``root``, in order of their paths.

    The second list holds the files of other suffixes that are no known sidecars. Hidden files are left out.

    Raises:
        FileNotFoundError: ``spec`` has no wildcard and names nothing.
    """
    found, others = [], []
    for item in find_files(root, spec):
        suffix = item.path.suffix.lower()
        if suffix in SUFFIXES:
            found.append(item)
        elif suffix not in SIDECARS:
            others.append(item.source)
    return found, others


def find_files(root: Path, spec: str) -> list[Picture]:
    """Return all files of ``spec`` as :func:`find_pictures` does, whatever they hold.

    Raises:
        FileNotFoundError: ``spec`` has no wildcard and names nothing.
    """
    target = root / spec
    files: Iterator[Path]
    if target.is_dir():
        base, files = target, iter(target.rglob("*"))
    elif target.is_file():
        base, files = target.parent, iter([target])
    elif any(sign in spec for sign in "*?["):
        parts = PurePosixPath(spec).parts
        fixed = next(index for index, part in enumerate(parts) if any(sign in part for sign in "*?["))
        base, files = root.joinpath(*parts[:fixed]), root.glob(spec)
    else:
        raise FileNotFoundError(f"{target} does not exist; make it, or correct {spec!r} in product.yaml")
    found = []
    for file in files:
        below = file.relative_to(base)
        if any(part.startswith(".") or part == "__MACOSX" for part in below.parts) or not file.is_file():
            continue
        source = composed(file.relative_to(root).as_posix())
        found.append(Picture(file, source, composed(below.with_suffix("").as_posix())))
    return sorted(found, key=lambda item: item.source)


def safe_ids(pictures: Iterable[Picture]) -> dict[str, str]:
    """Return source -> a unique name that any system takes for a file.

    It is the picture's name with - for /, or, where that is not safe or not unique, a slug of it with a
    digest of the path.
    """
    plain = {item.source: item.name.replace("/", "-") for item in pictures}
    # Names must differ in more than case: some file systems ignore it.
    often = Counter(name.casefold() for name in plain.values())
    return {
        source: name if often[name.casefold()] == 1 and is_safe(name) else slug(name, source)
        for source, name in plain.items()
    }


def read_table(root: Path, product: Product, finder: PictureFinder, problems: Problems) -> Table:
    """Read the table of a product, if it has one; what is wrong goes into ``problems``."""
    path = root / (product.table or TABLE_FILE)
    if not path.is_file():
        if product.table:
            problems.add(f"{path} does not exist; correct `table` in product.yaml")
        return Table({}, frozenset(), None)
    try:
        rows = read_rows(path)
    except ValueError as error:
        problems.add(str(error))
        return Table({}, frozenset(), path)
    columns = [name.strip() for name in rows[0]] if rows else []
    if "image" not in columns or not set(columns) <= set(COLUMNS) or len(set(columns)) < len(columns):
        problems.add(
            f"{path} has the columns {columns}; it needs image and may have {', '.join(COLUMNS[1:])}, each "
            "once"
        )
        return Table({}, frozenset(), path)
    entries: dict[str, Entry] = {}
    for number, row in enumerate(rows[1:], start=2):
        cells = [composed(cell.strip()) for cell in row]
        if not any(cells):
            continue
        where = f"{path}, line {number}"
        if len(cells) != len(columns):
            problems.add(f"{where}: {len(cells)} cells instead of {len(columns)}; correct it")
            continue
        values = dict(zip(columns, cells, strict=True))
        source = finder.find(values.pop("image"), where, problems)
        if source is None:
            continue
        if source in entries:
            problems.add(f"{where}: {source} has a line already; keep one")
        if values.get("split") and values["split"] not in (*SPLITS, UNLABELLED):
            problems.add(
                f"{where}: split {values['split']!r}; choose one of {', '.join((*SPLITS, UNLABELLED))}"
            )
            values["split"] = ""
        entries[source] = Entry(**values)
    return Table(entries, frozenset(columns), path)


def _group_of(picture: Picture, product: Product, table: Table, problems: Problems) -> str:
    """Return the group of a photograph: from the table, else the pattern, else its sub-folder; "" is none."""
    stated = table.entry(picture.source).group
    if stated:
        return stated
    if product.group_pattern is None:
        return picture.name.rpartition("/")[0]
    try:
        found = find_group(product.group_pattern, picture.name)
    except ValueError as error:
        problems.add(str(error))
        return ""
    if not found:
        problems.add(
            f"group_pattern {product.group_pattern!r} finds no group in {picture.name!r}; correct it, or "
            "give the group in the table"
        )
    return found


def mismatch(label: object, source: str, size: Size, width: Any, height: Any) -> str | None:
    """Return why labels of ``width`` x ``height`` do not fit the photograph ``source``; None when they do."""
    if (width, height) == (size.width, size.height):
        return None
    text = f"{label} is made for {width} x {height} pixels, {source} has {size.width} x {size.height}"
    if (width, height) == (size.height, size.width) and size.turned:
        return (
            f"{text} as shown: its EXIF entry turns it. Labels are taken to be drawn on the photograph as it "
            "is shown; turn the labels, or save the photograph without that entry and turned as the labels "
            "are"
        )
    return f"{text}; draw the labels on this very file"
