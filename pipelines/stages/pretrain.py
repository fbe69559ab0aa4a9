"""Stage ``pretrain``: a method of the few-label grid learns all labels of one kind of defect."""

from __future__ import annotations

import argparse

from cadnet.config import ConfigError, ProjectParams, load_params
from cadnet.datasets.manifest import PreparedDataset, open_dataset
from cadnet.semi.jobs import PretrainingJob
from pipelines.stages.command import run_stage
from pipelines.stages.train import refuse_invalid, run_job
from pipelines.trials import PARAMS, TrialName, dataset_folder, fraction_text

CODE = ("semi/*.py",)
"""Sources that decide the weights besides those of any training."""


def pretrain(trial: TrialName, params: ProjectParams) -> None:
    """Train ``trial`` on ``semi.pretrain`` (or resume it) and publish its weights, description and history.

    Raises:
        DatasetError: the dataset is unusable, or stage ``validate`` has refused it.
        ValueError: the method does not fit its network or its loss.
    """
    refuse_invalid(params.semi.pretrain)
    dataset = one_class(params.semi.pretrain)
    job = PretrainingJob(dataset, params.methods[trial.method], params.train, trial.seed)
    settings = {"labelled": 0.0, "pretrained_on": params.semi.pretrain}
    run_job(trial, job, params, stage="pretrain", code=CODE, settings=settings)


def one_class(name: str) -> PreparedDataset:
    """A prepared dataset with all its defects as one class, which is what the few-label grid learns."""
    return open_dataset(dataset_folder(name)).as_one_class()


def parse_semi_trial(description: str, params: ProjectParams, *, fraction: bool) -> TrialName:
    """Read --method, --seed and, if the stage has it, --fraction; the datasets are those of ``semi``.

    Raises:
        ConfigError: params.yaml lacks the method, or its few-label grid is off or lacks the fraction.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--method", required=True)
    parser.add_argument("--seed", required=True, type=int)
    if fraction:
        parser.add_argument("--fraction", required=True, type=float, help="labelled fraction, 0 to 1")
    given = parser.parse_args()
    if given.method not in params.methods:
        raise ConfigError(f"{PARAMS} defines no method '{given.method}'; it has {sorted(params.methods)}")
    if not params.semi.dataset or not params.semi.pretrain:
        raise ConfigError(f"{PARAMS} has no few-label grid; state semi.pretrain and semi.dataset")
    labelled = given.fraction if fraction else 0.0
    if labelled not in (0.0, *params.semi.fractions):
        known = [fraction_text(one) for one in params.semi.fractions]
        raise ConfigError(f"semi.fractions in {PARAMS} has no {fraction_text(labelled)}; it has {known}")
    return TrialName(params.semi.dataset, given.method, given.seed, fraction=labelled)


def main() -> None:
    """Entry of ``python -m pipelines.stages.pretrain``."""

    def body() -> None:
        params = load_params(PARAMS)
        pretrain(
            parse_semi_trial("Pre-train a method of the few-label grid.", params, fraction=False), params
        )

    run_stage(body)


if __name__ == "__main__":
    main()
