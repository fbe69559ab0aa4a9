"""The gate's record, its page and its part of the report."""

from __future__ import annotations

import json
from dataclasses import replace

from page_reader import assert_loads_nothing

from cadnet.evaluation.gate import Check, Decision
from cadnet.reporting.gate import Acceptance, Choice, GateRecord, gate_section, render_gate
from cadnet.reporting.pages import Card, Links, Table, Text

PASSED = Check("latency", True, "5.0 ms", "at most 9 ms")
FAILED = Check("clean pair, <noisy>", False, "3 % called defective", "at most 0.2 % of the pixels")


def record(*checks: Check, version: int | None = 4, champion: int | None = 3) -> GateRecord:
    return GateRecord(
        product="screen",
        model="cadnet-screen",
        version=version,
        champion=champion,
        decision=Decision(checks),
        acceptance=Acceptance("kept", "val", "ab" * 32, 60, 40),
        choice=Choice("d/m/s0", "CADNet", "val_miou", {"d/n/s0": 0.1, "d/m/s0": 0.5}, 0.41, "as it was set"),
        scale="test scale",
        device="CPU, 2 threads",
        decided="2026-01-02T03:04:05+00:00",
    )


def test_a_record_comes_back_from_json() -> None:
    before = record(PASSED, FAILED)
    values = json.loads(json.dumps(before.to_dict()))
    assert values["passed"] is False
    assert (
        values["reasons"] == "clean pair, <noisy>: 3 % called defective, wanted at most 0.2 % of the pixels"
    )
    assert GateRecord.from_dict(values) == before


def test_the_headline_says_what_the_line_now_has() -> None:
    assert record(PASSED).headline == "Passed: cadnet-screen version 4 is champion."
    assert record(PASSED, FAILED).headline == (
        "Rejected: cadnet-screen version 4 failed 1 of 2 checks; version 3 stays champion."
    )
    assert record(FAILED, champion=None).headline.endswith("failed 1 of 1 checks; there is no champion.")
    alone = replace(record(PASSED, version=None, champion=None), model=None)
    assert alone.headline == "Passed: screen (not registered) would be champion."
    assert "Held against champion version 3 and limits, on 60 images (40 with defects)" in record().comparison
    assert "limits alone, there being no champion" in alone.comparison
    assert "CPU, 2 threads; 2026-01-02 03:04 UTC." in record().comparison


def test_the_page_holds_every_figure_and_is_escaped() -> None:
    page = render_gate(record(PASSED, FAILED))
    for text in ("5.0 ms", "at most 9 ms", "clean pair, &lt;noisy&gt;", "0.5000", "0.1000", "test scale"):
        assert text in page
    assert "<noisy>" not in page and "<script" not in page
    assert page.index("d/m/s0</th>") < page.index("d/n/s0</th>")
    assert_loads_nothing(page)


def test_the_part_of_the_report_has_a_card_for_each_product() -> None:
    assert gate_section([]) is None
    section = gate_section([record(PASSED, FAILED)])
    assert section is not None
    (card,) = section.blocks
    assert isinstance(card, Card) and card.title == "Gate of screen"
    text, table, links = card.blocks
    assert isinstance(text, Text) and text.lines[0].startswith("Rejected: cadnet-screen version 4")
    assert isinstance(links, Links) and links.links[0].href == "gate/screen/index.html"
    assert isinstance(table, Table)
    assert [row.cells[-1].state for row in table.rows] == ["passed", "failed"]
