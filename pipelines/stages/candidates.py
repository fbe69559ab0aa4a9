"""The trained trials that a product may be made of."""

from __future__ import annotations

from dataclasses import dataclass

from cadnet.config import ProjectParams
from cadnet.config.operate import ProductParams
from cadnet.datasets.manifest import PreparedDataset
from cadnet.files import read_json
from cadnet.models.weights import ModelDescription
from pipelines.trials import TrialName, trials

SHOWN = ("miou", "macc", "mfscore", "iou_defect", "escape", "overkill")
"""Test metrics on the card."""


@dataclass(frozen=True)
class Candidate:
    """A trained trial, its weights' description, and what validation gave at the epoch that was kept."""

    trial: TrialName
    description: ModelDescription
    value: float

    @property
    def fingerprint(self) -> str:
        """Of its training."""
        return str(self.description.metadata["fingerprint"])


def candidates(settings: ProductParams, params: ProjectParams, dataset: PreparedDataset) -> list[Candidate]:
    """The trials of the main grid that may be registered, each with its validation metric.

    Raises:
        ValueError: a trial was trained on another state of the dataset, or its history lacks the metric.
    """
    found = []
    for trial in trials(params):
        if trial.dataset != settings.dataset or (settings.methods and trial.method not in settings.methods):
            continue
        description = ModelDescription.read(trial.model)
        if description.metadata["dataset"]["digest"] != dataset.digest:
            raise ValueError(f"{trial.model} is of another state of '{trial.dataset}'; run `make repro`")
        kept = description.metadata["best"]
        value = kept.get(settings.metric)
        if value is None:
            known = sorted(key for key, number in kept.items() if key != "epoch" and number is not None)
            raise ValueError(f"{trial} has no validation metric '{settings.metric}'; it has {known}")
        found.append(Candidate(trial, description, float(value)))
    return found


def test_metrics(trial: TrialName) -> dict[str, float]:
    """The metrics of a trial's test that a card shows, 0-1; those that are not defined are left out."""
    measured = read_json(trial.metrics)
    return {key: measured[key] for key in SHOWN if measured.get(key) is not None}
