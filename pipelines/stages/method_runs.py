"""Finished trials as the rows that a report is made from."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from cadnet.config import ProjectParams
from cadnet.datasets.manifest import open_dataset
from cadnet.evaluation.counts import Counts
from cadnet.evaluation.result import EvaluationResult
from cadnet.files import read_json
from cadnet.models.weights import ModelDescription
from cadnet.reporting.data import Efficiency, MethodRun
from cadnet.tracking import open_tracker
from cadnet.tracking.trials import TAG_FINGERPRINT
from pipelines.stages.evaluate import SPLIT, scored_fingerprint
from pipelines.stages.scoring import read_counts
from pipelines.trials import TrialName, dataset_folder, tracked


def method_runs(trials: Sequence[TrialName], params: ProjectParams) -> list[MethodRun]:
    """Read what training and evaluation left of each trial.

    Raises:
        FileNotFoundError: a trial is not finished; the message names it and the cure.
    """
    tracked_ids = run_ids(trials, params)
    return [_method_run(trial, params, tracked_ids.get(trial)) for trial in trials]


def scored_counts(trials: Sequence[TrialName]) -> tuple[list[Counts], list[str]]:
    """Read the counts of trials scored on one dataset, and the group of each image in their order."""
    counts = [read_counts(trial.evaluation / "counts.npz") for trial in trials]
    rows = open_dataset(dataset_folder(trials[0].test_dataset)).split(SPLIT)
    return counts, rows["group"].astype(str).iloc[counts[0].index].tolist()


def _method_run(trial: TrialName, params: ProjectParams, run_id: str | None) -> MethodRun:
    if not (trial.evaluation / "result.json").is_file():
        raise FileNotFoundError(f"trial {trial} has not been scored; run `make repro` or `dvc repro` first")
    history = pd.read_csv(trial.history)
    return MethodRun(
        title=params.methods[trial.method].title,
        seed=trial.seed,
        result=EvaluationResult.from_dict(read_json(trial.evaluation / "result.json")),
        efficiency=Efficiency(**read_json(trial.evaluation / "cost.json")),
        history=history,
        mlflow_run_id=run_id,
        train_seconds=float(history["train_seconds"].sum()),
    )


def run_ids(trials: Sequence[TrialName], params: ProjectParams) -> dict[TrialName, str]:
    """Find each trial's run in the tracking store; trials that were not tracked are left out."""
    tracker = open_tracker()
    names = {trial.test_dataset for trial in trials}
    datasets = {name: open_dataset(dataset_folder(name)) for name in names}
    experiments = {tracked(trial, params).experiment for trial in trials}
    # Newest first, so that of two runs of one fingerprint the newer stays.
    runs = [run for name in experiments for run in reversed(tracker.find_runs(name))]
    known = {run.tags.get(TAG_FINGERPRINT): run.run_id for run in runs}
    wanted = {
        trial: scored_fingerprint(trial, ModelDescription.read(trial.model), datasets[trial.test_dataset])
        for trial in trials
    }
    return {trial: known[fingerprint] for trial, fingerprint in wanted.items() if fingerprint in known}
