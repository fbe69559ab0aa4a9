"""Names of the grids' cells and of the files that each stage reads and writes."""

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


def search_table(dataset: str) -> Path:
    """What was tried before the recipes were settled."""
    return Path("params/search") / f"{dataset}.csv"


VERDICT = "summary.json"
"""The verdict's file for programs."""


@dataclass(frozen=True)
class CellName:
    """One cell of a grid: what was trained on what with which seed, and what it is scored on.

    ``test`` names the dataset whose test split scores the cell, where that is a cross-test; "" is its own.
    """

    dataset: str
    method: str
    seed: int
    test: str = ""

    @property
    def path(self) -> Path:
        """Relative path shared by all files of the training."""
        return Path(self.dataset) / self.method / f"s{self.seed}"

    @property
    def scored_path(self) -> Path:
        """Relative path shared by all files of the evaluation."""
        scored = f"{self.dataset}-on-{self.test}" if self.test else self.dataset
        return Path(scored) / self.method / f"s{self.seed}"

    def __str__(self) -> str:
        return self.scored_path.as_posix()

    @property
    def test_dataset(self) -> str:
        """The dataset whose test split scores the cell."""
        return self.test or self.dataset

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
        return REPORTS / "metrics" / self.scored_path.with_suffix(".json")

    @property
    def curves(self) -> Path:
        """Precision-recall and F-threshold curves, for `dvc plots`."""
        return REPORTS / "curves" / self.scored_path.with_suffix(".csv")

    @property
    def evaluation(self) -> Path:
        """Everything the test measured: full result, counts and cost."""
        return REPORTS / "evaluation" / self.scored_path


def cells(params: ProjectParams) -> list[CellName]:
    """Return the cells of the main grid, in order."""
    return [CellName(*names) for names in params.run.cells]


def ablation_cells(params: ProjectParams) -> list[CellName]:
    """Return the cells of the ablation, without the complete method, which is of the main grid."""
    return [CellName(*names) for names in params.ablation.cells]


def cross_cells(params: ProjectParams) -> list[CellName]:
    """Return the cross-tests: each training of the grid scored on each of its datasets, its own too."""
    grid = params.cross
    return [
        CellName(dataset, method, seed, test)
        for dataset, test, method, seed in product(grid.datasets, grid.datasets, grid.methods, grid.seeds)
    ]


def training_stage(cell: CellName, params: ProjectParams) -> str:
    """Name of the DVC stage that trains the cell."""
    grid = _grid(cell, params)
    suffix = "" if grid == "run" else f"-{grid}"
    return f"train{suffix}@{cell.dataset}-{cell.method}-{cell.seed}"


def _grid(cell: CellName, params: ProjectParams) -> str:
    """The grid that trains the cell; the main one for a cell that none has, run by hand."""
    own = (cell.dataset, cell.method, cell.seed)
    return next((name for name, grid in params.grids.items() if own in grid.cells), "run")


def validation_stage(dataset: str, params: ProjectParams) -> str:
    """Name of the DVC stage that validates a dataset."""
    return f"validate{'-cross' if dataset in params.cross.datasets else ''}@{dataset}"


def tracked(cell: CellName, params: ProjectParams) -> Cell:
    """The cell as the tracking store names it.

    A cross-test is an experiment of the dataset it is scored on, its variant says what it was trained on.
    """
    dataset = cell.test_dataset
    subset = str(getattr(params.datasets.get(dataset), "subset", ""))
    if cell.test:
        task, variant = "cross", f"from-{cell.dataset}"
    else:
        task = "ablation" if _grid(cell, params) == "ablation" else "supervised"
        variant = ""
    return Cell(
        dataset, cell.method, cell.seed, task=task, scale=params.run.scale, variant=variant, subset=subset
    )
