from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from cadnet.config import SplitParams
from cadnet.writing.splits import draw_splits, read_splits
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


class TestDrawing:
    def test_totals_and_strata(self) -> None:
        items = {f"{s}{i}": s for s, n in (("a", 50), ("b", 33), ("c", 17)) for i in range(n)}
        drawn = draw_splits(items, SplitParams(train_fraction=0.7, val_fraction=0.1))
        # 70 for training, of which 7 for validation; strata by largest remainders: 35, 23.1 and 11.9.
        assert Counter(drawn.values()) == {"train": 63, "val": 7, "test": 30}
        test = Counter(items[name] for name, split in drawn.items() if split == "test")
        assert test == {"a": 15, "b": 10, "c": 5}

    def test_decimal_fractions_are_not_rounded_down(self) -> None:
        drawn = draw_splits({str(i): "s" for i in range(10)}, SplitParams(val_fraction=0))
        assert Counter(drawn.values()) == {"train": 7, "test": 3}

    def test_only_names_and_seed_decide(self) -> None:
        items = {f"i{i}": "s" for i in range(40)}
        backwards = dict(reversed(items.items()))
        assert draw_splits(items, SplitParams()) == draw_splits(backwards, SplitParams())
        assert draw_splits(items, SplitParams()) != draw_splits(items, SplitParams(seed=1))

    def test_extremes(self) -> None:
        items = {"x": "s", "y": "s"}
        assert set(draw_splits(items, SplitParams(train_fraction=1, val_fraction=1)).values()) == {"val"}
        assert set(draw_splits(items, SplitParams(train_fraction=0)).values()) == {"test"}
        assert draw_splits({}, SplitParams()) == {}
