"""Csv tables as people and spreadsheets save them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from cadnet.writing.units import PreparationError

MAX_TABLE_BYTES = 64 * 2**20


def read_rows(path: Path) -> list[list[str]]:
    """Return the rows of a csv file, cells without outer spaces, empty lines as empty rows.

    A byte order mark is left out; commas, semicolons (as spreadsheets of many countries write) or tabs
    separate, whichever the first line has.

    Raises:
        PreparationError: too large, not UTF-8, or no table; the message names the file.
    """
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise PreparationError(f"{path} is larger than {MAX_TABLE_BYTES // 2**20} MiB; it is no such table")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PreparationError(f"{path} is not UTF-8; save it as 'CSV UTF-8'") from error
    first = text.partition("\n")[0]
    delimiter = next((sign for sign in ",;\t" if sign in first), ",")
    try:
        return [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=delimiter)]
    except csv.Error as error:
        raise PreparationError(f"{path} is no csv table: {error}") from error
