"""Facts of the datasets on their parameter classes."""

from __future__ import annotations

from importlib.resources import files

import pytest

from cadnet.config import DatasetParams, MvtecAdParams, PairsParams, PkuPcbParams, SynLCDParams
from cadnet.config.datasets import PREPARERS

SYNLCD = SynLCDParams(subset="mixed", patterns="clean")
LINE = SynLCDParams(subset="line")
MURA = SynLCDParams(subset="mura")
PKU = PkuPcbParams(preparer="pku_pcb")
MVTEC = MvtecAdParams(preparer="mvtec_ad")
BOARD = PairsParams(preparer="pairs", raw="data/board")


@pytest.mark.parametrize(
    ("params", "title", "published", "kind", "parts"),
    [
        (SYNLCD, "SynLCD, mixed defects", "table3_synlcd", "mixed", ("display pattern", "subset")),
        (LINE, "SynLCD, line defects", None, "line", ("display pattern", "subset")),
        (MURA, "SynLCD, Mura", None, "mura", ("display pattern", "subset")),
        (PKU, "PKU-Market-PCB", "table4_pcb", "", ("photograph", "board")),
        (MVTEC, "MVTec AD", "table5_mvtec", "", ("photograph", "category")),
        (BOARD, "", None, "", ("group", "product group")),
    ],
)
def test_what_the_report_asks_for(
    params: DatasetParams, title: str, published: str | None, kind: str, parts: tuple[str, str]
) -> None:
    assert (params.title, params.published, params.defect_kind) == (title, published, kind)
    assert (params.group_title, params.subset_title) == parts
    table = files("cadnet.reporting") / "published" / f"{published}.csv"
    assert published is None or table.is_file()


def test_what_products_and_the_flow_ask_for() -> None:
    assert [params.is_cut for params in (SYNLCD, PKU, MVTEC, BOARD)] == [False, True, False, True]
    assert [params.raw for params in (SYNLCD, PKU, BOARD)] == ["clean", "data/pku_pcb", "data/board"]
    assert BOARD.product_alignment == BOARD.alignment
    assert SYNLCD.product_alignment is PKU.product_alignment is None


def test_every_dataset_names_its_preparer() -> None:
    assert PREPARERS == ("synlcd", "pku_pcb", "mvtec_ad", "pairs")
    assert "raw" not in SYNLCD.model_dump() and "title" not in PKU.model_dump()
