"""Classes in splits that are drawn from few labels."""

from __future__ import annotations

from collections import Counter

import numpy as np

from cadnet.config import SplitParams
from cadnet.preparers.pairs.splits import cover_classes
from cadnet.writing.splits import draw_splits


def classes_in(splits: dict[str, str], classes: dict[str, frozenset[int]]) -> set[tuple[str, int]]:
    return {(split, value) for item, split in splits.items() for value in classes[item]}


def test_a_missing_class_is_exchanged_for_an_item_without_any() -> None:
    classes = {
        "a": frozenset({1}),
        "b": frozenset({1}),
        "c": frozenset(),
        "d": frozenset({1}),
        "e": frozenset(),
    }
    drawn = {"a": "train", "b": "train", "c": "val", "d": "test", "e": "train"}
    assert cover_classes(drawn, classes) == {
        "a": "val",
        "b": "train",
        "c": "train",
        "d": "test",
        "e": "train",
    }


def test_a_class_that_is_too_rare_stays_where_it_is() -> None:
    classes = {"a": frozenset({1}), "b": frozenset(), "c": frozenset()}
    drawn = {"a": "train", "b": "val", "c": "test"}
    assert cover_classes(drawn, classes) == drawn


def test_nothing_changes_where_all_classes_are_everywhere() -> None:
    classes = {name: frozenset({1, 2}) for name in "abcdef"}
    drawn = dict(zip("abcdef", ("train", "val", "test") * 2, strict=True))
    assert cover_classes(drawn, classes) == drawn


def test_sizes_stay_no_class_is_lost_and_nearly_all_are_found() -> None:
    draw = np.random.default_rng(0)
    complete = possible = 0
    for _ in range(200):
        count = int(draw.integers(8, 40))
        classes = {
            f"p{number:02d}": frozenset(np.flatnonzero(draw.random(3) < 0.35).tolist())
            for number in range(count)
        }
        strata = {name: str(sorted(held)) for name, held in classes.items()}
        drawn = draw_splits(strata, SplitParams(val_fraction=0.2, seed=int(draw.integers(99))))
        covered = cover_classes(drawn, classes)
        assert Counter(covered.values()) == Counter(drawn.values())
        assert classes_in(covered, classes) >= classes_in(drawn, classes)
        assert covered == cover_classes(drawn, classes)
        often = Counter(value for held in classes.values() for value in held)
        if len(often) == 3 and min(often.values()) >= 5 and Counter(drawn.values())["val"] >= 3:
            possible += 1
            complete += len(classes_in(covered, classes)) == 9
    assert possible > 60 and complete == possible
