"""Fetching a dataset: download or take a file, verify, unpack, and note the origin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from cadnet.fetching.archives import ArchiveError
from cadnet.fetching.download import Transfer, download
from cadnet.fetching.sources import FetchError, Source, Verified, remember, verify
from cadnet.fetching.unpacking import extract_into, find_root, remove_leftovers
from cadnet.files import atomic_directory, write_json
from cadnet.writing.progress import Progress, open_progress

NOTE = "SOURCE.json"
"""File of a fetched folder that holds its origin."""
_MIB = 2**20


@dataclass(frozen=True)
class Folders:
    """Folders that are written to."""

    data: Path = Path("data")
    """Raw data; versioned by DVC."""
    downloads: Path = Path("downloads")
    """Archives, complete and partial; not versioned."""

    def target(self, name: str) -> Path:
        """Return the folder of a dataset."""
        return self.data / name

    def is_complete(self, name: str) -> bool:
        """Return whether the dataset was fetched."""
        return (self.target(name) / NOTE).is_file()


def fetch(
    name: str,
    source: Source,
    folders: Folders,
    accepted: str,
    *,
    file: Path | None = None,
    transfer: Transfer | None = None,
    shown: bool = False,
    log: Callable[[str], None] | None = None,
) -> Path:
    """Get a dataset into ``folders.data / name``, which appears when it is complete.

    Args:
        name: of the dataset and its folder.
        source: its entry in the list.
        folders: of raw data and downloads.
        accepted: how the licence was accepted, for the note.
        file: archive that was downloaded already; None downloads it, or resumes a download.
        transfer: timeouts and attempts of the download.
        shown: whether progress is shown on stderr.
        log: called with each message.

    Raises:
        FetchError: no connection, HTTP error, wrong size or checksum, an unsafe or another archive, or the
            folder exists. The message ends with how to do it by hand.
        OSError: the disk is full or cannot be written.
    """
    target = folders.target(name)
    require_free(target)
    folders.downloads.mkdir(parents=True, exist_ok=True)
    record = folders.downloads / f"{source.archive}.sha256"
    try:
        with FileLock(folders.downloads / f".{name}.lock", timeout=0):
            remove_leftovers(target)
            if file is not None and not file.is_file():
                raise FetchError(f"{file} does not exist or is no file")
            archive = file or _downloaded(source, folders.downloads, transfer, shown, log)
            try:
                verified = verify(archive, source, record)
                _unpack(name, source, archive, verified, target, accepted, file, shown)
            except (FetchError, ArchiveError) as error:
                if file is not None:
                    raise FetchError(str(error)) from error
                # Renamed, so that the next call does not use it again.
                aside = archive.replace(archive.with_name(f"{archive.name}.refused"))
                raise FetchError(f"{error} (kept as {aside}; the same command downloads it again)") from error
            if verified.basis == "none":
                remember(record, source.archive, verified.sha256)
    except Timeout as error:
        raise FetchError(f"{name} is being fetched by another process; wait for it") from error
    except FetchError as error:
        raise FetchError(f"{error}\n{source.by_hand(name)}") from error
    return target


def require_free(target: Path) -> None:
    """Refuse to overwrite data.

    Raises:
        FetchError: ``target`` exists and is not empty.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FetchError(f"{target} exists and is not empty; move it away or delete it first")


def _downloaded(
    source: Source,
    downloads: Path,
    transfer: Transfer | None,
    shown: bool,
    log: Callable[[str], None] | None,
) -> Path:
    archive = downloads / source.archive
    if archive.is_file():
        return archive
    if source.address is None:
        raise FetchError(f"no address of {source.archive} itself is known")
    with _bytes_shown(shown, f"{source.archive}, MiB") as report:
        download(
            source.address,
            archive,
            size=source.size_bytes,
            checked=source.has_checksum,
            transfer=transfer,
            report=lambda done, total: report(done, total or int(source.approximate_gb * 1e9)),
            log=log,
        )
    return archive


def _unpack(
    name: str,
    source: Source,
    archive: Path,
    verified: Verified,
    target: Path,
    accepted: str,
    file: Path | None,
    shown: bool,
) -> None:
    with atomic_directory(target) as folder:
        with _bytes_shown(shown, f"unpacking {archive.name}, MiB") as report:
            size = archive.stat().st_size
            extract_into(archive, folder, progress=lambda done: report(done, size))
        try:
            root = find_root(folder, source.contains)
        except (FileNotFoundError, ValueError) as error:
            message = str(error).replace(str(folder), str(archive))
            raise FetchError(f"{message}; it is another archive than {source.title}") from error
        write_json(
            folder / NOTE,
            {
                "dataset": name,
                "title": source.title,
                "page": source.page,
                "taken_from": "a file downloaded by hand" if file else source.address,
                "archive": archive.name,
                "bytes": archive.stat().st_size,
                "sha256": verified.sha256,
                "compared_with": verified.basis,
                "root": root.relative_to(folder).as_posix(),
                "licence": source.licence,
                "licence_address": source.licence_address,
                "licence_accepted": accepted,
                "citation": source.citation,
                "fetched_at": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )


@contextmanager
def _bytes_shown(shown: bool, title: str) -> Iterator[Callable[[int, int | None], None]]:
    """Yield a callback (bytes done, total) that opens the progress bar at its first call."""
    with ExitStack() as stack:
        progress: Progress | None = None
        last = 0

        def report(done: int, total: int | None) -> None:
            nonlocal progress, last
            if progress is None:
                # Bytes of earlier calls do not count for the speed.
                last = done // _MIB
                whole = (total or 0) // _MIB
                progress = stack.enter_context(open_progress(shown, whole, last, title))
            elif (now := done // _MIB) != last:
                progress.advance(now - last)
                last = now

        yield report
