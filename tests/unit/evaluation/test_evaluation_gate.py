"""The gate's decision from counts made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cadnet.config.operate import GateParams
from cadnet.evaluation.counts import Counts
from cadnet.evaluation.gate import Check, Decision, Measured, decide

IMAGES = 40
ROWS = pd.DataFrame({"group": ["a"] * 20 + ["b"] * 20, "has_defect": [1] * IMAGES, "subset": ["x"] * IMAGES})


LIMITS = {"least": 0.0, "escape": 1.0, "overkill": 1.0, "behaviour": {"planted": 0.0}}
"""None on what a test is not about."""


def counts(first: int, second: int | None = None) -> Counts:
    """Images of 100 pixels with 10 of a defect, of which ``first`` are found in group a, ``second`` in b."""
    found = [first] * 20 + [first if second is None else second] * 20
    # A little uneven, so that resamples differ.
    found = [value - (number % 2) for number, value in enumerate(found)]
    confusion = np.array([[[90, 0], [10 - value, value]] for value in found], np.int64)
    return Counts(np.arange(IMAGES), confusion, np.zeros((1, 2, 0), np.int64))


def check(decision: Decision, name: str) -> Check:
    (one,) = [one for one in decision.checks if one.name.startswith(name)]
    return one


def measured(found: Counts, latency_ms: float = 0.0, **more: Any) -> Measured:
    return Measured(found, **{"min_pixels": 1, "planted": None, "latency_ms": latency_ms, **more})


def decided(new: Measured, old: Counts | None, **limits: Any) -> Decision:
    return decide(new, old, ["dent"], ROWS, GateParams.model_validate(LIMITS | limits), [0.05])


def test_the_first_model_needs_no_champion_but_keeps_the_limits() -> None:
    decision = decided(measured(counts(8)), None, least=0.7)
    assert decision.passed and decision.reasons == ""
    assert [one.name for one in decision.checks] == [
        "mIoU on the acceptance set", "defective images judged good (escape)",
        "good images judged defective (overkill)", "planted defects", "latency",
    ]  # fmt: skip
    # 7.5 of 10 pixels on average.
    assert check(decision, "mIoU on").value == "75.00 %"
    refused = decided(measured(counts(8)), None, least=0.8)
    assert not refused.passed
    assert refused.reasons == "mIoU on the acceptance set: 75.00 %, wanted at least 80.00 %"


def test_a_better_challenger_passes_only_beyond_the_margin() -> None:
    new, old = measured(counts(8)), counts(6)
    decision = decided(new, old)
    assert decision.passed
    assert check(decision, "mIoU, challenger").value.startswith("+20.00 points (95 % interval +20.00")
    assert decided(new, old, margin=0.19).passed
    refused = decided(new, old, margin=0.2)
    assert [one.name for one in refused.checks if not one.passed] == ["mIoU, challenger minus champion"]


def test_an_equal_model_does_not_replace_the_champion() -> None:
    decision = decided(measured(counts(8)), counts(8))
    assert not decision.passed and "+0.00 points" in decision.reasons


def test_a_fall_in_one_slice_refuses_a_model_that_is_better_on_the_whole() -> None:
    new, old = measured(counts(10, 5)), counts(6, 6)
    decision = decided(new, old, slice_drop=0.05)
    assert check(decision, "mIoU, challenger").value.startswith("+15.00 points")
    fall = check(decision, "largest fall")
    assert not fall.passed and fall.value == "+10.00 points (group b)"
    assert check(decided(new, old, slice_drop=0.101), "largest fall").passed
    # Slices of few images decide nothing.
    assert check(decided(new, old, slice_images=41), "largest fall").value == "none"


def test_behaviour_export_and_latency_are_conditions_of_their_own() -> None:
    shares = {"identical": 0.0, "brighter": 0.001}
    good = measured(counts(8), 10.0, false_fractions=shares, export_difference=1e-5, planted=0.75)
    behaviour = {"false_fraction": 0.001, "planted": 0.75}
    limits = {"latency_ms": 10.0, "behaviour": behaviour, "export_difference": 1e-5}
    assert decided(good, None, **limits).passed
    for changed, name in (
        ({"latency_ms": 10.1}, "latency"),
        ({"false_fractions": shares | {"identical": 1e-6}}, "clean pair, identical"),
        ({"false_fractions": shares | {"brighter": 0.0011}}, "clean pair, brighter"),
        ({"planted": 0.74}, "planted defects"),
        ({"planted": None}, "planted defects"),
        ({"export_difference": 2e-5}, "exported equals trained"),
    ):
        decision = decided(replace(good, **changed), None, **limits)
        assert [one.name for one in decision.checks if not one.passed] == [name]


def test_models_scored_on_other_images_cannot_be_compared() -> None:
    part = counts(8).subset(np.arange(10))
    with pytest.raises(ValueError, match="scored on different images"):
        decided(measured(counts(8)), part)


def test_a_blind_network_and_one_that_marks_all_are_refused_by_the_defaults() -> None:
    def refused(marked: int, planted: float) -> list[str]:
        """Checks that fail where ``marked`` of each image's 100 pixels are classified, of 10 a defect."""
        bad = [[90 - max(0, marked - 10), max(0, marked - 10)], [10 - min(10, marked), min(10, marked)]]
        good = [[100 - marked, marked], [0, 0]]
        confusion = np.array([bad] * 20 + [good] * 20, np.int64)
        found = Counts(np.arange(IMAGES), confusion, np.zeros((1, 2, 0), np.int64))
        decision = decide(measured(found, planted=planted), None, ["dent"], ROWS, GateParams())
        return [one.name for one in decision.checks if not one.passed]

    assert refused(0, 0.0) == [
        "mIoU on the acceptance set", "defective images judged good (escape)", "planted defects",
    ]  # fmt: skip
    assert "good images judged defective (overkill)" in refused(100, 1.0)


