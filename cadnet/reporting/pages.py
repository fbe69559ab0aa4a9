"""The report page: its parts as plain values, and their rendering as one file that loads nothing."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from cadnet.files import spreadsheet_safe, write_bytes, write_text

Verdict = Literal["ahead", "open", "behind"]


@dataclass(frozen=True)
class Picture:
    """A PNG for the page: its bytes, and the text for who cannot see it."""

    png: bytes
    alt: str


@dataclass(frozen=True)
class Headline:
    """The one sentence about a section, and its outcome; ``alone``: there is nothing to compare."""

    verdict: Verdict | Literal["alone"]
    text: str


@dataclass(frozen=True)
class Cell:
    """One cell: its text, the spread behind it, lines in small print below; ``best`` of its column is bold.

    ``state``: ``ahead``, ``open``, ``behind``, ``passed`` or ``failed``, shown as a coloured mark.
    """

    text: str
    spread: str = ""
    small: Sequence[str] = ()
    best: bool = False
    state: str = ""


@dataclass(frozen=True)
class Row:
    """One row. ``kind``: ``reference`` is tinted, ``group`` is a heading over the rows below it."""

    title: str
    cells: Sequence[Cell] = ()
    kind: str = ""
    small: str = ""


@dataclass(frozen=True)
class Table:
    """A table under its caption, with a ``note`` below.

    ``header``: without the column of the rows' titles, which ``first`` names. ``texts``: cells are set to the
    left. ``dense``: less room between columns.
    """

    block: ClassVar[str] = "table"
    caption: str
    header: Sequence[str]
    rows: Sequence[Row]
    first: str = "Method"
    note: str = ""
    texts: bool = False
    dense: bool = False


@dataclass(frozen=True, eq=False)
class Figure:
    """Pictures side by side under one caption; ``wide`` ones scroll sideways. ``kind`` names their files."""

    block: ClassVar[str] = "figure"
    kind: str
    pictures: Sequence[Picture]
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Text:
    """Paragraphs, or with ``items`` a list."""

    block: ClassVar[str] = "text"
    lines: Sequence[str]
    items: bool = False


@dataclass(frozen=True)
class Link:
    """A link to a file beside the page (relative) or to a page elsewhere."""

    label: str
    href: str


@dataclass(frozen=True)
class Links:
    """Links, one beside the other."""

    block: ClassVar[str] = "links"
    links: Sequence[Link]


@dataclass(frozen=True, eq=False)
class Card:
    """Blocks in a frame under a heading, which may be empty."""

    block: ClassVar[str] = "card"
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, eq=False)
class Fold:
    """Blocks that are folded away under ``title``."""

    block: ClassVar[str] = "fold"
    title: str
    blocks: Sequence[Block]


Block: TypeAlias = "Table | Figure | Text | Links | Card | Fold"


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the page, and its files.

    ``name``: fit for a file name, unique on the page. ``stamp``: scale and seeds of all that it shows.
    ``top``: blocks under the headline. ``tables``: frames by file name without ending, the first one being
    that of the section; ``markdown``: texts by the same names.
    """

    name: str
    title: str
    stamp: str = ""
    headline: Headline | None = None
    text: Sequence[str] = ()
    top: Sequence[Block] = ()
    blocks: Sequence[Block] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    markdown: Mapping[str, str] = field(default_factory=dict)

    def pictures(self) -> dict[str, Picture]:
        """The pictures by file name without ending, ``<kind>-<number>``."""
        found: dict[str, Picture] = {}
        counts: dict[str, int] = {}
        for figure in _figures([*self.top, *self.blocks]):
            for picture in figure.pictures:
                counts[figure.kind] = counts.get(figure.kind, 0) + 1
                found[f"{figure.kind}-{counts[figure.kind]}"] = picture
        return found

    def write_files(self, folder: Path) -> None:
        """Write tables to ``folder/tables`` and pictures to ``folder/plots/<name>``, each atomically."""
        for name, table in self.tables.items():
            write_table(folder / "tables" / name, table, self.markdown.get(name))
        for name, picture in self.pictures().items():
            write_bytes(folder / "plots" / self.name / f"{name}.png", picture.png)

    def file_links(self) -> Links:
        """Links to the tables beside the page."""
        kinds = {name: ["csv", *(["md"] if name in self.markdown else [])] for name in self.tables}
        return Links(
            [
                Link(f"{name}.{kind}", f"tables/{name}.{kind}")
                for name, found in kinds.items()
                for kind in found
            ]
        )


@dataclass(frozen=True, eq=False)
class Page:
    """Everything on the page. ``generated``: a readable time. ``params``: the parameter file as text."""

    title: str
    scale: str
    sections: Sequence[Section]
    generated: str = ""
    git_commit: str = ""
    params: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    links: Sequence[Link] = ()


def render_report(page: Page) -> str:
    """Return the whole page as HTML."""
    return page_environment().get_template("report.html.j2").render(page=page)


def write_report(page: Page, path: Path | str) -> None:
    """Write the page to ``path`` atomically."""
    write_text(path, render_report(page))


def page_environment() -> Environment:
    """Return the templates of this package: escaped, and an undefined name is an error."""
    environment = Environment(
        loader=PackageLoader("cadnet.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_uri": data_uri, "least_width": least_width, "breakable": breakable}
    return environment


def write_table(path: Path | str, table: pd.DataFrame, text: str | None = None) -> None:
    """Write ``<path>.csv`` (full precision, empty for NaN) and, if given, ``<path>.md``, each atomically."""
    path = Path(path)
    write_text(path.with_suffix(".csv"), table.map(spreadsheet_safe).to_csv(index=False, lineterminator="\n"))
    if text is not None:
        write_text(path.with_suffix(".md"), text)


def data_uri(picture: Picture) -> str:
    """A picture's bytes as a ``data:`` address."""
    return "data:image/png;base64," + base64.b64encode(picture.png).decode("ascii")


def least_width(picture: Picture) -> int:
    """The least width, in CSS pixels, at which a sheet can still be read: three quarters of its own."""
    # A PNG's width is the big-endian number at byte 16, in the header chunk that always comes first.
    return int.from_bytes(picture.png[16:20], "big") * 3 // 4


def breakable(name: str) -> Markup:
    """A name that may be broken after its underscores, so that long ones do not widen a table."""
    return Markup(str(escape(name)).replace("_", "_<wbr>"))


def frame_block(caption: str, frame: pd.DataFrame, digits: int = 2) -> Table:
    """A frame as a table: its first column names the rows, floats have ``digits`` decimals."""
    first, *header = map(str, frame.columns)
    rows = []
    for record in frame.itertuples(index=False, name=None):
        texts = [number(value, digits) if isinstance(value, float) else str(value) for value in record]
        rows.append(Row(texts[0], [Cell(text) for text in texts[1:]]))
    return Table(caption, header, rows, first=first)


def number(value: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """Write a number with a true minus sign, or a dash when there is none."""
    if value is None or pd.isna(value):
        return "–"
    # Rounded first, so that a small negative number is not written as minus zero.
    return f"{round(value, digits) + 0.0:{'+' if signed else ''},.{digits}f}".replace("-", "−")


def _figures(blocks: Sequence[Block]) -> Iterator[Figure]:
    for block in blocks:
        if isinstance(block, Figure):
            yield block
        elif isinstance(block, Card | Fold):
            yield from _figures(block.blocks)
