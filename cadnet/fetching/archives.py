"""Zip and tar files of unknown origin: safe names, bounded amounts, members as streams."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, cast

_DRIVE = re.compile(r"^[A-Za-z]:")
_SHOWN = 5


class ArchiveError(ValueError):
    """An archive cannot be unpacked; the message names it, the reason and the fix."""


@dataclass(frozen=True)
class Limits:
    """Limits of one archive, applied to the bytes really unpacked, not only to its headers."""

    total_bytes: int = 40 * 2**30
    """Sum of all unpacked files."""
    members: int = 500_000
    """Files and folders."""
    ratio: float = 100.0
    """Unpacked bytes per byte of the archive; photographs stay near 1."""
    ratio_from: int = 64 * 2**20
    """Unpacked bytes up to which any ratio is allowed, so that small archives of flat masks pass."""
    depth: int = 32
    """Folders inside each other."""


@dataclass
class Budget:
    """Counts unpacked bytes of one archive against its limits."""

    archive: Path
    limits: Limits
    spent: int = 0
    _packed: int = field(init=False)

    def __post_init__(self) -> None:
        self._packed = max(self.archive.stat().st_size, 1)

    def spend(self, count: int) -> None:
        """Count ``count`` bytes more.

        Raises:
            ArchiveError: the total or the ratio is above its limit.
        """
        self.spent += count
        limits = self.limits
        if self.spent > limits.total_bytes:
            raise ArchiveError(
                f"archive {self.archive} unpacks to more than {limits.total_bytes / 2**30:.3g} GiB; if you "
                "trust it, unpack it yourself and give the folder"
            )
        if self.spent > limits.ratio_from and self.spent > limits.ratio * self._packed:
            raise ArchiveError(
                f"archive {self.archive} unpacks to more than {limits.ratio:g} times its size, as "
                "decompression bombs do; if you trust it, unpack it yourself and give the folder"
            )


@dataclass
class Names:
    """Checks the members' names of one archive and collects the faults."""

    archive: Path
    limits: Limits
    faults: list[str] = field(default_factory=list)
    _kinds: dict[str, tuple[str, bool]] = field(default_factory=dict)
    _count: int = 0

    def check(self, name: str, is_folder: bool, refused: str = "") -> PurePosixPath | None:
        """Return the relative path of a member, or None after recording a fault.

        Args:
            name: as in the archive.
            is_folder: whether the member is a folder.
            refused: another fault of the member ("is a symbolic link"); empty for none.
        """
        self._count += 1
        if self._count > self.limits.members:
            raise ArchiveError(
                f"archive {self.archive} has more than {self.limits.members} members; if you trust it, "
                "unpack it yourself and give the folder"
            )
        path = PurePosixPath(name)
        fault = refused or self._shape(name, path, is_folder) or self._clash(path, is_folder)
        if fault:
            self.faults.append(f"{name[:200]!r} {fault}")
            return None
        return path

    def raise_faults(self) -> None:
        """Report all collected faults together.

        Raises:
            ArchiveError: there are some.
        """
        if self.faults:
            rest = len(self.faults) - _SHOWN
            shown = "; ".join(self.faults[:_SHOWN]) + (f"; and {rest} more" if rest > 0 else "")
            raise ArchiveError(
                f"archive {self.archive} is not safe to unpack: {shown}; get it again from its makers"
            )

    def _shape(self, name: str, path: PurePosixPath, is_folder: bool) -> str:
        if not path.parts:
            return "" if name and is_folder else "has no name"
        if path.is_absolute() or _DRIVE.match(name):
            return "is an absolute path"
        if ".." in path.parts:
            return "leads out of the folder"
        if "\\" in name:
            return "has a backslash in its name"
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
            return "has control characters or undecodable bytes in its name"
        if len(path.parts) > self.limits.depth:
            return f"is more than {self.limits.depth} folders deep"
        return ""

    def _clash(self, path: PurePosixPath, is_folder: bool) -> str:
        """Refuse equal names; some systems ignore case and the form of accents."""
        for parent in path.parents[:-1]:
            _, folder = self._kinds.setdefault(_folded(parent), (str(parent), True))
            if not folder:
                return f"is in {str(parent)!r}, which is a file"
        key, value = _folded(path), (str(path), is_folder)
        known = self._kinds.get(key)
        self._kinds.setdefault(key, value)
        # Folders are often named twice, or after their content.
        if known is None or (is_folder and known == value):
            return ""
        return f"has the same name as {known[0]!r}"


def _folded(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(path)).casefold())


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
"""Errors of the readers for truncated, damaged or unsupported archives."""
_READ_BYTES = 2**20
_BLOCK = 512
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class Member:
    """One file of an archive; ``stream`` is valid until the next member is asked for."""

    path: PurePosixPath
    size: int
    """Unpacked bytes as the header says, which may be wrong."""
    stream: IO[bytes] | None
    """None for a folder."""


@contextmanager
def open_members(archive: Path, limits: Limits) -> Iterator[tuple[Iterator[Member], int, IO[bytes]]]:
    """Yield the checked members in their order, the least bytes they need unpacked, and the archive's file.

    The kind follows from the first bytes, not from the name.

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
    raise ArchiveError(f"{archive} is no zip or tar archive (it begins with {head[:16]!r}); get it again")


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
        # The original name: zipfile cuts names at a null byte.
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
    """A forward-only stream that reads in bounded steps and counts its bytes.

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
        """Check the end mark, without which a truncated tar looks complete, and trailing checksums."""
        if self._last != bytes(_BLOCK):
            raise tarfile.ReadError("its end is missing")
        while self.read(_READ_BYTES):
            pass

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        if position < self._position:
            raise tarfile.ReadError("members overlap")
        while self._position < position and self.read(min(position - self._position, _READ_BYTES)):
            pass
        return self._position

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True
