"""The verdict: what is claimed, from how many seeds and which interval, and against whom."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from report_fakes import CLASSES, MVTEC, fake_comparison, fake_runs

from cadnet.evaluation.counts import Counts
from cadnet.evaluation.result import evaluation_result
from cadnet.reporting.claims import seed_gaps
from cadnet.reporting.comparison import choose_rival, compare_methods, interval_table
from cadnet.reporting.data import Comparison, MethodRun, by_method
from cadnet.reporting.verdict import Verdict, verdict

IMAGES = 12


def counts_of(line: float, spread: float = 0.0) -> Counts:
    """IoU of both classes is ``line`` % on the mean, ``spread`` more and less by turns."""
    values = np.full(IMAGES, line) + spread * np.where(np.arange(IMAGES) % 2 == 0, 1, -1)
    found = np.round(100 * values).astype(np.int64)
    confusion = np.zeros((IMAGES, 3, 3), np.int64)
    confusion[:, 0, 0] = 80_000
    for k in (1, 2):
        confusion[:, k, k], confusion[:, k, 0] = found, 10_000 - found
    return Counts(np.arange(IMAGES), confusion, np.zeros((2, 2, 0), np.int64))


def run_with(title: str, seed: int, counts: Counts, validation: float | None = None) -> MethodRun:
    history = None
    if validation is not None:
        history = pd.DataFrame({"epoch": [1, 2, 3], "val_miou": [np.nan, validation, validation - 0.1]})
    return MethodRun(title, seed, evaluation_result(counts, CLASSES), history=history)


def judged(
    *seeds: tuple[float, float], third: float = 5.0, spread: float = 0.0, groups: list[str] | None = None
) -> Verdict:
    """CADNet against SegFormer, one pair of mIoUs (%) per seed, and a third method, on twelve images."""
    counts = [(("CADNet", s), counts_of(a, spread)) for s, (a, _) in enumerate(seeds)]
    counts += [(("SegFormer", s), counts_of(b, 0)) for s, (_, b) in enumerate(seeds)]
    counts += [(("FCN", s), counts_of(third)) for s in range(len(seeds))]
    runs = [run_with(*name, part) for name, part in counts]
    compared = compare_methods(runs, [part for _, part in counts], groups, group_title="board")
    return verdict(runs, comparison=compared)


def test_a_win_needs_all_seeds_and_the_interval() -> None:
    won = judged((80, 70), (75, 70), (72, 70))
    assert won.outcome == "wins"
    assert won.headline == (
        "CADNet is better than SegFormer by 5.7 points of mIoU, 95\u00a0% interval 5.7 to 5.7, 3 seeds."
    )
    said = " ".join(won.sentences)
    assert "ahead on 3 of 3 common seeds (differences +2.0 to +10.0 points)" in said
    assert (
        "2,000 paired resamples of the 12 test images, and CADNet is better in 100.0\u00a0% of them" in said
    )


def test_a_loss_is_said_as_plainly() -> None:
    lost = judged((60, 70), (65, 70), (69, 70))
    assert lost.outcome == "loses"
    assert lost.headline.startswith(
        "CADNet is worse than SegFormer by 5.3 points of mIoU, 95\u00a0% interval \u22125.3"
    )


def test_nothing_is_claimed_when_seeds_disagree() -> None:
    mixed = judged((80, 70), (75, 70), (69, 70))
    assert mixed.outcome == "open"
    assert mixed.headline.startswith("No claim: CADNet is 4.7 points of mIoU ahead of SegFormer (95")
    assert "The order changes with the seed" in " ".join(mixed.sentences)


def test_nothing_is_claimed_when_the_interval_contains_zero() -> None:
    wide = judged((72, 70), (72, 70), (72, 70), spread=15)
    assert wide.outcome == "open"
    assert wide.headline.startswith("No claim: CADNet is 2.0 points of mIoU ahead of SegFormer")
    assert "It contains 0: these images do not tell which of the two is better." in " ".join(wide.sentences)


def test_nothing_is_claimed_of_few_seeds() -> None:
    few = judged((90, 10), (90, 10))
    assert few.outcome == "open"
    assert few.headline.endswith("(95\u00a0% interval 80.0 to 80.0, 2 seeds).")
    assert "2 seeds in common: too few for a claim" in " ".join(few.sentences)
    assert judged((90, 10)).headline.endswith("one seed).")


def test_nothing_is_claimed_without_an_interval() -> None:
    runs = [run_with(title, s, counts_of(v)) for title, v in (("CADNet", 80), ("FCN", 20)) for s in range(3)]
    plain = verdict(runs)
    assert plain.outcome == "open"
    assert "No interval over the test images was computed" in " ".join(plain.sentences)


def test_who_is_ahead_on_the_test_images_is_not_passed_over() -> None:
    runs, counts = [], []
    for title, value, validation in (("CADNet", 60, 0.5), ("SegFormer", 50, 0.9), ("FCN", 70, 0.4)):
        for seed in range(3):
            counts.append(counts_of(value))
            runs.append(run_with(title, seed, counts[-1], validation))
    said = verdict(runs, comparison=compare_methods(runs, counts))
    assert said.outcome == "open"
    assert "SegFormer is the best other method by validation mIoU" in " ".join(said.sentences)
    assert "On the test images FCN is 10.0 points ahead of CADNet." in said.sentences


def test_the_rival_is_chosen_by_validation_where_it_is_known_of_all() -> None:
    known = [
        run_with("CADNet", 0, counts_of(80), 0.8),
        run_with("SegFormer", 0, counts_of(60), 0.5),
        run_with("FCN", 0, counts_of(50), 0.6),
    ]
    assert choose_rival(by_method(known)) == ("FCN", "validation")
    partly = [*known[:2], dataclasses.replace(known[2], history=None)]
    assert choose_rival(by_method(partly)) == ("SegFormer", "test")
    said = verdict(partly, comparison=compare_methods(partly, [counts_of(v) for v in (80, 60, 50)]))
    assert "that choice favours SegFormer, so the comparison is conservative" in " ".join(said.sentences)
    assert choose_rival(by_method(known[:2])) == ("SegFormer", "only")
    assert choose_rival(by_method(known[:1])) is None
    assert choose_rival(by_method(known[1:])) is None


def test_which_units_were_drawn_is_said() -> None:
    halves = ["p"] * (IMAGES // 2) + ["q"] * (IMAGES // 2)
    seeds = [(80, 70)] * 3
    both = " ".join(judged(*seeds, spread=5, groups=halves).sentences)
    assert (
        "resamples of the 12 test images" in both
    )  # each half has the same mean, so its interval is nothing
    assert "Resampling the 2 boards instead gives 10.0 to 10.0; the wider interval decides." in both
    assert "2 boards are few" in both
    turns = [f"b{i % 2}" for i in range(IMAGES)]
    by_board = judged(*seeds, spread=5, groups=turns)
    assert "resamples of the 2 boards, and" in " ".join(by_board.sentences)
    assert "interval 5.0 to 15.0" in by_board.headline
    alone = " ".join(judged(*seeds, groups=["p"] * IMAGES).sentences)
    assert "They are all of one board: of another one this says nothing." in alone


def test_groups_enough_for_an_interval_are_drawn_alone() -> None:
    comparison = fake_comparison(fake_runs(3, ("CADNet", "SegFormer")))
    assert comparison is not None
    only = {
        name: dataclasses.replace(one, by_image=None)
        for name, one in ((d.metric, d) for d in comparison.bootstrap.differences)
    }
    drawn = dataclasses.replace(comparison.bootstrap, differences=tuple(only.values()))
    said = verdict(fake_runs(3), comparison=dataclasses.replace(comparison, bootstrap=drawn))
    assert "of the 3 display patterns that the 60 test images come from" in " ".join(said.sentences)


def test_one_method_alone_is_not_judged() -> None:
    run = run_with("CADNet", 0, counts_of(80))
    assert verdict([run]).outcome == "alone"
    assert "there is nothing to compare CADNet with" in verdict([run]).headline
    assert compare_methods([run], [counts_of(80)]) is None
    with pytest.raises(ValueError, match="no runs to judge"):
        verdict([])


def test_gaps_pair_equal_seeds() -> None:
    one = [run_with("CADNet", 0, counts_of(80)), run_with("CADNet", 2, counts_of(70))]
    other = [run_with("FCN", 2, counts_of(60)), run_with("FCN", 5, counts_of(10))]
    assert seed_gaps(one, other, "miou") == pytest.approx([10])


def test_many_classes_are_counted_not_listed() -> None:
    said = verdict(fake_runs(1, ("CADNet", "SegFormer"), MVTEC)).sentences[-1]
    assert "CADNet has the highest IoU in" in said and "of 15 classes" in said
    assert "IoU bottle" not in said and len(said) < 300


def test_a_shared_lead_is_nobodys() -> None:
    runs = [run_with(title, 0, counts_of(50)) for title in ("CADNet", "FCN")]
    assert "IoU line: shared (50.0" in verdict(runs).sentences[-1]


def test_the_table_of_intervals_holds_percent_and_points() -> None:
    runs = fake_runs(2)
    comparison = fake_comparison(runs)
    assert isinstance(comparison, Comparison)
    table = interval_table(comparison)
    assert table["metric"].tolist() == ["mIoU", "IoU line", "IoU abpt", "escape", "overkill", "mIoU"]
    assert table["other"].tolist() == ["SegFormer"] * 5 + ["DeepLabV3+"]
    first = table.iloc[0]
    assert first["difference"] == pytest.approx(first["value"] - first["other_value"])
    assert first["value"] == pytest.approx(np.mean([100 * run.result.metrics.miou for run in runs[:2]]))
    wide = max((first["image_high"] - first["image_low"]), (first["group_high"] - first["group_low"]))
    assert first["high"] - first["low"] == pytest.approx(wide)
    assert 0 <= first["better"] <= 100
    with pytest.raises(ValueError, match="1 counts were given for 6 runs"):
        compare_methods(runs, [counts_of(5)])
