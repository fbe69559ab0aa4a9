"""Paths of each trial's files, and its names in the graph and in the tracking store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cadnet.config import ProjectParams
from pipelines.profile import load_profile
from pipelines.trials import (
    TrialName,
    ablation_trials,
    cross_trials,
    semi_trials,
    takes_one_class,
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


@pytest.mark.parametrize(
    ("trial", "trained", "scored"),
    [
        (TrialName("line", "cadnet", 1), "line/cadnet/s1", "line/cadnet/s1"),
        # A cross-test shares the training, but no file of the evaluation.
        (TrialName("line", "cadnet", 1, "abpt"), "line/cadnet/s1", "line-on-abpt/cadnet/s1"),
        (TrialName("line", "cadnet", 1, fraction=0.0), "line/cadnet/label0/s1", "line/cadnet/label0/s1"),
        (
            TrialName("line", "cadnet", 1, fraction=0.05),
            "line/cadnet/label0.05/s1",
            "line/cadnet/label0.05/s1",
        ),
        (TrialName("line", "cadnet", 1, fraction=1.0), "line/cadnet/label1.0/s1", "line/cadnet/label1.0/s1"),
    ],
)
def test_files_of_a_trial(trial: TrialName, trained: str, scored: str) -> None:
    assert trial.model == Path(f"models/{trained}")
    assert trial.history == Path(f"reports/history/{trained}.csv")
    assert trial.evaluation == Path(f"reports/evaluation/{scored}")
    assert trial.metrics == Path(f"reports/metrics/{scored}.json")
    assert trial.curves == Path(f"reports/curves/{scored}.csv")
    assert str(trial) == scored
    assert (trial.dataset, trial.test_dataset) == ("line", trial.test or "line")


def test_the_grids_hold_what_the_paper_compares(params: ProjectParams, few: ProjectParams) -> None:
    paper = {"fcn", "pspnet", "deeplabv3plus", "danet", "ocrnet", "segformer", "cadnet"}
    assert paper < {trial.method for trial in trials(params)}
    assert {trial.method for trial in ablation_trials(params)} >= {"cadnet-ce", "cadnet-cl", "cadnet-bcl"}
    pairs = {(trial.dataset, trial.test) for trial in cross_trials(params)}
    assert pairs == {(a, b) for a in ("synlcd-line", "synlcd-abpt") for b in ("synlcd-line", "synlcd-abpt")}
    assert {trial.method for trial in cross_trials(params)} == paper | {"cadnet-multiply", "cadnet-few"}
    assert len(cross_trials(params)) == 4 * 9
    assert [str(trial) for trial in semi_trials(few)] == [
        f"synlcd-line/{method}/label{fraction}/s0"
        for method in ("cadnet", "segformer")
        for fraction in ("0", "0.05", "0.1", "0.15")
    ]


@pytest.mark.parametrize(
    ("trial", "stage", "experiment", "name", "variant", "subset"),
    [
        (("synlcd", "cadnet", 0), "train@synlcd-cadnet-0",
         "cadnet/synlcd/supervised", "cadnet-synlcd-s0", None, "mixed"),
        (("synlcd", "cadnet-ce", 0), "train-ablation@synlcd-cadnet-ce-0",
         "cadnet/synlcd/ablation", "cadnet-ce-synlcd-s0", None, "mixed"),
        (("synlcd-line", "cadnet", 0), "train-cross@synlcd-line-cadnet-0",
         "cadnet/synlcd-line/supervised", "cadnet-synlcd-line-s0", None, "line"),
        (("synlcd-line", "cadnet", 0, "synlcd-abpt"), "train-cross@synlcd-line-cadnet-0",
         "cadnet/synlcd-abpt/cross", "cadnet-synlcd-abpt-from-synlcd-line-s0", "from-synlcd-line", "abpt"),
        (("synlcd-line", "cadnet", 0, "", 0.0), "pretrain@cadnet-0",
         "cadnet/synlcd-line/semi", "cadnet-synlcd-line-label0-s0", "label0", "line"),
        (("synlcd-line", "cadnet", 0, "", 0.075), "finetune@cadnet-0.075-0",
         "cadnet/synlcd-line/semi", "cadnet-synlcd-line-label7.5-s0", "label7.5", "line"),
    ],
)  # fmt: skip
def test_names_of_a_trial(
    trial: tuple[Any, ...], stage: str, experiment: str, name: str, variant: str | None, subset: str,
    few: ProjectParams,
) -> None:  # fmt: skip
    assert training_stage(TrialName(*trial), few) == stage
    run = tracked(TrialName(*trial), few)
    assert (run.experiment, run.name) == (experiment, name)
    tags = run.tags()
    assert (tags.get("variant"), tags["subset"], tags["scale"]) == (variant, subset, few.run.scale)


def test_a_dataset_is_validated_by_a_stage_of_its_name() -> None:
    assert validation_stage("synlcd-abpt") == "validate@synlcd-abpt"


@pytest.mark.parametrize(
    ("trial", "one"),
    [
        (TrialName("synlcd-line", "cadnet-few", 0, "synlcd-abpt"), True),
        (TrialName("synlcd-line", "cadnet-few", 0), True),
        (TrialName("synlcd-line", "cadnet", 0, "synlcd-abpt"), False),
        # The main grid tells classes apart, whatever a network can do.
        (TrialName("synlcd", "cadnet-few", 0), False),
        (TrialName("synlcd-line", "cadnet", 0, fraction=0.05), True),
    ],
)
def test_defects_are_one_class_to_few_labels_and_to_networks_that_know_one(
    trial: TrialName, one: bool, params: ProjectParams
) -> None:
    assert takes_one_class(trial, params) is one
