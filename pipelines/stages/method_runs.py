"""Finished cells as the rows that a report is made from."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from cadnet.config import DatasetParams, MvtecAdParams, PkuPcbParams, ProjectParams, SynLCDParams
from cadnet.datasets.manifest import open_dataset
from cadnet.evaluation.counts import Counts
from cadnet.evaluation.result import EvaluationResult
from cadnet.files import read_json
from cadnet.models.weights import ModelDescription
from cadnet.reporting.data import Efficiency, MethodRun
from cadnet.tracking import open_tracker
from cadnet.tracking.cells import TAG_FINGERPRINT
from pipelines.cells import CellName, dataset_folder, tracked
from pipelines.stages.evaluate import SPLIT, scored_fingerprint
from pipelines.stages.scoring import read_counts


def heading(name: str, params: DatasetParams) -> tuple[str, str | None]:
    """Return the title of a dataset's part of the report, and the paper's table for it."""
    if isinstance(params, SynLCDParams):
        return f"SynLCD, {params.subset} defects", "table3_synlcd" if params.subset == "mixed" else None
    if isinstance(params, PkuPcbParams):
        return "PKU-Market-PCB", "table4_pcb"
    if isinstance(params, MvtecAdParams):
        return "MVTec AD", "table5_mvtec"
    return name, None


def part_titles(params: DatasetParams) -> tuple[str, str]:
    """Return what a dataset's columns ``group`` and ``subset`` hold, in the singular."""
    if isinstance(params, SynLCDParams):
        return "display pattern", "subset"
    if isinstance(params, PkuPcbParams):
        return "photograph", "board"
    if isinstance(params, MvtecAdParams):
        return "photograph", "category"
    return "group", "product group"


def method_runs(cells: Sequence[CellName], params: ProjectParams) -> list[MethodRun]:
    """Read what training and evaluation left of each cell.

    Raises:
        FileNotFoundError: a cell is not finished; the message names it and the cure.
    """
    tracked_ids = run_ids(cells, params)
    return [_method_run(cell, params, tracked_ids.get(cell)) for cell in cells]


def scored_counts(cells: Sequence[CellName]) -> tuple[list[Counts], list[str]]:
    """Read the counts of cells scored on one dataset, and the group of each image in their order."""
    counts = [read_counts(cell.evaluation / "counts.npz") for cell in cells]
    rows = open_dataset(dataset_folder(cells[0].test_dataset)).split(SPLIT)
    return counts, rows["group"].astype(str).iloc[counts[0].index].tolist()


def _method_run(cell: CellName, params: ProjectParams, run_id: str | None) -> MethodRun:
    if not (cell.evaluation / "result.json").is_file():
        raise FileNotFoundError(f"cell {cell} has not been scored; run `make repro` or `dvc repro` first")
    history = pd.read_csv(cell.history)
    return MethodRun(
        title=params.methods[cell.method].title,
        seed=cell.seed,
        result=EvaluationResult.from_dict(read_json(cell.evaluation / "result.json")),
        efficiency=Efficiency(**read_json(cell.evaluation / "cost.json")),
        history=history,
        mlflow_run_id=run_id,
        train_seconds=float(history["train_seconds"].sum()),
    )


def run_ids(cells: Sequence[CellName], params: ProjectParams) -> dict[CellName, str]:
    """Find each cell's run in the tracking store; cells that were not tracked are left out."""
    tracker = open_tracker()
    names = {cell.test_dataset for cell in cells}
    datasets = {name: open_dataset(dataset_folder(name)) for name in names}
    experiments = {tracked(cell, params).experiment for cell in cells}
    # Newest first, so that of two runs of one fingerprint the newer stays.
    runs = [run for name in experiments for run in reversed(tracker.find_runs(name))]
    known = {run.tags.get(TAG_FINGERPRINT): run.run_id for run in runs}
    wanted = {
        cell: scored_fingerprint(cell, ModelDescription.read(cell.model), datasets[cell.test_dataset])
        for cell in cells
    }
    return {cell: known[fingerprint] for cell, fingerprint in wanted.items() if fingerprint in known}
