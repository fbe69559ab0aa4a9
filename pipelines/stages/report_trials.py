"""Finished trials as the report takes them, and the report in the tracking store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from cadnet.config import ProjectParams
from cadnet.datasets.manifest import PreparedDataset, open_dataset
from cadnet.evaluation.result import EvaluationResult
from cadnet.files import read_json
from cadnet.models.weights import ModelDescription
from cadnet.reporting.gate import GateRecord
from cadnet.reporting.pages import Section
from cadnet.reporting.results import ScoredTrial
from cadnet.tracking import collect_provenance, invocation_key, open_tracker
from cadnet.tracking.trials import TAG_FINGERPRINT
from pipelines.stages.scoring import SPLIT, Chosen, read_counts, scored_fingerprint
from pipelines.trials import DECISION, REPORTS, TrialName, dataset_folder, gate_folder, tracked, trained_on


class TrialReader:
    """Reads what the stages left of finished trials; each trial is read and each dataset is opened once."""

    def __init__(self, params: ProjectParams) -> None:
        self.params = params
        self._datasets: dict[str, PreparedDataset] = {}
        self._trials: dict[TrialName, ScoredTrial] = {}

    def dataset(self, name: str) -> PreparedDataset:
        """Open a prepared dataset."""
        if name not in self._datasets:
            self._datasets[name] = open_dataset(dataset_folder(name))
        return self._datasets[name]

    def read(self, trials: Sequence[TrialName], grid: str) -> list[ScoredTrial]:
        """Read what training and evaluation left of each trial.

        Raises:
            FileNotFoundError: a trial is not finished; the message names it and the fix.
        """
        missing = [str(trial) for trial in trials if not (trial.evaluation / "result.json").is_file()]
        if missing:
            raise FileNotFoundError(
                f"not scored yet: {', '.join(missing)}; run `make repro` or `dvc repro` first"
            )
        new = [trial for trial in trials if trial not in self._trials]
        run_ids = self.run_ids(new)
        self._trials |= {trial: self._trial(trial, grid, run_ids.get(trial)) for trial in new}
        return [self._trials[trial] for trial in trials]

    def _trial(self, trial: TrialName, grid: str, run_id: str | None) -> ScoredTrial:
        history, counts = pd.read_csv(trial.history), read_counts(trial.evaluation / "counts.npz")
        cost = read_json(trial.evaluation / "cost.json")
        device, size = cost.pop("device"), cost.pop("size")
        validated = {} if trial.fraction is None else Chosen.read(trial.evaluation).scalars()
        groups = self.dataset(trial.test_dataset).split(SPLIT)["group"].astype(str)
        return ScoredTrial(
            grid=grid,
            method=trial.method,
            trained_on=trained_on(trial, self.params),
            tested_on=trial.test_dataset,
            seed=trial.seed,
            result=EvaluationResult.from_dict(read_json(trial.evaluation / "result.json")),
            counts=counts,
            groups=groups.iloc[counts.index].tolist(),
            fraction=trial.fraction,
            cost=cost | {"train_seconds": float(history["train_seconds"].sum())},
            device=f"{device}, {size} px",
            history=history,
            validated=validated,
            run_id=run_id,
        )

    def run_ids(self, trials: Sequence[TrialName]) -> dict[TrialName, str]:
        """Find each trial's run in the tracking store; trials that were not tracked are left out."""
        tracker = open_tracker()
        experiments = {tracked(trial, self.params).experiment for trial in trials}
        # Newest first, so that of two runs of one fingerprint the newer stays.
        runs = [run for name in experiments for run in reversed(tracker.find_runs(name))]
        known = {run.tags.get(TAG_FINGERPRINT): run.run_id for run in runs}
        wanted = {
            trial: scored_fingerprint(
                trial, ModelDescription.read(trial.model), self.dataset(trial.test_dataset)
            )
            for trial in trials
        }
        return {trial: known[fingerprint] for trial, fingerprint in wanted.items() if fingerprint in known}


def gate_records(params: ProjectParams) -> list[GateRecord]:
    """Read the last decision on each product.

    Raises:
        FileNotFoundError: there is none on a product yet; the message names it and the fix.
    """
    paths = {name: gate_folder(name) / DECISION for name in params.products}
    missing = [name for name, path in paths.items() if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"the gate has not decided on {missing} yet; run `make repro` or `dvc repro` first"
        )
    return [GateRecord.from_dict(read_json(path)) for path in paths.values()]


@dataclass(frozen=True, eq=False)
class ExperimentRecord:
    """What the parent run of an experiment receives: sections with their files, and which runs they show.

    The first section's table is what MLflow's page shows as a table, its markdown the run's description.
    """

    experiment: str
    dataset: str
    sections: Sequence[Section]
    trials: Sequence[ScoredTrial]


def track_report(records: Sequence[ExperimentRecord], scale: str) -> None:
    """Log tables, plots and the page to the parent run of each experiment, and close it."""
    tracker = open_tracker()
    key, provenance = invocation_key("."), collect_provenance(".")
    for record in records:
        parent = tracker.open_parent(key, record.experiment, provenance)
        first = record.sections[0]
        markdown = first.markdown[first.name]
        # MLflow's page draws the note as the run's description.
        parent.set_tags({"dataset": record.dataset, "scale": scale, "mlflow.note.content": markdown})
        parent.log_table(first.tables[first.name], "tables/results.json")
        parent.log_table(run_table(record.trials), "tables/runs.json")
        for section in record.sections:
            for name in section.tables:
                for kind in ("md", "csv"):
                    if (file := REPORTS / "tables" / f"{name}.{kind}").is_file():
                        parent.log_artifact(file, "tables")
            if (folder := REPORTS / "plots" / section.name).is_dir():
                parent.log_artifacts(folder, f"plots/{section.name}")
        parent.log_artifact(REPORTS / "index.html", "report")
        tracker.settle_parent(parent)


def run_table(trials: Sequence[ScoredTrial]) -> pd.DataFrame:
    """Which tracked run each number is from; trials that were up to date have an older parent."""
    return pd.DataFrame(
        [
            {
                "method": trial.method,
                "seed": trial.seed,
                "run_id": trial.run_id,
                "miou": trial.scores.get("miou"),
                "iou_defect": trial.scores.get("iou_defect"),
            }
            for trial in trials
        ]
    )
