"""What an archive may hold: names that stay inside the folder, and bounded amounts."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

_DRIVE = re.compile(r"^[A-Za-z]:")
_SHOWN = 5


class ArchiveError(ValueError):
    """An archive cannot be unpacked; the message names it, the reason and the cure."""


@dataclass(frozen=True)
class Limits:
    """Bounds for one archive, held against the bytes really unpacked and not only against its headers."""

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
    """Checks the members' names of one archive, one after the other, and collects what is wrong."""

    archive: Path
    limits: Limits
    faults: list[str] = field(default_factory=list)
    _kinds: dict[str, tuple[str, bool]] = field(default_factory=dict)
    _count: int = 0

    def check(self, name: str, is_folder: bool, refused: str = "") -> PurePosixPath | None:
        """Return the relative path of a member, or None and one fault more.

        Args:
            name: as the archive has it.
            is_folder: whether the member is a folder.
            refused: what else is wrong with the member ("is a symbolic link"); empty if nothing is.
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
                f"archive {self.archive} is not safe to unpack: {shown}; get it anew from its makers"
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
            return f"lies more than {self.limits.depth} folders deep"
        return ""

    def _clash(self, path: PurePosixPath, is_folder: bool) -> str:
        """Equal names overwrite each other; on some systems case and the form of accents do not count."""
        for parent in path.parents[:-1]:
            _, folder = self._kinds.setdefault(_folded(parent), (str(parent), True))
            if not folder:
                return f"lies in {str(parent)!r}, which is a file"
        key, value = _folded(path), (str(path), is_folder)
        known = self._kinds.get(key)
        self._kinds.setdefault(key, value)
        # Folders are often named twice, or once after what lies in them.
        if known is None or (is_folder and known == value):
            return ""
        return f"has the same name as {known[0]!r}"


def _folded(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(path)).casefold())
