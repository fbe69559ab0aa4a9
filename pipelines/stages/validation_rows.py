"""Failed expectations as rows that a user can act on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cadnet.datasets.manifest import DatasetError, open_dataset
from cadnet.reporting.validation import Check, Row


def told(
    frame: pd.DataFrame, numbers: Sequence[int], file: str, columns: Sequence[str], bare: bool
) -> tuple[Row, ...]:
    """The rows ``numbers`` of ``frame`` with the values of ``columns``, after their names unless ``bare``.

    ``file`` is the column that holds the path to show, "" for none.
    """
    rows = []
    for values in frame.set_index("row").loc[list(numbers)].to_dict("records"):
        parts = [_text(values[name]) if bare else f"{name} {_text(values[name])}" for name in columns]
        rows.append(
            Row(str(values["subject"]), str(values[file]) if file in values else "", ", ".join(parts))
        )
    return tuple(rows)


def whole_table(outcome: Any) -> Row:
    """What is wrong with a whole table, of an expectation that names no rows or could not be evaluated."""
    missing = outcome.result.get("details", {}).get("mismatched", {}).get("missing")
    if missing:
        return Row("manifest.csv", "", f"lacks the columns {', '.join(missing)}; prepare the dataset again")
    if outcome.result.get("observed_value") is not None:
        return Row("manifest.csv", "", f"has {outcome.result['observed_value']}")
    return Row("manifest.csv", "", f"could not be checked: {outcome.exception_info}")


def opens(root: Path) -> Check:
    """The contract itself, last: it names only the first thing wrong."""
    title = "Training can open it"
    try:
        open_dataset(root)
    except (DatasetError, OSError) as error:
        return Check("opens", title, False, (Row(root.name, "", str(error)),))
    return Check("opens", title, True)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.10g}"
    return repr(value) if value == "" else str(value)
