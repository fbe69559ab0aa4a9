"""Stage ``finetune``: a pre-trained method of the few-label grid learns few labels of another defect."""

from __future__ import annotations

from pathlib import Path

from cadnet.config import ProjectParams, load_params
from cadnet.datasets.label_lists import read_label_list, rows_of
from cadnet.models.weights import ModelDescription
from cadnet.semi.jobs import FinetuningJob
from pipelines.stages.command import run_stage
from pipelines.stages.pretrain import CODE, one_class, parse_semi_trial
from pipelines.stages.train import refuse_invalid, run_job
from pipelines.trials import PARAMS, TrialName


def finetune(trial: TrialName, params: ProjectParams) -> None:
    """Fine-tune ``trial`` (or resume it) and publish its weights, description and history.

    Raises:
        DatasetError: the dataset is unusable, or stage ``validate`` has refused it.
        FileNotFoundError: the method has not been pre-trained, or there is no label list.
        ValueError: the label list does not fit the dataset, or too few samples are labelled for a batch.
    """
    semi = params.semi
    refuse_invalid(trial.dataset)
    assert trial.fraction is not None
    before = TrialName(trial.dataset, trial.method, trial.seed, fraction=0.0)
    dataset = one_class(trial.dataset)
    rows, labels = dataset.split("train"), read_label_list(Path(semi.labels))
    unlabelled = rows_of(labels.unlabelled, rows)
    refuse_other_fraction(len(unlabelled), len(rows), rows["group"].nunique(), params)
    job = FinetuningJob(
        dataset,
        params.methods[trial.method],
        params.train,
        trial.seed,
        labelled=rows_of(labels.labelled(trial.fraction), rows),
        unlabelled=unlabelled,
        epochs=semi.epochs,
        steps=semi.steps,
        start=before.model,
        origin=str(ModelDescription.read(before.model).metadata["fingerprint"]),
    )
    settings = {
        "labelled": trial.fraction,
        "labelled_samples": len(job.labelled),
        "unlabelled_samples": len(job.seen_unlabelled),
        "pretrained_on": semi.pretrain,
        "finetune_epochs": semi.epochs,
        "finetune_steps": semi.steps,
    }
    run_job(trial, job, params, stage="finetune", code=CODE, settings=settings)


def refuse_other_fraction(unlabelled: int, samples: int, groups: int, params: ProjectParams) -> None:
    """Keep a label list that was made for another unlabelled fraction out of training.

    Raises:
        ValueError: ``unlabelled`` of ``samples`` is not ``semi.unlabelled``, one sample per group aside.
    """
    wanted = params.semi.unlabelled
    if abs(unlabelled - wanted * samples) > groups:
        raise ValueError(
            f"{params.semi.labels} has {unlabelled} unlabelled of {samples} training samples, which is not "
            f"semi.unlabelled {wanted:g}; make it again: python -m pipelines.labels --replace"
        )


def main() -> None:
    """Entry of ``python -m pipelines.stages.finetune``."""

    def body() -> None:
        params = load_params(PARAMS)
        finetune(parse_semi_trial("Fine-tune a method with few labels.", params, fraction=True), params)

    run_stage(body)


if __name__ == "__main__":
    main()
