"""The table of cross-tests: every method on kinds of defect that it was and was not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cadnet.reporting.data import CrossTest, MethodRun, by_method, count_text
from cadnet.reporting.tables import markdown_cell, markdown_table, metric_spread

MERGED = (
    "All defect classes are taken as one against background, because a network trained on one kind can give "
    "what it finds no other name."
)
"""Stated under everything about cross-tests."""
JUDGED = ("acc_defect", "fscore_defect", "escape", "overkill")
"""What a table of cross-tests further holds of the crossed pairs."""


@dataclass(frozen=True)
class Pair:
    """What was trained on and what was tested on, as in ``CrossTest.runs``; ``letters`` such as ``LA``."""

    trained: str
    tested: str
    letters: str

    @property
    def key(self) -> tuple[str, str]:
        """The key of ``CrossTest.runs``."""
        return self.trained, self.tested

    @property
    def crossed(self) -> bool:
        """Whether the kind tested is another than the kind trained on."""
        return self.trained != self.tested


def cross_pairs(cross: CrossTest) -> list[Pair]:
    """The pairs that were run: same kind first, then the crossed ones, in the order of ``short``.

    Raises:
        ValueError: a dataset has no letter, or two have the same.
    """
    if len(set(cross.short.values())) < len(cross.short):
        raise ValueError(f"{cross.title}: two datasets have one letter: {dict(cross.short)}")
    unknown = sorted({name for key in cross.runs for name in key} - set(cross.short))
    if unknown:
        raise ValueError(f"{cross.title}: no letter for {unknown}")
    pairs = [
        Pair(one, other, cross.short[one] + cross.short[other])
        for one in cross.short
        for other in cross.short
    ]
    return sorted((pair for pair in pairs if cross.runs.get(pair.key)), key=lambda pair: pair.crossed)


def cross_methods(cross: CrossTest) -> dict[str, dict[tuple[str, str], list[MethodRun]]]:
    """Runs by title and pair, in the order the titles first appear; errors as :func:`cross_pairs`."""
    found: dict[str, dict[tuple[str, str], list[MethodRun]]] = {}
    for pair in cross_pairs(cross):
        for title, group in by_method(cross.runs[pair.key]).items():
            found.setdefault(title, {})[pair.key] = group
    return found


def cross_table(cross: CrossTest, scale: str) -> pd.DataFrame:
    """One row per method, numbers in percent, NaN where there is none.

    Columns: ``method, seeds`` (the fewest of its pairs), ``scale``; per pair such as LL, AA, LA, AL
    ``iou_defect_<pair>`` and ``..._std``, all defect classes being one; per crossed pair further
    ``acc_defect_, fscore_defect_, escape_`` and ``overkill_<pair>``.

    Raises:
        ValueError: no runs, a dataset without a letter of its own, a seed twice.
    """
    pairs, rows = cross_pairs(cross), []
    if not pairs:
        raise ValueError(f"{cross.title}: there are no runs to make a table of")
    for title, groups in cross_methods(cross).items():
        seeds = min(len(group) for group in groups.values())
        row: dict[str, Any] = {"method": title, "seeds": seeds, "scale": scale}
        for pair in pairs:
            ours = metric_spread(groups.get(pair.key, ()), "iou_defect")
            row |= {f"iou_defect_{pair.letters}": ours.mean, f"iou_defect_{pair.letters}_std": ours.std}
        for pair in (pair for pair in pairs if pair.crossed):
            for metric in JUDGED:
                row[f"{metric}_{pair.letters}"] = metric_spread(groups.get(pair.key, ()), metric).mean
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.astype(dict.fromkeys(table.columns[3:], float))


def cross_markdown(cross: CrossTest, scale: str) -> str:
    """Write :func:`cross_table` as GitHub markdown under a title with scale and seeds; errors as there."""
    table, pairs = cross_table(cross, scale), cross_pairs(cross)
    rows = [
        [str(record["method"]), str(record["seeds"]), *_pair_cells(record, pairs)]
        for record in table.to_dict("records")
    ]
    header = ["Method", "Seeds", *(f"IoU {pair.letters}" for pair in pairs)]
    lines = [f"## {cross_title(cross, scale)}", "", *markdown_table(header, rows), "", pair_words(pairs)]
    return "\n".join([*lines, f"Percent, pooled over the test images. {MERGED}", *cross.text]) + "\n"


def cross_title(cross: CrossTest, scale: str, what: str = "") -> str:
    """The title of the cross-tests, or ``what``, with scale and seeds."""
    return f"{what or cross.title} ({scale}; {cross_seeds(cross)})"


def cross_seeds(cross: CrossTest) -> str:
    """Say how many seeds stand behind the numbers, as :func:`~cadnet.reporting.data.seeds_text` does."""
    methods = cross_methods(cross).values()
    return count_text([len(group) for groups in methods for group in groups.values()])


def pair_words(pairs: Sequence[Pair]) -> str:
    """Say what the letters of the pairs mean."""
    said = [f"{pair.letters}: trained on {pair.trained}, tested on {pair.tested}" for pair in pairs]
    return "; ".join(said) + "."


def _pair_cells(record: Mapping[Any, Any], pairs: Sequence[Pair]) -> list[str]:
    names = [f"iou_defect_{pair.letters}" for pair in pairs]
    return [markdown_cell(record[name], record[f"{name}_std"]) for name in names]
