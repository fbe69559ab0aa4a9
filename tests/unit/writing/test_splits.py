from __future__ import annotations

from pathlib import Path

import pytest

from cadnet.writing.splits import read_splits
from cadnet.writing.units import PreparationError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must start with the line pattern,split"),
        ("name,split\n01,train\n", "must start with the line pattern,split"),
        ("pattern,split\n01,train\n02,trian\n", r"line 3: '02,trian'"),
        ("pattern,split\n01,train\n01,test\n", r"line 3: '01,test'; give every pattern once"),
        ("pattern,split\n01\n", r"line 2: '01'"),
    ],
)
def test_wrong_split_lists(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "splits.csv").write_text(text)
    with pytest.raises(PreparationError, match=message):
        read_splits(tmp_path / "splits.csv", "pattern")


def test_missing_split_list(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="git checkout"):
        read_splits(tmp_path / "splits.csv", "pattern")
