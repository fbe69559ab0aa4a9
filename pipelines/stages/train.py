"""Stage ``train``: one method on one prepared dataset with one seed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import cadnet
from cadnet.config import ProjectParams
from cadnet.datasets.manifest import DatasetError, open_dataset
from cadnet.files import atomic_directory, atomic_path, read_json, tree_digest, value_digest
from cadnet.tracking import Run, metric_points, track_stage
from cadnet.tracking.trials import training_params
from cadnet.training.fit import STATE_FILE, fit
from cadnet.training.job import Job
from cadnet.training.task import Epoch
from pipelines.stages.command import parse_trial, read_params, run_stage
from pipelines.trials import (
    CACHE,
    CHECKPOINTS,
    PARAMS,
    VERDICT,
    TrialName,
    dataset_folder,
    takes_one_class,
    tracked,
    trained_on,
    validation_folder,
    validation_stage,
)

MODEL_FILES = ("weights.safetensors", "model.json")
CODE = (
    "datasets/*.py",
    "losses/*.py",
    "models/*.py",
    "training/*.py",
    "images/files.py",
    "types.py",
    "evaluation/counts.py",
    "evaluation/metrics.py",
)
"""Sources that decide the weights; the counts and metrics choose the best epoch."""
HISTORY = "history.csv"
"""Beside the best weights once a training has finished."""


def train(trial: TrialName, params: ProjectParams) -> None:
    """Train ``trial`` (or resume it) and publish its weights, description and history.

    Raises:
        DatasetError: the dataset is unusable, or stage ``validate`` has refused it.
    """
    refuse_invalid(trial.dataset)
    dataset = open_dataset(dataset_folder(trial.dataset))
    if takes_one_class(trial, params):
        dataset = dataset.as_one_class()
    run_job(trial, Job(dataset, params.methods[trial.method], params.train, trial.seed), params)


def run_job(
    trial: TrialName,
    job: Job,
    params: ProjectParams,
    *,
    stage: str = "train",
    code: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Do ``job`` (or resume it) as ``trial`` and publish what comes of it.

    What came of the last training stays in its folder of :data:`~pipelines.trials.CHECKPOINTS`. A stage that
    runs again, because it was killed before DVC had noted the outputs or because code was edited that decides
    no weights, finds its training finished there.

    Args:
        trial: whose files are written.
        job: what is trained.
        params: of the project.
        stage: its name in the record.
        code: sources that decide the weights besides :data:`CODE`.
        settings: what the record's parameters hold besides the training's.
    """
    fingerprint = training_fingerprint(job, code)
    work = CHECKPOINTS / trial.path / fingerprint[:16]
    if (work / HISTORY).is_file():
        sys.stdout.write(f"{trial}: nothing that decides the weights has changed; they are kept\n")
        publish(trial, work)
        return
    trained = job.dataset
    metadata = {
        "fingerprint": fingerprint,
        "dataset": {"name": trained_on(trial, params), "digest": trained.digest},
        "method": trial.method,
        "seed": trial.seed,
        "scale": params.run.scale,
        "palette": [list(colour) for colour in trained.palette],
    }
    if int(os.environ.get("LOCAL_RANK", "0")) > 0:
        # Lightning starts this stage once per device; only the first process records and publishes.
        fit(job, work, CACHE, metadata=metadata)
        return
    with track_stage(
        tracked(trial, params),
        fingerprint,
        stage=stage,
        params=training_params(job.method, job.train, trial.seed) | dict(settings or {}),
        restart=not (work / STATE_FILE).is_file(),
        system_metrics=True,
    ) as run:
        run.log_dataset(trained_on(trial, params), trained.digest, str(trained.root))
        result = fit(job, work, CACHE, on_epoch=lambda row: log_epoch(run, row), metadata=metadata)
        with atomic_path(work / HISTORY) as temporary:
            pd.DataFrame(result.history).to_csv(temporary, index=False)
        publish(trial, work)
        run.log_model(*(trial.model / name for name in MODEL_FILES))
        best = {f"best_{k}": v for k, v in result.best.items() if k.startswith(("epoch", "val_"))}
        run.log_metrics(metric_points(numbers(best)))
        seconds = sum(float(row["train_seconds"] or 0) for row in result.history)
        run.log_metrics([("cost_train_seconds", seconds, None)])


def refuse_invalid(dataset: str) -> None:
    """Keep a dataset that broke a rule out of training, also when a stage is run by hand.

    Raises:
        DatasetError: the last verdict on it is that it must not be trained on.
    """
    verdict = validation_folder(dataset) / VERDICT
    if verdict.is_file() and not read_json(verdict)["passed"]:
        raise DatasetError(
            f"dataset '{dataset}' failed its validation, see {verdict.with_name('index.html')}; correct its "
            f"raw material or the limits in {PARAMS} and run `dvc repro {validation_stage(dataset)}`"
        )


def training_fingerprint(job: Job, code: Sequence[str] = ()) -> str:
    """Digest of all that decides the weights: data, method, recipe, seed and code.

    A checkpoint of another fingerprint is never resumed.
    """
    package = Path(cadnet.__file__).parent
    sources = [file for pattern in (*CODE, *code) for file in package.glob(pattern)]
    return value_digest(job.identity(), tree_digest(sources, package))


def publish(trial: TrialName, work: Path) -> None:
    """Copy the best weights, those of companions too, to their final place, then the history table."""
    with atomic_directory(trial.model) as folder:
        for weights in work.glob(f"**/{MODEL_FILES[0]}"):
            place = folder / weights.parent.relative_to(work)
            place.mkdir(exist_ok=True)
            for name in MODEL_FILES:
                shutil.copyfile(weights.with_name(name), place / name)
    with atomic_path(trial.history) as temporary:
        shutil.copyfile(work / HISTORY, temporary)


def log_epoch(run: Run, row: Epoch) -> None:
    """Log one epoch's row at step = number of finished epochs."""
    run.log_metrics(metric_points(numbers(row), step=int(row["epoch"] or 0)))


def numbers(row: Epoch) -> dict[str, float]:
    """Leave out what is undefined."""
    return {name: float(value) for name, value in row.items() if value is not None}


def main() -> None:
    """Entry of ``python -m pipelines.stages.train``."""
    trial = parse_trial("Train one trial of the grid.")
    run_stage(lambda: train(trial, read_params(trial)))


if __name__ == "__main__":
    main()
