"""The list of public datasets, and recognising the published archive of one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field

from cadnet.config import Params
from cadnet.files import write_text

Address = Annotated[str, Field(pattern=r"^https?://\S+$")]
Text = Annotated[str, Field(min_length=1)]


class FetchError(RuntimeError):
    """A dataset cannot be fetched; the message says why and how to get it by hand."""


class Source(Params):
    """One public dataset."""

    title: Text
    about: Text
    licence: Text
    licence_address: Address | None
    citation: Text
    page: Address
    """Web page of the archive."""
    archive: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    """Name of the file."""
    address: Address | None
    """Address of the archive; null when only the page is known."""
    approximate_gb: Annotated[float, Field(gt=0)]
    size_bytes: Annotated[int, Field(gt=0)] | None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None
    manual: Text
    """What to choose on the page."""
    contains: Annotated[tuple[str, ...], Field(min_length=1)]
    """Folders that it holds side by side."""
    unverified: tuple[str, ...]
    """What could not be checked when the entry was written."""

    @property
    def has_checksum(self) -> bool:
        """Whether a checksum is published."""
        return self.sha256 is not None or self.md5 is not None

    def by_hand(self, name: str) -> str:
        """Return how to get dataset ``name`` by hand, as one paragraph."""
        return (
            f"By hand: open {self.page}, get {self.archive} ({self.manual}), then run "
            f"`cadnet fetch-data {name} --accept-licence --file PATH/{self.archive}`"
        )


def load_sources() -> dict[str, Source]:
    """Read ``sources.yaml``; the keys are the datasets' names and folders under ``data``.

    Raises:
        pydantic.ValidationError: the file is wrong, which a test rules out.
    """
    text = resources.files("cadnet.fetching").joinpath("sources.yaml").read_text("utf-8")
    entries = yaml.safe_load(text)
    # Through JSON because strict mode takes a list for a tuple only there.
    return {name: Source.model_validate_json(json.dumps(entry)) for name, entry in entries.items()}


_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class Verified:
    """A verified archive."""

    sha256: str
    basis: str
    """The comparison: "published checksum", "first download" or, for that itself, "none"."""


def verify(archive: Path, source: Source, record: Path) -> Verified:
    """Compare an archive with what is published about it, or else with the first download.

    Args:
        archive: the file.
        source: its entry.
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
    """Record the digest of the first download, in the form `sha256sum --check` reads."""
    write_text(record, f"{sha256}  {archive}\n")


def _digests(path: Path, with_md5: bool) -> tuple[str, str]:
    # In one pass, because reading takes longest. MD5 identifies the file, it is no protection.
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            sha256.update(chunk)
            if with_md5:
                md5.update(chunk)
    return sha256.hexdigest(), md5.hexdigest() if with_md5 else ""
