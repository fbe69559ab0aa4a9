"""Telling many problems or names in few lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def listed(problems: Sequence[str], limit: int) -> str:
    """Return the first ``limit`` problems a line each, and how many more there are."""
    more = [f"and {len(problems) - limit} more"] if len(problems) > limit else []
    return "\n".join([*problems[:limit], *more])


def shown(names: Iterable[str], limit: int = 5) -> str:
    """Join a few of ``names``, saying how many more there are."""
    ordered = list(names)
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return ", ".join(ordered[:limit]) + more
