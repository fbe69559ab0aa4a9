"""Comparisons: what is claimed, from how many seeds and which interval, and against whom."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from fakes import TITLES, given

from cadnet.evaluation.bootstrap import paired_bootstrap
from cadnet.reporting.differences import Condition, best_other, compared, decide, differences, headline
from cadnet.reporting.pages import Headline
from cadnet.reporting.results import ScoredTrial, spread, values_of


def trials_of(*seeds: tuple[float, float], third: float = 5.0, wave: float = 0.0) -> list[ScoredTrial]:
    """CADNet and SegFormer with one pair of mIoUs (%) per seed, and a third method."""
    rows = [given("cadnet", s, a, wave=wave) for s, (a, _) in enumerate(seeds)]
    rows += [given("segformer", s, b) for s, (_, b) in enumerate(seeds)]
    return rows + [given("fcn", s, third) for s in range(len(seeds))]


def judged(trials: Sequence[ScoredTrial], metric: str = "miou") -> Headline:
    """The headline about CADNet."""
    table = compared(differences(trials, "cadnet"), "cadnet", best_other(trials, "cadnet"), metric)
    value = spread(values_of(trials, "cadnet", metric).values()).mean
    others = [method for method in table.index if method != "cadnet"]
    return headline("cadnet", [Condition("", table, value, others)], TITLES, "mIoU")


@pytest.mark.parametrize(
    ("gaps", "low", "high", "verdict"),
    [
        ((1, 2, 3), 0.1, 4, "ahead"),
        ((-1, -2, -3), -4, -0.1, "behind"),
        ((1, 2), 0.1, 4, "open"),
        ((1, 2, 0), 0.1, 4, "open"),
        ((1, 2, -1), 0.1, 4, "open"),
        ((1, 2, 3), -0.1, 4, "open"),
        ((-1, -2, 1), -4, -0.1, "open"),
        ((1, 2, 3), -4, -0.1, "open"),
        ((1, 2, 3), None, None, "open"),
    ],
)
def test_a_claim_takes_three_seeds_that_agree_and_an_interval_without_zero(
    gaps: tuple[float, ...], low: float | None, high: float | None, verdict: str
) -> None:
    assert decide(gaps, low, high) == verdict


@pytest.mark.parametrize(
    ("trials", "verdict", "parts"),
    [
        (trials_of((80, 70), (75, 70), (72, 70)), "ahead", ("each of the 2 others", "+5.7 points", "3 of 3")),
        (trials_of((60, 70), (65, 70), (69, 70)), "behind", ("behind SegFormer", "−5.3 points", "0 of 3")),
        (trials_of((80, 70), (75, 70), (69, 70)), "open", ("No claim", "2 of 3", "changes with the seed")),
        (trials_of((72, 70), (72, 70), (72, 70), wave=15), "open", ("+2.0 points", "contains 0")),
        (trials_of((90, 10), (90, 10)), "open", ("+80.0 points", "A claim takes 3 seeds")),
        (trials_of((90, 10)), "open", ("1 of 1 seed.", "A claim takes 3 seeds")),
        (trials_of((60, 50), (60, 50), (60, 50), third=70), "behind", ("behind FCN",)),
    ],
)
def test_headlines_state_verdict_difference_and_evidence(
    trials: list[ScoredTrial], verdict: str, parts: tuple[str, ...]
) -> None:
    found = judged(trials)
    assert found.verdict == verdict
    assert all(part in found.text for part in parts), found.text


def test_numbers_are_those_of_the_paired_bootstrap() -> None:
    trials = trials_of((80, 70), (75, 70), (72, 70), wave=10)
    row = differences(trials, "cadnet").set_index(["other", "metric"]).loc[("segformer", "miou")]
    ours, theirs = ([t.counts for t in trials if t.method == m] for m in ("cadnet", "segformer"))
    drawn = paired_bootstrap(ours, theirs, ("line", "abpt")).difference("miou")
    assert drawn.interval is not None
    assert row["difference"] == pytest.approx(100 * drawn.observed) == pytest.approx(17 / 3)
    assert (row["low"], row["high"]) == (100 * drawn.interval.low, 100 * drawn.interval.high)
    assert row["better"] == 100 * drawn.interval.wins
    assert (row["common_seeds"], row["seeds_ahead"]) == (3, 3)
    assert (row["least"], row["most"]) == (pytest.approx(2), pytest.approx(10))
    assert (row["images"], row["groups"]) == (12, 0) and np.isnan(row["group_low"])


def test_only_common_seeds_are_paired() -> None:
    trials = [given("cadnet", 0, 80), given("cadnet", 2, 70), given("fcn", 2, 60), given("fcn", 5, 10)]
    row = differences(trials, "cadnet").set_index("metric").loc["miou"]
    assert row["common_seeds"] == 1 and row["most"] == pytest.approx(10)


def test_of_escape_and_overkill_less_is_better() -> None:
    trials = [given("cadnet", s, 50) for s in range(3)] + [given("fcn", s, 0) for s in range(3)]
    row = differences(trials, "cadnet").set_index("metric").loc["escape"]
    assert row["difference"] == pytest.approx(-100)
    assert (row["seeds_ahead"], row["verdict"]) == (3, "ahead")


def test_the_wider_of_two_intervals_decides() -> None:
    turns = [f"board {i % 2}" for i in range(12)]
    trials = [dataclasses.replace(t, groups=turns) for t in trials_of(*[(80, 70)] * 3, wave=5)]
    row = differences(trials, "cadnet").iloc[0]
    assert (row["groups"], row["low"], row["high"]) == (2, row["group_low"], row["group_high"])
    assert row["high"] - row["low"] > row["image_high"] - row["image_low"]
    halves = ["p"] * 6 + ["q"] * 6
    trials = [dataclasses.replace(t, groups=halves) for t in trials]
    row = differences(trials, "cadnet").iloc[0]
    # Each half has the same mean, so its interval is nothing.
    assert (row["low"], row["high"]) == (row["image_low"], row["image_high"])


def test_all_classes_as_one_can_be_compared() -> None:
    trials = [given(m, s, v) for m, v in (("cadnet", (80, 60)), ("fcn", (10, 10))) for s in range(3)]
    (row,) = differences(trials, "cadnet", merged=True).to_dict("records")
    assert (row["metric"], row["difference"], row["verdict"]) == ("iou_defect", pytest.approx(60), "ahead")


def test_others_are_compared_with_the_reference_and_that_with_the_best_other() -> None:
    trials = trials_of((80, 70), (75, 70), (72, 70), wave=10)
    found = differences(trials, "cadnet")
    table = compared(found, "cadnet", "segformer", "miou")
    ours, theirs = table.loc["cadnet"], table.loc["segformer"]
    assert (ours["other"], theirs["other"], table.loc["fcn", "other"]) == ("segformer", "cadnet", "cadnet")
    assert (theirs["difference"], theirs["low"], theirs["high"]) == (
        -ours["difference"],
        -ours["high"],
        -ours["low"],
    )
    assert (ours["seeds_ahead"], theirs["seeds_ahead"]) == (3, 0)
    assert (ours["verdict"], theirs["verdict"]) == ("ahead", "behind")


def test_the_best_other_is_chosen_by_validation_where_it_is_known_of_all() -> None:
    known = [given("cadnet", 0, 80, 80), given("segformer", 0, 60, 50), given("fcn", 0, 50, 60)]
    assert best_other(known, "cadnet") == "fcn"
    assert best_other(known, "cadnet", exclude=("fcn",)) == "segformer"
    assert best_other(known, "cadnet", "iou_defect") == "segformer"
    partly = [*known[:2], given("fcn", 0, 50)]
    assert best_other(partly, "cadnet") == "segformer"
    assert best_other(known[:1], "cadnet") is None
    assert best_other(known[1:], "cadnet") is None
    assert differences(known[1:], "cadnet").empty


def test_several_conditions_make_one_headline() -> None:
    conditions = []
    for where, seeds in (("0 %", [(80, 70)] * 3), ("5 %", [(80, 70)]), ("10 %", [(60, 70)] * 3)):
        trials = trials_of(*seeds)
        table = compared(differences(trials, "cadnet"), "cadnet", "segformer", "miou")
        conditions.append(Condition(where, table, seeds[0][0], ["segformer", "fcn"]))
    found = headline("cadnet", conditions, TITLES, "IoU")
    assert found.verdict == "behind"
    assert "ahead of every other method at 0 % (80.0 %)" in found.text
    assert "open at 5 % (80.0 %)" in found.text and "10 % (behind SegFormer)" in found.text
    assert headline("cadnet", conditions[:1], TITLES, "IoU").verdict == "ahead"
    assert headline("cadnet", [], TITLES, "IoU").verdict == "alone"
    # A combined method is no rival: that it is ahead changes nothing.
    combined = dataclasses.replace(conditions[2], rivals=["fcn"])
    assert combined.verdict == "ahead"


def test_methods_that_scored_different_images_are_refused() -> None:
    odd = given("fcn", 0, 50)
    moved = dataclasses.replace(odd.counts, index=odd.counts.index + 1)
    with pytest.raises(ValueError, match="different images"):
        differences([given("cadnet", 0, 50), dataclasses.replace(odd, counts=moved)], "cadnet")
