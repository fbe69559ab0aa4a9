"""The page of a validation: verdict, checks with the rows that failed, figures and contact sheets."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cadnet.files import write_text
from cadnet.reporting.pages import page_environment

LISTED = 20
"""Rows of one check shown on the page; summary.json has them all."""
_JPEG = (
    cv2.IMWRITE_JPEG_QUALITY, 88,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
)  # fmt: skip
"""The page holds small copies of the sheets: as PNG fifteen would be 20 MB. Thin lines keep their colour."""


@dataclass(frozen=True)
class Row:
    """One row that breaks a rule: a sample id (or split, class, figure), its file if any, the fault."""

    subject: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.subject}{f' ({self.path})' if self.path else ''}: {self.message}"


@dataclass(frozen=True)
class Check:
    """The result of one rule; ``passed`` is None where it could not be checked, ``note`` says why."""

    name: str
    title: str
    passed: bool | None
    rows: tuple[Row, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Sheet:
    """A contact sheet: PNG bytes, its file relative to the page, its title and the rule of what it shows."""

    file: str
    png: bytes
    title: str
    rule: str


@dataclass(frozen=True)
class ValidationPage:
    """The content of the page.

    ``profile``: see :func:`cadnet.validation.profile.build_profile`; empty where nothing could be measured.
    ``comparison``: what it was compared with. ``docs``: link to further pages. ``hint``: what to do next.
    """

    dataset: str
    folder: str
    checks: Sequence[Check]
    warnings: Sequence[Row] = ()
    profile: Mapping[str, Any] = field(default_factory=dict)
    comparison: str = ""
    sheets: Sequence[Sheet] = ()
    docs: str = ""
    hint: str = ""

    @property
    def failed(self) -> list[Check]:
        """The checks that did not pass."""
        return [check for check in self.checks if check.passed is False]

    @property
    def passed(self) -> list[Check]:
        """The checks that passed."""
        return [check for check in self.checks if check.passed]

    @property
    def unchecked(self) -> list[Check]:
        """The checks that could not be made."""
        return [check for check in self.checks if check.passed is None]

    @property
    def figures(self) -> dict[str, list[Mapping[str, float | None] | None]]:
        """By figure its value in each split, None where the split has none."""
        splits = self.profile.get("splits", {}).values()
        names = dict.fromkeys(name for split in splits for name in split["figures"])
        return {name: [split["figures"].get(name) for split in splits] for name in names}

    def summary(self) -> dict[str, Any]:
        """Return the verdict for programs, which does not depend on the version compared with."""
        return {
            "dataset": self.dataset,
            "passed": not self.failed,
            "checks": [
                {
                    "name": check.name,
                    "title": check.title,
                    "passed": check.passed if check.name != "drift" else check.passed is not False,
                    "rows": [asdict(row) for row in check.rows],
                }
                for check in self.checks
            ],
            "warnings": [asdict(row) for row in self.warnings],
            "samples": {name: split["samples"] for name, split in self.profile.get("splits", {}).items()},
        }

    def failure(self, listing: Path) -> str:
        """Return the failed checks as one message, with some twenty of their rows in all.

        Args:
            listing: the file with all rows.
        """
        each = max(3, LISTED // len(self.failed))
        titles = "; ".join(check.title for check in self.failed)
        lines = [
            f"dataset '{self.dataset}' failed {len(self.failed)} of {len(self.checks)} checks ({titles}); "
            f"all rows are in {listing}, with pictures in index.html beside it"
        ]
        for check in self.failed:
            rows = f"{len(check.rows)} row{'' if len(check.rows) == 1 else 's'}"
            lines += [f"{check.title}: {rows}", *(f"  {row}" for row in check.rows[:each])]
            if len(check.rows) > each:
                lines.append(f"  and {len(check.rows) - each} more")
        return "\n".join([*lines, *([self.hint] if self.hint else [])])


def write_validation_page(page: ValidationPage, path: Path | str) -> None:
    """Write the page to ``path`` atomically; it needs no other file and no network to be read."""
    environment = page_environment()
    environment.filters["figure"] = _figure
    environment.filters["small_copy"] = _small_copy
    write_text(path, environment.get_template("validation.html.j2").render(page=page, listed=LISTED))


def _figure(value: float) -> str:
    """Four significant digits with a true minus sign, without exponent where it can be read so."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return text.replace("-", "−")


def _small_copy(png: bytes) -> str:
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    data = cv2.imencode(".jpg", picture, _JPEG)[1].tobytes()
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")
