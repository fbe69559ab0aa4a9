"""The optional table ``images.csv``: groups, references and splits of single photographs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cadnet.preparers.pairs.pictures import Picture, composed
from cadnet.preparers.pairs.problems import Problems
from cadnet.preparers.pairs.product import Product, inside
from cadnet.types import SPLITS, UNLABELLED

TABLE_FILE = "images.csv"
COLUMNS = ("image", "group", "reference", "split")
MAX_TABLE_BYTES = 64 * 2**20


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


def read_table(root: Path, product: Product, pictures: Sequence[Picture], problems: Problems) -> Table:
    """Read the table of a product, if it has one; what is wrong goes into ``problems``."""
    path = root / (product.table or TABLE_FILE)
    if not path.is_file():
        if product.table:
            problems.add(f"{path} does not exist; correct `table` in product.yaml")
        return Table({}, frozenset(), None)
    rows = _read_rows(path, problems)
    columns = [name.strip() for name in rows[0]] if rows else []
    if "image" not in columns or not set(columns) <= set(COLUMNS) or len(set(columns)) < len(columns):
        problems.add(
            f"{path} has the columns {columns}; it needs image and may have {', '.join(COLUMNS[1:])}, each "
            "once"
        )
        return Table({}, frozenset(), path)
    finder = PictureFinder(pictures)
    entries: dict[str, Entry] = {}
    for number, row in enumerate(rows[1:], start=2):
        cells = [composed(cell.strip()) for cell in row]
        if not any(cells):
            continue
        place = f"{path}, line {number}"
        if len(cells) != len(columns):
            problems.add(f"{place}: {len(cells)} cells instead of {len(columns)}; correct it")
            continue
        values = dict(zip(columns, cells, strict=True))
        source = finder.find(values.pop("image"), place, problems)
        if source is None:
            continue
        if source in entries:
            problems.add(f"{place}: {source} has a line already; keep one")
        if values.get("split") and values["split"] not in (*SPLITS, UNLABELLED):
            problems.add(
                f"{place}: split {values['split']!r}; choose one of {', '.join((*SPLITS, UNLABELLED))}"
            )
            values["split"] = ""
        entries[source] = Entry(**values)
    return Table(entries, frozenset(columns), path)


class PictureFinder:
    """Finds photographs by what tables and annotation files call them."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self._sources = {item.source for item in pictures}
        self._below: dict[str, list[str]] = {}
        self._names: dict[str, list[str]] = {}
        for item in pictures:
            suffix = Path(item.source).suffix
            self._below.setdefault(item.name + suffix, []).append(item.source)
            self._names.setdefault(Path(item.source).name, []).append(item.source)

    def find(self, name: str, place: str, problems: Problems) -> str | None:
        """Return the source of the photograph ``name``: its path in the product's folder or below the images
        folder, or its bare file name where only one photograph has it.

        None, and a problem that begins with ``place``, when there is none or the path leads outside.
        """
        name = composed(name)
        try:
            inside(name)
        except ValueError as error:
            problems.add(f"{place}: {error}")
            return None
        if name in self._sources:
            return name
        found = self._below.get(name) or self._names.get(name.rpartition("/")[2], [])
        if len(found) == 1:
            return found[0]
        if found:
            problems.add(f"{place}: {name!r} may be {' or '.join(found)}; write its path")
        else:
            problems.add(f"{place}: there is no photograph {name!r}; add it, or remove the entry")
        return None


def _read_rows(path: Path, problems: Problems) -> list[list[str]]:
    if path.stat().st_size > MAX_TABLE_BYTES:
        problems.add(f"{path} is larger than {MAX_TABLE_BYTES // 2**20} MiB; it is no table of photographs")
        return []
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        problems.add(f"{path} is not UTF-8; save it as 'CSV UTF-8'")
        return []
    first = text.partition("\n")[0]
    # Spreadsheets of many countries write semicolons.
    delimiter = ";" if ";" in first and "," not in first else ","
    try:
        return list(csv.reader(io.StringIO(text), delimiter=delimiter))
    except csv.Error as error:
        problems.add(f"{path} is no csv table: {error}")
        return []
