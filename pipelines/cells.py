"""Names of the grid's cells and of the files that each stage reads and writes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

from cadnet.config import ProjectParams
from cadnet.tracking.cells import Cell

PARAMS = Path("params.yaml")
CACHE = Path("cache")
"""Decoded splits; may be deleted at any time."""
CHECKPOINTS = Path("checkpoints")
"""State of unfinished trainings."""
REPORTS = Path("reports")


def dataset_folder(dataset: str) -> Path:
    """Where the prepared dataset lies."""
    return Path("datasets") / dataset


def validation_folder(dataset: str) -> Path:
    """Where the verdict on the prepared dataset lies."""
    return REPORTS / "validate" / dataset


VERDICT = "summary.json"
"""The verdict's file for programs."""


@dataclass(frozen=True)
class CellName:
    """One cell of the grid: what was trained on what with which seed."""

    dataset: str
    method: str
    seed: int

    @property
    def path(self) -> Path:
        """Relative path shared by all the cell's files."""
        return Path(self.dataset) / self.method / f"s{self.seed}"

    def __str__(self) -> str:
        return self.path.as_posix()

    def tracked(self, scale: str) -> Cell:
        """The cell as the tracking store names it."""
        return Cell(self.dataset, self.method, self.seed, scale=scale)

    @property
    def stage_suffix(self) -> str:
        """What DVC appends to a stage's name for this cell."""
        return f"{self.dataset}-{self.method}-{self.seed}"

    @property
    def model(self) -> Path:
        """Trained weights, their description and the training history."""
        return Path("models") / self.path

    @property
    def history(self) -> Path:
        """One row per epoch, for `dvc plots`."""
        return REPORTS / "history" / self.path.with_suffix(".csv")

    @property
    def metrics(self) -> Path:
        """Headline test numbers, for `dvc metrics`."""
        return REPORTS / "metrics" / self.path.with_suffix(".json")

    @property
    def curves(self) -> Path:
        """Precision-recall and F-threshold curves, for `dvc plots`."""
        return REPORTS / "curves" / self.path.with_suffix(".csv")

    @property
    def evaluation(self) -> Path:
        """Everything the test measured: full result and overlays."""
        return REPORTS / "evaluation" / self.path


def cells(params: ProjectParams) -> list[CellName]:
    """Return the enabled cells in grid order."""
    run = params.run
    return [CellName(*names) for names in product(run.datasets, run.methods, run.seeds)]
