"""The gate's decision from counts made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cadnet.config.operate import GateParams
from cadnet.evaluation.counts import Counts
from cadnet.evaluation.gate import Check, Decision, Measured, decide

IMAGES = 40
ROWS = pd.DataFrame({"group": ["a"] * 20 + ["b"] * 20, "has_defect": [1] * IMAGES, "subset": ["x"] * IMAGES})


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


def decided(new: Measured, old: Measured | None, **limits: float) -> Decision:
    return decide(new, old, ["dent"], ROWS, GateParams.model_validate(limits), [0.05])


def test_the_first_model_needs_no_champion_but_keeps_the_limits() -> None:
    decision = decided(Measured(counts(8)), None, least=0.7)
    assert decision.passed and decision.reasons == ""
    assert [one.name for one in decision.checks] == ["mIoU on the acceptance set", "latency"]
    # 7.5 of 10 pixels on average.
    assert check(decision, "mIoU on").value == "75.00 %"
    refused = decided(Measured(counts(8)), None, least=0.8)
    assert not refused.passed
    assert refused.reasons == "mIoU on the acceptance set: 75.00 %, wanted at least 80.00 %"


def test_a_better_challenger_passes_only_beyond_the_margin() -> None:
    new, old = Measured(counts(8)), Measured(counts(6))
    decision = decided(new, old)
    assert decision.passed
    assert check(decision, "mIoU, challenger").value.startswith("+20.00 points (95 % interval +20.00")
    assert decided(new, old, margin=0.19).passed
    refused = decided(new, old, margin=0.2)
    assert [one.name for one in refused.checks if not one.passed] == ["mIoU, challenger minus champion"]


def test_an_equal_model_does_not_replace_the_champion() -> None:
    decision = decided(Measured(counts(8)), Measured(counts(8)))
    assert not decision.passed and "+0.00 points" in decision.reasons


def test_a_fall_in_one_slice_refuses_a_model_that_is_better_on_the_whole() -> None:
    new, old = Measured(counts(10, 5)), Measured(counts(6, 6))
    decision = decided(new, old, slice_drop=0.05)
    assert check(decision, "mIoU, challenger").value.startswith("+15.00 points")
    fall = check(decision, "largest fall")
    assert not fall.passed and fall.value == "+10.00 points (group b)"
    assert check(decided(new, old, slice_drop=0.101), "largest fall").passed
    # Slices of few images decide nothing.
    assert check(decided(new, old, slice_images=41), "largest fall").value == "none"


def test_behaviour_export_and_latency_are_conditions_of_their_own() -> None:
    shares = {"identical": 0.0, "brighter": 0.001}
    good = Measured(counts(8), 10.0, shares, 1e-5)
    limits = {"latency_ms": 10.0, "behaviour": {"false_fraction": 0.001}, "export_difference": 1e-5}
    assert decided(good, None, **limits).passed
    for changed, name in (
        (Measured(counts(8), 10.1, shares, 1e-5), "latency"),
        (Measured(counts(8), 10.0, shares | {"identical": 1e-6}, 1e-5), "clean pair, identical"),
        (Measured(counts(8), 10.0, shares | {"brighter": 0.0011}, 1e-5), "clean pair, brighter"),
        (Measured(counts(8), 10.0, shares, 2e-5), "exported equals trained"),
    ):
        assert [one.name for one in decided(changed, None, **limits).checks if not one.passed] == [name]


def test_models_scored_on_other_images_cannot_be_compared() -> None:
    part = counts(8).subset(np.arange(10))
    with pytest.raises(ValueError, match="scored on different images"):
        decided(Measured(counts(8)), Measured(part))
