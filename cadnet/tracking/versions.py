"""Versions of a registered model, their aliases and tags, and how they are addressed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cadnet.tracking.tracker import TrackingError

CHAMPION = "champion"
"""Alias of the version that predicts."""
CHALLENGER = "challenger"
"""Alias of the version that the gate looks at."""
PREVIOUS = "previous"
"""Alias of the version that predicted before; where a rollback goes."""

TAG_STATUS = "validation_status"
"""Tag of a version, with one of the next three."""
PENDING, APPROVED, REJECTED = "pending", "approved", "rejected"
TAG_REASONS = "cadnet.reasons"
TAG_PRODUCT_FINGERPRINT = "cadnet.product_fingerprint"

SCHEME = "models:/"


@dataclass(frozen=True)
class Version:
    """A registered version: ``model`` such as ``cadnet-board``, its number from 1, and its tags.

    ``run_id`` is the run it was registered from; ``fingerprint`` is the same for equal data, parameters, code
    and references.
    """

    model: str
    number: int
    run_id: str
    tags: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """What the version was registered as; "" for one that others made."""
        return self.tags.get(TAG_PRODUCT_FINGERPRINT, "")

    @property
    def status(self) -> str:
        """pending, approved or rejected; "" for a version that others made."""
        return self.tags.get(TAG_STATUS, "")

    @property
    def address(self) -> str:
        """What :func:`address_parts` reads."""
        return f"{SCHEME}{self.model}/{self.number}"

    def __str__(self) -> str:
        return f"{self.model} version {self.number}"


def model_name(product: str) -> str:
    """Name of a product's registered model."""
    return f"cadnet-{product}"


def address_parts(uri: str) -> tuple[str, str, str]:
    """Return name, "@" or "/", and alias or number of a model's address.

    Raises:
        TrackingError: it is none.
    """
    rest = uri.removeprefix(SCHEME)
    for sign in "@/":
        name, found, wanted = rest.partition(sign)
        if found and name and wanted and uri.startswith(SCHEME):
            return name, sign, wanted
    raise TrackingError(
        f"{uri!r} is no address of a model; write models:/<name>@<alias> or models:/<name>/<number>, "
        "for example models:/cadnet-board@champion"
    )
