"""The list of public datasets."""

from __future__ import annotations

import json
from importlib import resources
from typing import Annotated

import yaml
from pydantic import Field

from cadnet.config import Params

Address = Annotated[str, Field(pattern=r"^https?://\S+$")]
Text = Annotated[str, Field(min_length=1)]


class FetchError(RuntimeError):
    """A dataset cannot be fetched; the message says why and how to get it by hand."""


class Source(Params):
    """What is known about one public dataset."""

    title: Text
    about: Text
    licence: Text
    licence_address: Address | None
    citation: Text
    page: Address
    """Where a person gets the archive."""
    archive: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    """Name of the file."""
    address: Address | None
    """Where the archive itself is; null when only the page is known."""
    approximate_gb: Annotated[float, Field(gt=0)]
    size_bytes: Annotated[int, Field(gt=0)] | None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None
    manual: Text
    """What to look for on the page."""
    contains: Annotated[tuple[str, ...], Field(min_length=1)]
    """Folders that lie side by side in it."""
    unverified: tuple[str, ...]
    """What could not be checked when this was written."""

    @property
    def has_checksum(self) -> bool:
        """Whether the archive can be told from any other."""
        return self.sha256 is not None or self.md5 is not None

    def by_hand(self, name: str) -> str:
        """How a person gets the dataset called ``name``, in one paragraph."""
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
