"""The page of a validation."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from cadnet.images import encode_png
from cadnet.validation.page import Check, Row, Sheet, ValidationPage, write_validation_page

PROFILE = {
    "splits": {
        "train": {"samples": 1200, "groups": 6, "figures": {"brightness": {"value": 101.5, "error": 0.25}}},
        "test": {"samples": 30, "groups": 1, "figures": {"residual.q50": {"value": 12345.0, "error": None}}},
    }
}


def written(path: Path, page: ValidationPage) -> str:
    write_validation_page(page, path / "index.html")
    return re.sub(r"\s+", " ", (path / "index.html").read_text("utf-8"))


def test_a_failure_lists_its_rows_first(tmp_path: Path) -> None:
    rows = tuple(Row(f"s{number:02d}", f"images/{number}.png", "is gone") for number in range(23))
    checks = [
        Check("a", "All is well", True),
        Check("b", "Files exist", False, rows),
        Check("c", "Drift", None, note="there is nothing to check"),
    ]
    text = written(tmp_path, ValidationPage("board", "datasets/board", checks, hint="Do this."))
    assert "Failed: 1 of 3 checks." in text
    assert text.index("Files exist") < text.index("All is well")
    assert "<strong>s19</strong> (<code>images/19.png</code>): is gone" in text
    assert "s20" not in text
    assert "and 3 more, all in" in text
    assert "(23 rows)" in text
    assert "there is nothing to check" in text
    assert "Do this." in text


def test_what_passed_shows_figures_sheets_and_warnings(tmp_path: Path) -> None:
    png = encode_png(np.zeros((40, 60, 3), np.uint8))
    page = ValidationPage(
        "board", "datasets/board", [Check("a", "All is well", True)], [Row("s1", "", "is not aligned")],
        PROFILE, "no earlier profile: not compared", [Sheet("sheets/a b.png", png, "hole: 1 of 1", "Rule.")],
        "docs/index.html",
    )  # fmt: skip
    text = written(tmp_path, page)
    assert "Passed all 1 checks that could be made." in text
    assert "train: 1,200 samples of 6 groups; test: 30 samples of 1 group." in text
    assert "101.5 <span" in text and "12,345</td>" in text
    assert "<strong>s1</strong>: is not aligned" in text
    assert 'href="sheets/a%20b.png"' in text
    assert "Version before: no earlier profile: not compared." in text


def test_what_files_are_called_is_no_markup(tmp_path: Path) -> None:
    row = Row("<script>alert(1)</script>", "a&b.png", '"><img src=x>')
    text = written(tmp_path, ValidationPage("x", "y", [Check("a", "<b>", False, (row,))]))
    assert "<script" not in text
    assert "<img" not in text
    assert "a&amp;b.png" in text
