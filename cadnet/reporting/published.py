"""The numbers the paper printed, in percent, to be set beside ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
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


def published_ablation(titles: Mapping[tuple[bool, bool, bool, bool], str]) -> pd.DataFrame:
    """Table 7 indexed by our titles, in percent, with ``params_m, gmacs``.

    Args:
        titles: by whether cross-entropy, CL, BCL and the change-aware decoder are on; what the paper has not
            tried is left out.
    """
    table = load_published("table7_ablation")
    flags = table[["cel", "cl", "bcl", "cad"]].astype(bool).itertuples(index=False, name=None)
    table.index = pd.Index([titles.get(row) for row in flags], name="method")
    return table[table.index.notna()].drop(columns=["cel", "cl", "bcl", "cad"])


def published_few_labels() -> pd.DataFrame:
    """Table 6 indexed by method, in percent: ``iou_<share>, fscore_<share>``, shares of labels in percent."""
    table = load_published("table6_semi_supervised").set_index("method")
    return table.rename(columns=lambda name: str(name).replace("miou_", "iou_", 1))


def published_rows(
    published: str | pd.DataFrame | None, titles: Iterable[str], class_names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return what the paper printed of each of our titles, as far as it has them.

    Args:
        published: one of :data:`TABLES`, whose methods are matched by :func:`published_name`, or a frame
            indexed by our own titles.
        titles: methods of ours.
        class_names: see :func:`published_results`.

    Raises:
        ValueError: no such table, or a title twice in the frame.
    """
    if published is None:
        return {}
    if isinstance(published, str):
        table = published_results(published, class_names)
        names = {title: published_name(title, list(table.index)) for title in titles}
    else:
        table, names = published, {title: title if title in published.index else None for title in titles}
    if not table.index.is_unique:
        raise ValueError(f"published numbers have a title twice: {sorted(table.index)}")
    records = table.select_dtypes("number").to_dict("index")
    return {
        title: {str(key): float(value) for key, value in records[name].items() if pd.notna(value)}
        for title, name in names.items()
        if name is not None
    }


def published_name(title: str, methods: Sequence[str]) -> str | None:
    """Return the paper's name of a method: equal but for case, or with a backbone (``SegFormer-B0``)."""
    for name in methods:
        if re.fullmatch(rf"{re.escape(name)}([- ][BRHWDV][-\w]*)?", title, re.IGNORECASE):
            return name
    return None
