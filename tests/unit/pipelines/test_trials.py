"""Paths of each trial's files, and its names in the graph and in the tracking store."""

from __future__ import annotations

from pathlib import Path

import pytest

from cadnet.config import ProjectParams
from pipelines.profile import load_profile
from pipelines.trials import (
    TrialName,
    ablation_trials,
    cross_trials,
    semi_trials,
    tracked,
    training_stage,
    trials,
    validation_stage,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def params() -> ProjectParams:
    return load_profile("grid-small", ROOT / "params")


@pytest.fixture(scope="module")
def few(params: ProjectParams) -> ProjectParams:
    """The same with the few-label grid switched on."""
    return params.model_copy(
        update={"semi": params.semi.model_copy(update={"methods": ("cadnet", "segformer")})}
    )


def test_a_cross_test_shares_the_training_but_no_file_of_the_evaluation() -> None:
    own, cross = TrialName("line", "cadnet", 1), TrialName("line", "cadnet", 1, "abpt")
    assert own.model == cross.model == Path("models/line/cadnet/s1")
    assert own.history == cross.history == Path("reports/history/line/cadnet/s1.csv")
    assert cross.evaluation == Path("reports/evaluation/line-on-abpt/cadnet/s1")
    assert cross.metrics == Path("reports/metrics/line-on-abpt/cadnet/s1.json")
    assert cross.curves == Path("reports/curves/line-on-abpt/cadnet/s1.csv")
    assert own.evaluation == Path("reports/evaluation/line/cadnet/s1")
    assert (own.test_dataset, cross.test_dataset) == ("line", "abpt")
    assert str(cross) == "line-on-abpt/cadnet/s1"


def test_each_fraction_of_labels_has_files_of_its_own() -> None:
    trial = TrialName("line", "cadnet", 1, fraction=0.05)
    assert trial.model == Path("models/line/cadnet/label0.05/s1")
    assert trial.history == Path("reports/history/line/cadnet/label0.05/s1.csv")
    assert trial.metrics == Path("reports/metrics/line/cadnet/label0.05/s1.json")
    assert trial.curves == Path("reports/curves/line/cadnet/label0.05/s1.csv")
    assert trial.evaluation == Path("reports/evaluation/line/cadnet/label0.05/s1")
    assert str(trial) == "line/cadnet/label0.05/s1"
    assert TrialName("line", "cadnet", 1, fraction=0.0).model == Path("models/line/cadnet/label0/s1")
    assert TrialName("line", "cadnet", 1, fraction=1.0).model == Path("models/line/cadnet/label1.0/s1")
    assert TrialName("line", "cadnet", 1).model == Path("models/line/cadnet/s1")


def test_the_few_label_grid(few: ProjectParams) -> None:
    found = semi_trials(few)
    assert [str(trial) for trial in found] == [
        f"synlcd-line/{method}/label{fraction}/s0"
        for method in ("cadnet", "segformer")
        for fraction in ("0", "0.05", "0.1", "0.15")
    ]
    assert [training_stage(trial, few) for trial in found[:3]] == [
        "pretrain@cadnet-0", "finetune@cadnet-0.05-0", "finetune@cadnet-0.1-0",
    ]  # fmt: skip


def test_the_few_label_grid_in_the_tracking_store(few: ProjectParams) -> None:
    trial = tracked(TrialName("synlcd-line", "cadnet", 0, fraction=0.05), few)
    assert (trial.experiment, trial.name) == ("cadnet/synlcd-line/semi", "cadnet-synlcd-line-label5-s0")
    assert trial.tags()["variant"] == "label5" and trial.tags()["subset"] == "line"
    variants = [
        tracked(TrialName("synlcd-line", "cadnet", 0, fraction=fraction), few).variant
        for fraction in (0.0, 0.07, 0.075, 0.15, 1.0)
    ]
    assert variants == ["label0", "label7", "label7.5", "label15", "label100"]


def test_the_grids_hold_what_the_issue_of_the_paper_asks(params: ProjectParams) -> None:
    paper = {"fcn", "pspnet", "deeplabv3plus", "danet", "ocrnet", "segformer", "cadnet"}
    assert paper < {trial.method for trial in trials(params)}
    assert {trial.method for trial in ablation_trials(params)} >= {"cadnet-ce", "cadnet-cl", "cadnet-bcl"}
    pairs = {(trial.dataset, trial.test) for trial in cross_trials(params)}
    assert pairs == {(a, b) for a in ("synlcd-line", "synlcd-abpt") for b in ("synlcd-line", "synlcd-abpt")}
    assert {trial.method for trial in cross_trials(params)} == paper
    assert len(cross_trials(params)) == 4 * 7


def test_stages_are_named_after_their_grid(params: ProjectParams) -> None:
    assert training_stage(TrialName("synlcd", "cadnet", 0), params) == "train@synlcd-cadnet-0"
    assert training_stage(TrialName("synlcd", "cadnet-ce", 0), params) == "train-ablation@synlcd-cadnet-ce-0"
    crossed = TrialName("synlcd-line", "cadnet", 0, "synlcd-abpt")
    assert training_stage(crossed, params) == "train-cross@synlcd-line-cadnet-0"
    assert validation_stage("synlcd-abpt") == "validate@synlcd-abpt"


def test_names_in_the_tracking_store(params: ProjectParams) -> None:
    main = tracked(TrialName("synlcd", "cadnet", 0), params)
    assert (main.experiment, main.name) == ("cadnet/synlcd/supervised", "cadnet-synlcd-s0")
    assert main.tags()["subset"] == "mixed" and main.tags()["scale"] == params.run.scale
    variant = tracked(TrialName("synlcd", "cadnet-ce", 0), params)
    assert variant.experiment == "cadnet/synlcd/ablation"
    training = tracked(TrialName("synlcd-line", "cadnet", 0), params)
    assert training.experiment == "cadnet/synlcd-line/supervised"
    cross = tracked(TrialName("synlcd-line", "cadnet", 0, "synlcd-abpt"), params)
    assert cross.experiment == "cadnet/synlcd-abpt/cross"
    assert cross.name == "cadnet-synlcd-abpt-from-synlcd-line-s0"
    assert cross.tags()["variant"] == "from-synlcd-line" and cross.tags()["subset"] == "abpt"
