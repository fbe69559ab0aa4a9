"""Everything that is wrong with a product folder, reported together."""

from __future__ import annotations

from pathlib import Path

from cadnet.writing.problems import listed
from cadnet.writing.units import PreparationError

LISTED = 100
"""Problems shown in an error's message."""


class Problems:
    """Collects sentences that name a file, what is wrong with it and the cure."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[str, None] = {}

    def add(self, problem: str) -> None:
        """Note one problem; a repeated one counts once."""
        self._found[problem] = None

    def __bool__(self) -> bool:
        return bool(self._found)

    def raise_all(self) -> None:
        """Report all problems together.

        Raises:
            PreparationError: there are some.
        """
        if not self._found:
            return
        found = list(self._found)
        count = f"{len(found)} problem{'s' if len(found) > 1 else ''}"
        raise PreparationError(
            f"{count} in the product folder {self._root}; correct and run again:\n" + listed(found, LISTED)
        )
