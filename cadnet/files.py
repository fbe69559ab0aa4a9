"""Writing that is complete or absent, and digests of what was written."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MAX_TABLE_BYTES = 64 * 2**20


def _fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary file path; on success it is synced and renamed to ``path``, on error removed.

    The temporary file lies in the same directory, so the rename is atomic. Missing parents are created.

    Raises:
        OSError: the disk is full or the directory cannot be written; ``path`` is then untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
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


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not JSON (for example cut short); the message names it.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not readable JSON ({error}); delete it and make it again") from error


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
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise ValueError(f"{path} is no csv table: {error}") from error


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
        with path.open(newline="", encoding="utf-8") as file:
            return {row["path"]: row["sha256"] for row in csv.DictReader(file)}
    except (KeyError, csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}); prepare the dataset again") from error


def tree_digest(paths: Iterable[Path], root: Path) -> str:
    """Return one SHA-256 hex digest over the names (relative to ``root``) and bytes of ``paths``."""
    return value_digest(sorted((path.relative_to(root).as_posix(), file_digest(path)) for path in paths))
