"""The figures of a version and which changes count as drift."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cadnet.files import read_json, write_json
from cadnet.validation.facts import collect_facts, read_table
from cadnet.validation.profile import build_profile, changes, not_comparable
from tests.fakes import write_fake_dataset

Profile = dict[str, Any]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_dataset(tmp_path_factory.mktemp("profile") / "fake", per_group=12)


@pytest.fixture(scope="module")
def profile(root: Path) -> Profile:
    return build_profile(collect_facts(read_table(root)))


def moved(profile: Profile, figure: str, value: float | None = None, factor: float = 1.0) -> Profile:
    """``profile`` with one figure of the train split changed."""
    other = copy.deepcopy(profile)
    item = other["splits"]["train"]["figures"][figure]
    item["value"] = item["value"] * factor if value is None else value
    return other


def drifted(before: Profile, now: Profile, limit: float = 0.25) -> list[str]:
    return [change.figure for change in changes(before, now, limit) if change.counts]


def test_figures_by_hand(profile: Profile) -> None:
    train = profile["splits"]["train"]
    assert (train["samples"], train["groups"]) == (24, 2)
    figures = train["figures"]
    # 16 of 24 have a defect: standard deviation sqrt(24/23 * 2/3 * 1/3) over sqrt(24).
    assert figures["defect_rate"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert figures["defect_rate"]["error"] == pytest.approx(np.sqrt(2 / 9 / 23), abs=1e-6)
    assert figures["class_rate.abpt"] == figures["defect_rate"]
    assert figures["class_share.abpt"]["value"] == pytest.approx(2 / 3 * 36 / 1024, abs=1e-6)
    assert figures["defect_pixels.q90"]["value"] <= 64
    assert not [name for name in figures if name.startswith("residual")]
    assert list(profile["splits"]) == ["train", "val", "test"]


def test_two_builds_are_equal(root: Path, profile: Profile) -> None:
    assert build_profile(collect_facts(read_table(root))) == profile
    assert drifted(profile, profile) == []
    assert all(change.relative == 0 for change in changes(profile, profile, 0.25))


@pytest.mark.parametrize("factor", [1.5, 0.6])
@pytest.mark.parametrize("figure", ["brightness", "contrast", "mean.red", "sd.blue", "defect_pixels.q90"])
def test_drift_is_seen_both_ways(profile: Profile, figure: str, factor: float) -> None:
    assert drifted(profile, moved(profile, figure, factor=factor)) == [f"train: {figure}"]
    assert drifted(profile, moved(profile, figure, factor=1 + (factor - 1) / 3)) == []


def test_a_change_that_chance_explains_is_no_drift(profile: Profile) -> None:
    # 16 of 24 defective, then 12 of 24: a quarter less, but within three standard errors of the difference.
    now = moved(profile, "defect_rate", value=0.45)
    assert changes(profile, now, 0.25)[0].relative == pytest.approx(0.325)
    assert drifted(profile, now) == []
    assert drifted(profile, moved(profile, "defect_rate", value=0.05)) == ["train: defect_rate"]


def test_next_to_nothing_is_not_doubled(profile: Profile) -> None:
    before = moved(profile, "class_share.line", value=0.0001)
    now = moved(profile, "class_share.line", value=0.0002)
    for item in (before, now):
        item["splits"]["train"]["figures"]["class_share.line"]["error"] = 0.0
    assert drifted(before, now) == []
    assert changes(before, now, 0.25)[2].relative == pytest.approx(0.0001 / 0.0005)


def test_too_few_values_are_not_compared(profile: Profile) -> None:
    now = moved(profile, "brightness", factor=3)
    now["splits"]["train"]["figures"]["brightness"]["error"] = None
    assert drifted(profile, now) == []


def test_photographs_that_were_added_are_no_drift(root: Path, tmp_path: Path, profile: Profile) -> None:
    larger = build_profile(collect_facts(read_table(write_fake_dataset(tmp_path / "more", per_group=30))))
    assert larger["splits"]["train"]["samples"] == 60
    assert drifted(profile, larger) == []


def test_another_list_of_classes_counts(profile: Profile) -> None:
    now = copy.deepcopy(profile) | {"classes": ["line", "abpt", "hole"]}
    (change,) = [change for change in changes(profile, now, 0.25) if change.counts]
    assert change == ("classes", "line, abpt", "line, abpt, hole", 1.0, True)


def test_only_equal_settings_are_compared(tmp_path: Path, profile: Profile) -> None:
    other = write_fake_dataset(tmp_path / "other", per_group=12)
    write_json(other / "dataset.json", read_json(other / "dataset.json") | {"params": {"size": 64}})
    now = build_profile(collect_facts(read_table(other)))
    assert not_comparable(None, now) == "no earlier profile: not compared"
    assert not_comparable(profile, now) == "settings changed: not compared"
    assert not_comparable(now, now) == ""
