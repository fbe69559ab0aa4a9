"""Files: writing that is complete or absent, reading within limits, names that become paths, and digests."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

MAX_JSON_BYTES = 64 * 2**20
MAX_JSON_PARTS = 4_000_000
"""Lists and objects in a JSON file: an empty one is 3 bytes of text and up to 200 of memory."""
MAX_JSON_DEPTH = 64
MAX_TABLE_BYTES = 64 * 2**20
MAX_TABLE_CELLS = 4_000_000

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet program takes for the beginning of a formula."""


def relative_name(name: str) -> str:
    """Return a name as it is when it is a path, with /, that stays in its folder.

    Raises:
        ValueError: it is empty, absolute, or has a ``..``, a drive, a backslash or a control character.
    """
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name):
        raise ValueError(f"path {name[:200]!r} leads out of its folder; give one relative to it")
    if "\\" in name:
        raise ValueError(f"path {name[:200]!r} has a backslash; write it with /")
    if re.search(r"[\x00-\x1f\x7f]", name):
        raise ValueError(f"path {name[:200]!r} has a control character; rename it")
    return name


def below(folder: Path, name: str) -> Path:
    """Return the path of ``name`` in ``folder``: the one way from a name in a table to a file.

    Raises:
        ValueError: as :func:`relative_name`.
    """
    return folder / relative_name(name)


def refuse_links(path: Path, root: Path) -> None:
    """Check that no part of ``path`` below ``root`` is a link, through which would be written elsewhere.

    ``root`` itself may be one: the user has named it.

    Raises:
        FileExistsError: one is.
    """
    for part in (path, *path.parents):
        if part == root:
            return
        if part.is_symlink():
            raise FileExistsError(f"{part} is a link, and nothing is written through it; remove it")


def _fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary file path; on success it is synced and renamed to ``path``, on error removed.

    The temporary file lies in the same directory, so the rename is atomic. Missing parents are created. Where
    ``path`` is a link, the link is replaced and what it points to stays.

    Raises:
        OSError: the disk is full or the directory cannot be written; ``path`` is then untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp{path.suffix}")
    try:
        # Made here, so that no link can wait in its place.
        temporary.touch(exist_ok=False)
        yield temporary
        # Opened for writing because some systems refuse to sync a read-only descriptor.
        descriptor = os.open(temporary, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        _fsync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path`` atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as indented JSON to ``path`` atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path | str, fix: str = "delete it and make it again", unique: bool = False) -> Any:
    """Read a JSON file; ``unique`` as for :func:`parse_json`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as :func:`parse_json`, or it is too large; the message names it and says ``fix``.
    """
    path = Path(path)
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"{path} is larger than {MAX_JSON_BYTES // 2**20} MiB; {fix}")
    try:
        return parse_json(path.read_bytes(), unique)
    except ValueError as error:
        raise ValueError(f"{path} is not readable JSON ({error}); {fix}") from error


def parse_json(text: bytes | str, unique: bool = False) -> Any:
    """Return the value of a JSON text; ``unique`` refuses a key that stands twice in an object.

    Raises:
        ValueError: it is not JSON (for example cut short), has NaN or infinity, or holds more or is nested
            deeper than the limits above.
    """
    data = text.encode() if isinstance(text, str) else text
    if data.count(b"[") + data.count(b"{") > MAX_JSON_PARTS:
        raise ValueError(f"it holds more than {MAX_JSON_PARTS} lists and objects")
    try:
        value = json.loads(data, parse_constant=_refuse, object_pairs_hook=_unique if unique else None)
    except RecursionError as error:
        raise ValueError(f"it is nested more than {MAX_JSON_DEPTH} deep") from error
    level: list[Any] = [[value]]
    for _ in range(MAX_JSON_DEPTH + 1):
        inner = (box.values() if isinstance(box, dict) else box for box in level)
        level = [item for items in inner for item in items if isinstance(item, list | dict)]
    if level:
        raise ValueError(f"it is nested more than {MAX_JSON_DEPTH} deep")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, in which no key may be hidden behind a second one of its name."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError(f"a key stands twice among {[key for key, _ in pairs]}")
    return dict(pairs)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def read_rows(path: Path) -> list[list[str]]:
    """Read a csv table, with commas or, as spreadsheets of many countries write it, semicolons.

    Raises:
        OSError: it cannot be read.
        ValueError: too large, not UTF-8, or no csv table; the message names it.
    """
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise ValueError(f"{path} is larger than {MAX_TABLE_BYTES // 2**20} MiB; it is no table")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8; save it as 'CSV UTF-8'") from error
    first = text.partition("\n")[0]
    delimiter = ";" if ";" in first and "," not in first else ","
    if text.count(delimiter) + text.count("\n") > MAX_TABLE_CELLS:
        raise ValueError(f"{path} has more than {MAX_TABLE_CELLS} cells; it is no table")
    if "\0" in text:
        raise ValueError(f"{path} holds NUL characters; it is no csv table")
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise ValueError(f"{path} is no csv table: {error}") from error


def spreadsheet_safe(value: Any) -> Any:
    """Return a cell of a table as it is, text that would be a formula with an apostrophe before it."""
    if not isinstance(value, str) or not value.startswith(_FORMULA):
        return value
    return value if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)?([eE][+-]?\d+)?", value) else f"'{value}"


@contextmanager
def atomic_directory(path: Path | str) -> Iterator[Path]:
    """Yield an empty temporary directory that replaces ``path`` as a whole on success.

    An existing ``path`` is replaced; on error the temporary one is removed and ``path`` stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    # mkdtemp gives 0700; results are to be readable like any other file of the project.
    temporary.chmod(0o755)
    try:
        yield temporary
        replace_directory(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_directory(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``, moving an existing ``target`` aside first and removing it after.

    Both lie in the same directory. When the rename fails the old ``target`` is put back.
    """
    for entry in (*source.rglob("*"), source):
        if entry.is_dir():
            _fsync_directory(entry)
        elif entry.is_file():
            with entry.open("rb") as handle:
                os.fsync(handle.fileno())
    old: Path | None = None
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
        target.replace(old / target.name)
    try:
        source.replace(target)
    except OSError:
        if old is not None:
            (old / target.name).replace(target)
            old.rmdir()
        raise
    _fsync_directory(target.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def file_digest(path: Path | str) -> str:
    """Return the SHA-256 hex digest of a file's bytes."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def value_digest(*values: Any) -> str:
    """Return the SHA-256 hex digest of JSON-serialisable values; key order does not matter."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


CHECKSUMS = "checksums.csv"
"""The file of a prepared dataset that holds the SHA-256 of every other one."""


def read_checksums(folder: Path) -> dict[str, str]:
    """Return path below ``folder`` -> SHA-256 from its checksums.csv; {} where there is none.

    Raises:
        ValueError: the table is damaged.
    """
    path = folder / CHECKSUMS
    if not path.is_file():
        return {}
    try:
        rows = read_rows(path)
        if rows[:1] != [["path", "sha256"]] or any(len(row) != 2 for row in rows):
            raise ValueError("not the columns path and sha256")
        return {relative_name(name): digest for name, digest in rows[1:]}
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); prepare the dataset again") from error


def tree_digest(paths: Iterable[Path], root: Path) -> str:
    """Return one SHA-256 hex digest over the names (relative to ``root``) and bytes of ``paths``."""
    return value_digest(sorted((path.relative_to(root).as_posix(), file_digest(path)) for path in paths))
