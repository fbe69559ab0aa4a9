"""The tidy table: one number a row, its intervals, and what is pivoted from it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from fakes import CLASSES, IMAGES, fake_trial, few_trial, given

from cadnet.evaluation.bootstrap import paired_bootstrap
from cadnet.reporting.results import (
    COLUMNS,
    by_method,
    factor,
    pivot,
    seed_counts,
    seeds_text,
    spread,
    tidy,
    values_of,
)


def test_every_number_is_a_row_under_its_keys() -> None:
    trial = fake_trial("cadnet", 1)
    frame = tidy([trial, few_trial("uaps", 2, 0.05, 40.0, 45.0)])
    assert list(frame) == list(COLUMNS)
    main = frame[(frame["method"] == "cadnet") & (frame["part"] == "")].set_index("metric")
    assert (main["grid"].unique(), main["seed"].unique()) == (["main"], [1])
    assert main["fraction"].isna().all()
    for metric, value in trial.result.scalars().items():
        assert main["value"][metric] == value
    assert main["value"]["val_miou"] == trial.history["val_miou"].max()
    assert main["value"]["cost_params_m"] == 3.9 and main["value"]["images"] == IMAGES
    few = frame[frame["grid"] == "few-label"].set_index("metric")
    assert (few["fraction"].unique(), few["tested_on"].unique()) == ([0.05], ["line-set"])
    assert few["value"]["iou_defect_validated"] == 0.45
    parts = frame[(frame["part"] == "group: pattern 08") & (frame["metric"] == "miou")]
    slices = [one for one in trial.result.slices if one.name == "pattern 08"]
    assert parts["value"].tolist() == [slices[0].metrics.miou]


def test_intervals_are_those_of_the_bootstrap_over_images() -> None:
    trial = given("cadnet", 0, 60.0, wave=20)
    rows = tidy([trial]).set_index("metric")
    # Against a network that finds nothing, the difference is the value.
    nothing = given("fcn", 0, 0.0)
    drawn = paired_bootstrap([trial.counts], [nothing.counts], CLASSES)
    for metric in ("miou", "iou_line"):
        interval = drawn.difference(metric).interval
        assert (rows["low"][metric], rows["high"][metric]) == (interval.low, interval.high)
        assert interval.low < rows["value"][metric] < interval.high
    assert np.isnan(rows["low"]["macc"])
    # One pattern of images is no independent witness: groups are resampled, and the wider interval counts.
    grouped = dataclasses.replace(trial, groups=[f"b{i % 2}" for i in range(12)])
    wide = tidy([grouped]).set_index("metric")
    assert wide["high"]["miou"] - wide["low"]["miou"] > rows["high"]["miou"] - rows["low"]["miou"]


def test_a_trial_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="given twice"):
        tidy([given("cadnet", 1, 50), given("cadnet", 1, 60)])
    odd = given("segformer", 0, 50, classes=("a", "b"))
    with pytest.raises(ValueError, match=r"\['segformer'\] were scored on other classes"):
        by_method([given("cadnet", 0, 50), odd])
    with pytest.raises(ValueError, match="no trials"):
        by_method([])


def test_a_pivot_holds_means_and_deviations_in_percent() -> None:
    trials = [given("cadnet", 0, (80, 60)), given("cadnet", 1, (90, 60)), given("own", 0, 50)]
    table = pivot(trials, ["iou_line", "cost_params_m", "unknown"])
    assert list(table.index) == ["cadnet", "own"]
    assert table.loc["cadnet", "iou_line"] == pytest.approx(85)
    assert table.loc["cadnet", "iou_line_std"] == pytest.approx(np.std([80, 90], ddof=1))
    assert np.isnan(table.loc["own", "iou_line_std"]) and table["unknown"].isna().all()
    assert table.loc["own", "cost_params_m"] == 3.9
    assert (factor("miou"), factor("cost_gmacs"), factor("images")) == (100, 1, 1)
    assert values_of(trials, "cadnet", "iou_line") == {0: pytest.approx(80), 1: pytest.approx(90)}


def test_spread_of_few_values() -> None:
    assert spread([]) == (None, None)
    assert spread([2.0]) == (2.0, None)
    assert spread([1.0, 3.0]) == (2.0, pytest.approx(np.sqrt(2)))


def test_seeds_are_counted_by_method_and_condition() -> None:
    trials = [given("cadnet", 0, 50), given("cadnet", 5, 50), given("fcn", 0, 50)]
    assert seed_counts(trials) == {"cadnet": 2, "fcn": 1}
    assert seeds_text(trials) == "1-2 seeds per method"
    assert (seeds_text(trials[:1]), seeds_text(trials[:2]), seeds_text([])) == (
        "1 seed",
        "2 seeds",
        "no runs",
    )
    fractions = [few_trial("uaps", seed, 0.05, 40) for seed in (0, 1)] + [few_trial("uaps", 0, 0.1, 40)]
    assert seed_counts(fractions) == {"uaps": 1}
    assert isinstance(tidy(fractions), pd.DataFrame)
