"""The numbers the paper printed, in percent, to be set beside ours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources

import pandas as pd

TABLES = ("table3_synlcd", "table4_pcb", "table5_mvtec", "table6_semi_supervised", "table7_ablation")
"""The tables kept under ``published/``; see the README there for their columns."""


def load_published(name: str) -> pd.DataFrame:
    """Read one of :data:`TABLES` as printed.

    Raises:
        ValueError: no such table; the message lists them.
    """
    if name not in TABLES:
        raise ValueError(f"the paper has no table {name!r} here; there are {', '.join(TABLES)}")
    with (resources.files("cadnet.reporting") / "published" / f"{name}.csv").open(
        "r", encoding="utf-8"
    ) as file:
        return pd.read_csv(file)


def published_results(name: str, class_names: Sequence[str]) -> pd.DataFrame:
    """Tables 3-5 indexed by method, with ``iou_<class>`` under our class names.

    ``iou_c1, iou_c2, ...`` of Table 4 are matched to ``class_names`` in order. Those of Table 5 are dropped,
    because the paper prints six of MVTec AD's 15 classes without naming them.

    Raises:
        ValueError: no such table.
    """
    table = load_published(name).set_index("method")
    numbered = [column for column in table if re.fullmatch(r"iou_c\d+", str(column))]
    if name == "table4_pcb" and len(numbered) == len(class_names):
        return table.rename(columns=dict(zip(numbered, (f"iou_{c}" for c in class_names), strict=True)))
    return table.drop(columns=numbered)


def published_name(title: str, methods: Sequence[str]) -> str | None:
    """Return the paper's name of a method: equal but for case, or with a backbone (``SegFormer-B0``)."""
    for name in methods:
        if re.fullmatch(rf"{re.escape(name)}([- ][BRHWDV][-\w]*)?", title, re.IGNORECASE):
            return name
    return None
