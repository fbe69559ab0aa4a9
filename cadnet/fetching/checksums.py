"""Telling the published archive from any other."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cadnet.fetching.sources import FetchError, Source
from cadnet.files import write_text

_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class Verified:
    """An archive that is what it should be."""

    sha256: str
    basis: str
    """What it was compared with: "published checksum", "first download" or, for that itself, "none"."""


def verify(archive: Path, source: Source, record: Path) -> Verified:
    """Compare an archive with what is published about it, or else with the first download.

    Args:
        archive: the file.
        source: what is published.
        record: file of the digest that `remember` wrote.

    Raises:
        FetchError: another size or digest.
        OSError: the archive cannot be read.
    """
    size = archive.stat().st_size
    if source.size_bytes is not None and size != source.size_bytes:
        raise FetchError(
            f"{archive} has {size} bytes where {source.size_bytes} are published; it is another file"
        )
    sha256, md5 = _digests(archive, with_md5=source.md5 is not None)
    for kind, published, found in (("SHA-256", source.sha256, sha256), ("MD5", source.md5, md5)):
        if published is not None and found != published:
            raise FetchError(
                f"{archive} has the {kind} {found}, published is {published}; it is damaged or another file"
            )
    if source.has_checksum:
        return Verified(sha256, "published checksum")
    known = record.read_text("utf-8").split()[:1] if record.is_file() else []
    if known and known != [sha256]:
        raise FetchError(
            f"{archive} has the SHA-256 {sha256}, the first download had {known[0]}; if you trust the "
            f"new one, delete {record}"
        )
    return Verified(sha256, "first download" if known else "none")


def remember(record: Path, archive: str, sha256: str) -> None:
    """Note the digest of the first download, in the form `sha256sum --check` reads."""
    write_text(record, f"{sha256}  {archive}\n")


def _digests(path: Path, with_md5: bool) -> tuple[str, str]:
    # In one pass, because reading takes longer than computing. MD5 only recognises here, it protects nothing.
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            sha256.update(chunk)
            if with_md5:
                md5.update(chunk)
    return sha256.hexdigest(), md5.hexdigest() if with_md5 else ""
