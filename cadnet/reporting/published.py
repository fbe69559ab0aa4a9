"""The numbers that the paper printed, in percent, to be set beside ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import resources

import pandas as pd

TABLES = ("table3_synlcd", "table4_pcb", "table5_mvtec", "table6_semi_supervised", "table7_ablation")
"""The tables kept under ``published/``; see the README there for their columns."""
PAPER_NAMES = {
    "cadnet": "CADNet", "cadnet-few": "CADNet", "segformer": "SegFormer", "deeplabv3plus": "DeepLabV3+",
    "ocrnet": "OCRNet", "danet": "DANet", "pspnet": "PSPNet", "fcn": "FCN",
    "dct": "DCT", "uamt": "UAMT", "cps": "CPS", "ucc": "UCC", "uaps": "UAPS",
}  # fmt: skip
"""How the paper writes the methods that it has, by id in the parameters."""


def load_published(name: str) -> pd.DataFrame:
    """Read one of :data:`TABLES` as printed.

    Raises:
        ValueError: no such table; the message lists them.
    """
    if name not in TABLES:
        raise ValueError(f"the paper has no table {name!r} here; there are {', '.join(TABLES)}")
    path = resources.files("cadnet.reporting") / "published" / f"{name}.csv"
    with path.open("r", encoding="utf-8") as file:
        return pd.read_csv(file)


def published_results(name: str | None, class_names: Sequence[str], methods: Sequence[str]) -> pd.DataFrame:
    """Tables 3 to 5 indexed by our method ids, with ``iou_<class>`` under our class names.

    ``iou_c1, iou_c2, ...`` of Table 4 are matched to ``class_names`` in order. Those of Table 5 are dropped,
    because the paper prints six of MVTec AD's 15 classes without naming them.

    Args:
        name: of the table; None gives an empty one.
        class_names: the defect classes 1..K.
        methods: ids; what the paper does not have is left out.

    Raises:
        ValueError: no such table.
    """
    if name is None:
        return pd.DataFrame()
    table = load_published(name)
    numbered = [column for column in table if re.fullmatch(r"iou_c\d+", str(column))]
    if name == "table4_pcb" and len(numbered) == len(class_names):
        table = table.rename(columns=dict(zip(numbered, (f"iou_{c}" for c in class_names), strict=True)))
    else:
        table = table.drop(columns=numbered)
    return _by_id(table, methods)


def published_ablation(methods: Mapping[tuple[bool, bool, bool, bool], str]) -> pd.DataFrame:
    """Table 7 indexed by our method ids, in percent, with ``params_m, gmacs``.

    Args:
        methods: by whether cross-entropy, CL, BCL and the change-aware decoder are on; what the paper has not
            tried is left out.
    """
    table = load_published("table7_ablation")
    flags = table[["cel", "cl", "bcl", "cad"]].astype(bool).itertuples(index=False, name=None)
    table.index = pd.Index([methods.get(row) for row in flags], name="method")
    return table[table.index.notna()].drop(columns=["cel", "cl", "bcl", "cad"])


def published_few_labels(methods: Sequence[str]) -> pd.DataFrame:
    """Table 6 indexed by our method ids: ``iou_<fraction>, fscore_<fraction>``, all in percent."""
    table = load_published("table6_semi_supervised")
    return _by_id(table.rename(columns=lambda name: str(name).replace("miou_", "iou_", 1)), methods)


def _by_id(table: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    known = [method for method in methods if PAPER_NAMES.get(method) in set(table["method"])]
    found = table.set_index("method").loc[[PAPER_NAMES[method] for method in known]]
    return found.set_axis(pd.Index(known, name="method"))
