"""Our settings beside the paper's own statements, which are silent about many."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import resources
from typing import Any

import yaml

from cadnet.reporting.pages import Block, Cell, Fold, Row, Table

SILENT = "not stated"


@dataclass(frozen=True)
class Setting:
    """One setting. ``paper``: what the paper says, or :data:`SILENT`; ``agrees``: None where it is silent.

    ``methods``: whose it is, by title; none where it is everybody's.
    """

    title: str
    ours: str
    paper: str
    agrees: bool | None
    methods: tuple[str, ...] = ()

    def __str__(self) -> str:
        whose = f", {', '.join(self.methods)}" if self.methods else ""
        return f"{self.title}{whose}: {self.ours} (paper: {self.paper})"


def load_statements() -> list[dict[str, Any]]:
    """Read the paper's statements; their keys are explained at the head of the file."""
    path = resources.files("cadnet.reporting") / "published" / "settings.yaml"
    found: list[dict[str, Any]] = yaml.safe_load(path.read_text("utf-8"))
    return found


def compare_settings(
    facts: Mapping[str, Any], about: Collection[str], titles: Mapping[str, str]
) -> list[Setting]:
    """Compare with the paper's statements, in their order; what has no statement is left out.

    What the paper is silent about and what is off here is left out, too.

    Args:
        facts: nested: ``data, pairs, train, loss, methods, semi``, methods by id.
        about: what the statements may be of: the dataset's preparer, ``main`` or ``few-label``.
        titles: of the methods, by id.
    """
    statements = load_statements()
    found: dict[Setting, tuple[int, list[str]]] = {}
    for key, value in flatten(facts):
        number = statement_of(key, about, statements)
        if number is None:
            continue
        one = statements[number]
        agrees = _agrees(value, one)
        if agrees is None and not value and "unset" not in one:
            continue
        parts = key.split(".")
        option = f" ({parts[-1]})" if one["key"].endswith(".*") else ""
        setting = Setting(one["setting"] + option, _text(value) or one["unset"], _says(one), agrees)
        methods = [titles.get(parts[1], parts[1])] if parts[0] == "methods" else []
        found.setdefault(setting, (number, []))[1].extend(methods)
    ordered = sorted(found.items(), key=lambda item: item[1][0])
    return [
        Setting(one.title, one.ours, one.paper, one.agrees, tuple(methods)) for one, (_, methods) in ordered
    ]


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values of nested mappings by dotted key; a range stays one value."""
    for key, value in values.items():
        if isinstance(value, Mapping) and "low" not in value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def statement_of(key: str, about: Collection[str], statements: Sequence[Mapping[str, Any]]) -> int | None:
    """The number of the first statement on ``key``; None where there is none."""
    parts = key.split(".")
    for number, one in enumerate(statements):
        wanted = one["key"].split(".")
        fits = len(wanted) == len(parts) and all(map(fnmatchcase, parts, wanted))
        if fits and ("of" not in one or one["of"] in about):
            return number
    return None


def _agrees(value: Any, statement: Mapping[str, Any]) -> bool | None:
    if "between" in statement:
        low, high = statement["between"]
        return bool(low <= value <= high)
    said = statement["paper"]
    if said is None:
        return None
    if isinstance(said, Mapping):
        return all(math.isclose(value[name], number) for name, number in said.items())
    if isinstance(said, float) or isinstance(value, float):
        return math.isclose(value, said, rel_tol=statement.get("within", 1e-9))
    return bool((list(value) if isinstance(value, tuple) else value) == said)


def _says(statement: Mapping[str, Any]) -> str:
    between = statement.get("between")
    said = " to ".join(map(str, between)) if between else _text(statement["paper"]) or SILENT
    return f"{said}; {statement['note']}" if "note" in statement else said


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        step = f" by {value['step']:g}" if "step" in value else ""
        return f"{value['low']:g} to {value['high']:g}{step}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


STATED, UNSTATED = "Other than the paper states", "Chosen here, for the paper does not state it"


def _shown(settings: Sequence[Setting]) -> dict[str, list[Setting]]:
    """What is worth showing, by heading."""
    parts = {STATED: False, UNSTATED: None}
    found = {title: [one for one in settings if one.agrees is agrees] for title, agrees in parts.items()}
    return {title: rows for title, rows in found.items() if rows}


def settings_notes(settings: Sequence[Setting]) -> list[str]:
    """The same as :func:`settings_block` in markdown, a list under each heading."""
    return [
        "\n".join([f"{title}:\n", *(f"- {one}" for one in rows)]) for title, rows in _shown(settings).items()
    ]


def settings_block(settings: Sequence[Setting]) -> list[Block]:
    """What differs from the paper's statements, and what is chosen where it is silent, folded away."""
    tables = []
    for title, rows in _shown(settings).items():
        cells = [
            Row(one.title, [Cell(", ".join(one.methods)), Cell(one.ours), Cell(one.paper)]) for one in rows
        ]
        tables.append(Table(title, ["Methods", "Here", "Paper"], cells, "Setting", texts=True, dense=True))
    return [Fold("Settings beside the paper's", tables)] if tables else []