def test_escape_and_overkill_are_those_of_the_products_own_least_area() -> None:
    few, many = [[99, 1], [0, 0]], [[96, 4], [0, 0]]
    hit = [[90, 0], [2, 8]]
    confusion = np.array([hit] * 20 + [few] * 18 + [many] * 2, np.int64)
    found = Counts(np.arange(IMAGES), confusion, np.zeros((1, 2, 0), np.int64))
    rates = {
        area: [check(decided(measured(found, min_pixels=area), None), name).value for name in ("def", "good")]
        for area in (1, 2, 9)
    }
    assert rates == {1: ["0.00 %", "100.00 %"], 2: ["0.00 %", "10.00 %"], 9: ["100.00 %", "0.00 %"]}
    for limit, passes in ((0.1, True), (0.09, False)):
        judged = check(decided(measured(found, min_pixels=2), None, overkill=limit), "good images")
        assert judged.passed is passes


def test_what_cannot_be_measured_passes_only_where_any_value_would() -> None:
    # There is no good image.
    assert not check(decided(measured(counts(8)), None, overkill=0.99), "good images").passed
    judged = check(decided(measured(counts(8)), None, overkill=1.0), "good images")
    assert judged.passed and judged.value == "none"


def test_an_equal_model_replaces_the_champion_where_it_need_not_be_better() -> None:
    same, worse = measured(counts(8)), measured(counts(7))
    assert decided(same, counts(8), mode="not_worse", tolerance=0.0).passed
    assert not decided(same, counts(8), mode="better").passed
    limits = {"mode": "not_worse", "slice_drop": 1.0}
    judged = check(decided(worse, counts(8), tolerance=0.09, **limits), "mIoU, challenger")
    assert not judged.passed and judged.limit == "an interval not below -9.00 points"
    assert decided(worse, counts(8), tolerance=0.11, **limits).passed
