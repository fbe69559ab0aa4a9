"""Zip and tar files as one kind of thing: members to be checked and streams to be copied."""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from cadnet.archives.limits import ArchiveError, Budget, Limits, Names

DAMAGES = (
    zipfile.BadZipFile,
    tarfile.TarError,
    lzma.LZMAError,
    zlib.error,
    gzip.BadGzipFile,
    EOFError,
    RecursionError,
    ValueError,
    NotImplementedError,
    IndexError,
    OverflowError,
    struct.error,
)
"""What the readers raise for archives that are cut short, overwritten or of an unknown make."""
_READ_BYTES = 2**20
_BLOCK = 512
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class Member:
    """One file of an archive; ``stream`` is valid until the next member is asked for."""

    path: PurePosixPath
    size: int
    """Unpacked bytes as the header says, which may lie."""
    stream: IO[bytes] | None
    """None for a folder."""


@contextmanager
def open_members(archive: Path, limits: Limits) -> Iterator[tuple[Iterator[Member], int, IO[bytes]]]:
    """Yield the checked members in their order, the least bytes they need unpacked, and the archive's file.

    The kind is told by the first bytes, not by the name.

    Raises:
        ArchiveError: not an archive, damaged, encrypted, or a member that may not be unpacked. All such
            members of a zip file are reported together before the first is yielded; those of a tar file,
            which has no table of contents, when they come.
    """
    with archive.open("rb") as file:
        head = file.read(_BLOCK)
        file.seek(0)
        if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            with zipfile.ZipFile(file) as container:
                members = _zip_table(container, archive, limits)
                needed = sum(info.file_size for info, _ in members)
                yield _zip_members(container, members), needed, file
            return
        guard = _Guard(_unpacked(file, head, archive), Budget(archive, limits))
        with tarfile.open(fileobj=cast(IO[bytes], guard), mode="r:") as tape:
            yield _tar_members(tape, guard, archive, limits), archive.stat().st_size, file


def _unpacked(file: IO[bytes], head: bytes, archive: Path) -> IO[bytes]:
    if head[:2] == b"\x1f\x8b":
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if head[:6] == b"\xfd7zXZ\x00":
        return cast(IO[bytes], lzma.LZMAFile(file))
    if head[:3] == b"BZh":
        return cast(IO[bytes], bz2.BZ2File(file))
    if head[257:262] == b"ustar":
        return file
    raise ArchiveError(f"{archive} is no zip or tar archive (it begins with {head[:16]!r}); get it anew")


def _zip_table(
    container: zipfile.ZipFile, archive: Path, limits: Limits
) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    names, members = Names(archive, limits), []
    for info in container.infolist():
        if info.flag_bits & _ENCRYPTED:
            raise ArchiveError(
                f"archive {archive} is encrypted; unpack it yourself with its password and give the folder"
            )
        mode = info.external_attr >> 16
        kind = stat.S_IFMT(mode)
        refused = ""
        if kind == stat.S_IFLNK:
            refused = "is a symbolic link"
        elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            refused = "is neither a file nor a folder"
        # The original name: zipfile cuts names at a null byte, behind which another may hide.
        path = names.check(info.orig_filename, info.orig_filename.endswith("/"), refused)
        if path is not None:
            members.append((info, path))
    names.raise_faults()
    return members


def _zip_members(
    container: zipfile.ZipFile, members: list[tuple[zipfile.ZipInfo, PurePosixPath]]
) -> Iterator[Member]:
    for info, path in members:
        if info.orig_filename.endswith("/"):
            yield Member(path, 0, None)
        else:
            with container.open(info) as stream:
                yield Member(path, info.file_size, stream)


def _tar_members(tape: tarfile.TarFile, guard: _Guard, archive: Path, limits: Limits) -> Iterator[Member]:
    names = Names(archive, limits)
    while (info := tape.next()) is not None:
        refused = ""
        if info.issym() or info.islnk():
            refused = "is a link"
        elif info.issparse() or not (info.isreg() or info.isdir()):
            refused = "is neither a plain file nor a folder"
        path = names.check(info.name, info.isdir(), refused)
        names.raise_faults()
        assert path is not None
        yield Member(path, info.size, None if info.isdir() else tape.extractfile(info))
        # tarfile remembers every member, which for half a million takes hundreds of megabytes.
        tape.members = []  # type: ignore[attr-defined]
    guard.finish()


class _Guard:
    """A stream that only goes forward, in bounded steps, and counts what it gives.

    A header's text is read into memory as long as the header says it is, and headers can follow each other
    without end; neither shows in the sizes of the members.
    """

    def __init__(self, stream: IO[bytes], budget: Budget) -> None:
        self._stream, self._budget = stream, budget
        self._position, self._last = 0, b""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _READ_BYTES:
            raise tarfile.ReadError("a header of unreasonable length")
        self._last = self._stream.read(size)
        self._position += len(self._last)
        self._budget.spend(len(self._last))
        return self._last

    def finish(self) -> None:
        """Check the end mark, without which tarfile takes a cut for the end, and what checksums follow it."""
        if self._last != bytes(_BLOCK):
            raise tarfile.ReadError("its end is missing")
        while self.read(_READ_BYTES):
            pass

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        if position < self._position:
            raise tarfile.ReadError("members lie over each other")
        while self._position < position and self.read(min(position - self._position, _READ_BYTES)):
            pass
        return self._position

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True
