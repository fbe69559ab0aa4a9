"""The trained cells that a product may be made of."""

from __future__ import annotations

from dataclasses import dataclass

from cadnet.config import ProjectParams
from cadnet.config.operate import ProductParams
from cadnet.datasets.manifest import PreparedDataset
from cadnet.files import read_json
from cadnet.models.weights import ModelDescription
from pipelines.cells import CellName, cells

SHOWN = ("miou", "macc", "mfscore", "iou_defect", "escape", "overkill")
"""Test metrics on the card."""


@dataclass(frozen=True)
class Candidate:
    """A trained cell, its weights' description, and what validation gave at the epoch that was kept."""

    cell: CellName
    description: ModelDescription
    value: float

    @property
    def fingerprint(self) -> str:
        """Of its training."""
        return str(self.description.metadata["fingerprint"])


def candidates(settings: ProductParams, params: ProjectParams, dataset: PreparedDataset) -> list[Candidate]:
    """The cells of the main grid that may be registered, each with its validation metric.

    Raises:
        ValueError: a cell was trained on another state of the dataset, or its history lacks the metric.
    """
    found = []
    for cell in cells(params):
        if cell.dataset != settings.dataset or (settings.methods and cell.method not in settings.methods):
            continue
        description = ModelDescription.read(cell.model)
        if description.metadata["dataset"]["digest"] != dataset.digest:
            raise ValueError(f"{cell.model} is of another state of '{cell.dataset}'; run `make repro`")
        kept = description.metadata["best"]
        value = kept.get(settings.metric)
        if value is None:
            known = sorted(key for key, number in kept.items() if key != "epoch" and number is not None)
            raise ValueError(f"{cell} has no validation metric '{settings.metric}'; it has {known}")
        found.append(Candidate(cell, description, float(value)))
    return found


def test_metrics(cell: CellName) -> dict[str, float]:
    """The metrics of a cell's test that a card shows, 0-1; those that are not defined are left out."""
    measured = read_json(cell.metrics)
    return {key: measured[key] for key in SHOWN if measured.get(key) is not None}
