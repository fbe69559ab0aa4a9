"""Unpacking archives completely or not at all, and finding the root of what was unpacked."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock

from cadnet.fetching.archives import DAMAGES, ArchiveError, Budget, Limits, Member, open_members
from cadnet.files import atomic_directory, value_digest

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")
"""Suffixes of archives."""
_COPY_BYTES = 2**20
_SPARE_BYTES = 64 * 2**20
_DEPTH = 3
_LISTED = 12


def is_archive(path: Path | str) -> bool:
    """Return whether a path is named like an archive."""
    return str(path).lower().endswith(ARCHIVE_SUFFIXES)


def extract(
    archive: Path | str,
    folder: Path | str,
    limits: Limits | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Unpack a zip or tar archive (plain, gz, xz, bz2) to ``folder``, which is replaced as a whole.

    Args:
        archive: file; its kind follows from its content.
        folder: where to; its parents are made.
        limits: None for the defaults.
        progress: called with the bytes of the archive that are done; the last call has its size.

    Raises:
        FileNotFoundError: no such archive.
        ArchiveError: damaged, encrypted, too large, or a member that may not be unpacked: absolute path,
            "..", backslash, drive letter, link, device, a name that comes twice. ``folder`` is untouched.
        OSError: the disk is full or cannot be written.
    """
    with atomic_directory(folder) as temporary:
        extract_into(archive, temporary, limits, progress)


def extract_into(
    archive: Path | str,
    folder: Path,
    limits: Limits | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Unpack into an empty ``folder`` that the caller throws away on an error; otherwise like `extract`."""
    archive, limits = Path(archive), limits or Limits()
    if not archive.is_file():
        raise FileNotFoundError(f"archive {archive} does not exist")
    budget = Budget(archive, limits)
    try:
        with open_members(archive, limits) as (members, needed, file):
            if needed > limits.total_bytes:
                budget.spend(needed)
            _require_space(archive, folder, needed)
            for member in members:
                _write(member, archive, folder, budget, lambda: progress(file.tell()) if progress else None)
            if progress is not None:
                progress(archive.stat().st_size)
    except ArchiveError:
        raise
    except (*DAMAGES, OSError) as error:
        # Damaged headers raise OSError without a number or with EINVAL; disk errors have others.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise ArchiveError(
            f"archive {archive} is damaged or cut short ({error or type(error).__name__}); get it again"
        ) from error


def _write(
    member: Member, archive: Path, folder: Path, budget: Budget, written_some: Callable[[], None]
) -> None:
    target = folder / member.path
    if member.stream is None:
        target.mkdir(parents=True, exist_ok=True)
        return
    _require_space(archive, folder, member.size)
    target.parent.mkdir(parents=True, exist_ok=True)
    # "x": never through or over an existing file.
    with target.open("xb") as output:
        while data := member.stream.read(_COPY_BYTES):
            budget.spend(len(data))
            output.write(data)
            written_some()
        written = output.tell()
    if written != member.size:
        raise ArchiveError(
            f"archive {archive} is damaged or cut short: {str(member.path)!r} has {written} of {member.size} "
            "bytes; get it again"
        )


def _require_space(archive: Path, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed + _SPARE_BYTES > free:
        raise OSError(
            errno.ENOSPC,
            f"unpacking {archive} needs {needed / 2**30:.2f} GiB more in {folder.parent}, {free / 2**30:.2f} "
            "are free; make room",
        )


def extracted(path: Path | str, cache: Path | str, limits: Limits | None = None) -> Path:
    """Return the folder of raw data of ``path``.

    Args:
        path: a folder, which is returned as it is, or an archive, which is unpacked once.
        cache: where archives are unpacked to, as <name>-<digest of name, size and time of change>.
        limits: None for the defaults.

    Raises:
        FileNotFoundError: no such path.
        ArchiveError: it is neither a folder nor an archive that may be unpacked.
    """
    path, cache = Path(path), Path(cache)
    if path.is_dir():
        return path
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; put the folder, or the archive of it, there")
    status = path.stat()
    digest = value_digest(path.name, status.st_size, status.st_mtime_ns)[:12]
    suffix = next((s for s in ARCHIVE_SUFFIXES if path.name.lower().endswith(s)), path.suffix)
    folder = cache / f"{path.name[: len(path.name) - len(suffix)]}-{digest}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".{folder.name}.lock"):
        # Another process may have unpacked it while this one waited.
        if not folder.is_dir():
            remove_leftovers(folder)
            extract(path, folder, limits)
    return folder


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left beside ``folder`` while filling it; the caller holds its lock."""
    for leftover in folder.parent.glob(f".{_literal(folder.name)}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def _literal(name: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def find_root(folder: Path | str, required: Sequence[str]) -> Path:
    """Return the folder that holds all ``required`` entries: ``folder`` or one at most three levels below.

    Raises:
        FileNotFoundError: there is none; the message lists what was wanted and found.
        ValueError: there are several equally near.
    """
    folder = Path(folder)
    level = [folder]
    for _ in range(_DEPTH + 1):
        found = [path for path in level if all((path / name).exists() for name in required)]
        if len(found) > 1:
            several = ", ".join(str(path) for path in found)
            raise ValueError(
                f"{folder} holds {', '.join(required)} more than once: {several}; keep one of them"
            )
        if found:
            return found[0]
        level = [inner for path in level for inner in sorted(path.iterdir()) if _is_searched(inner)]
    here = sorted(entry.name for entry in folder.iterdir())
    listed = ", ".join(here[:_LISTED]) + (f" and {len(here) - _LISTED} more" if len(here) > _LISTED else "")
    raise FileNotFoundError(
        f"{folder} does not hold {', '.join(required)} side by side, nor does a folder at most {_DEPTH} "
        f"levels below; it holds {listed or 'nothing'}"
    )


def _is_searched(path: Path) -> bool:
    # A Mac's zip files repeat the tree of names under __MACOSX.
    return (
        path.is_dir() and not path.is_symlink() and path.name != "__MACOSX" and not path.name.startswith(".")
    )
