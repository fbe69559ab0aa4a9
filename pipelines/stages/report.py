"""Stage ``report``: all enabled cells to tables, plots and one self-contained page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from cadnet.config import DatasetParams, MvtecAdParams, PkuPcbParams, ProjectParams, SynLCDParams, load_params
from cadnet.datasets.manifest import PreparedDataset, open_dataset
from cadnet.evaluation.complexity import count_macs, count_parameters
from cadnet.evaluation.result import EvaluationResult
from cadnet.files import read_json, write_bytes
from cadnet.models.weights import load_model
from cadnet.reporting.comparison import compare_methods, interval_table
from cadnet.reporting.data import DatasetReport, Efficiency, Link, MethodRun, ReportData, by_method
from cadnet.reporting.figures import curve_figures, interval_figures, iou_figures, training_figures
from cadnet.reporting.html import write_report
from cadnet.reporting.tables import (
    differing_settings,
    results_markdown,
    results_table,
    table_title,
    write_table,
)
from cadnet.tracking import collect_provenance, invocation_key, open_tracker
from cadnet.types import SPLITS
from pipelines.cells import PARAMS, REPORTS, CellName, cells, dataset_folder
from pipelines.stages.command import run_stage
from pipelines.stages.evaluate import SPLIT, read_counts
from pipelines.stages.sheets import sample_pictures

PAPER = Path("params/paper.yaml")


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


def report(params: ProjectParams) -> None:
    """Write reports/tables, reports/plots and reports/index.html, and log the tables to the parent runs."""
    datasets = [_dataset_report(name, params) for name in params.run.datasets]
    for name, part in zip(params.run.datasets, datasets, strict=True):
        _write_tables(name, part, params.run.scale)
        _write_plots(name, part, params.run.scale)
    write_report(_page(params, datasets), REPORTS / "index.html")
    _track(params, datasets)


def _dataset_report(name: str, params: ProjectParams) -> DatasetReport:
    dataset = open_dataset(dataset_folder(name))
    enabled = [cell for cell in cells(params) if cell.dataset == name]
    title, published = heading(name, params.datasets[name])
    sizes = {split: int((dataset.manifest["split"] == split).sum()) for split in SPLITS}
    runs = [_method_run(cell, params, dataset) for cell in enabled]
    pictures = sample_pictures(dataset, enabled, params)
    group_title, subset_title = part_titles(params.datasets[name])
    counts = [read_counts(cell.evaluation / "counts.npz") for cell in enabled]
    groups = dataset.split(SPLIT)["group"].astype(str).iloc[counts[0].index].tolist()
    comparison = compare_methods(runs, counts, groups, group_title=group_title)
    links = [Link(f"Table ({kind})", f"tables/{name}.{kind}") for kind in ("csv", "md")]
    if comparison is not None:
        links.append(Link("Differences and intervals (csv)", f"tables/{name}-intervals.csv"))
    return DatasetReport(
        title=title,
        runs=runs,
        published=published,
        differences=_differences(name, params),
        sizes=sizes,
        digest=dataset.digest,
        overlays=pictures.overlays,
        maps=pictures.maps,
        comparison=comparison,
        group_title=group_title,
        subset_title=subset_title,
        links=links,
    )


def _method_run(cell: CellName, params: ProjectParams, dataset: PreparedDataset) -> MethodRun:
    model, description = load_model(cell.model)
    size = int(dataset.manifest["height"].iloc[0])
    speed = read_json(cell.evaluation / "speed.json")
    history = pd.read_csv(cell.history)
    macs = count_macs(model, size)
    return MethodRun(
        title=params.methods[cell.method].title,
        seed=cell.seed,
        result=EvaluationResult.from_dict(read_json(cell.evaluation / "result.json")),
        efficiency=Efficiency(
            params_m=count_parameters(model) / 1e6,
            gmacs_paper=macs.paper / 1e9,
            gmacs_full=macs.full / 1e9,
            pairs_per_second=speed["eval_pairs_per_second"],
            latency_ms=1000 / speed["eval_pairs_per_second"],
            device=speed["device"],
            size=size,
        ),
        history=history,
        mlflow_run_id=_run_id(cell, params, description.metadata["fingerprint"]),
        train_seconds=float(history["train_seconds"].sum()),
    )


def _run_id(cell: CellName, params: ProjectParams, fingerprint: str) -> str | None:
    tracked = cell.tracked(params.run.scale)
    runs = open_tracker().find_runs(tracked.experiment, {"cadnet.fingerprint": fingerprint})
    return runs[0].run_id if runs else None


def _differences(name: str, params: ProjectParams) -> list[str]:
    if not PAPER.is_file():
        return []
    paper = load_params(PAPER)
    return differing_settings(_settings(name, params, params), _settings(name, paper, params))


def _settings(name: str, source: ProjectParams, params: ProjectParams) -> dict[str, Any]:
    """The settings of ``source`` that concern the dataset ``name`` and the methods that ``params`` runs."""
    return {
        "data": source.datasets[name].model_dump() if name in source.datasets else {},
        "methods": {m: source.methods[m].model_dump() for m in params.run.methods if m in source.methods},
        "train": source.train.model_dump(),
    }


def _write_tables(name: str, part: DatasetReport, scale: str) -> None:
    table = results_table(part.runs, part.published, scale)
    classes = part.runs[0].result.class_names
    title = table_title(part.title, scale, part.runs)
    write_table(REPORTS / "tables" / name, table, results_markdown(table, title, classes, part.differences))
    if part.comparison is not None:
        write_table(REPORTS / "tables" / f"{name}-intervals", interval_table(part.comparison))


def _write_plots(name: str, part: DatasetReport, scale: str) -> None:
    groups = by_method(part.runs)
    figures = {
        "training": training_figures(groups, scale),
        "curves": curve_figures(groups, scale),
        "iou": iou_figures(part.runs, part.published, scale),
        "intervals": interval_figures(part.comparison, part.runs, scale),
    }
    pictures = {kind: [p for group in found for p in group.pictures] for kind, found in figures.items()}
    pictures |= {"overlays": list(part.overlays), "maps": list(part.maps)}
    for kind, found in pictures.items():
        for number, picture in enumerate(found, start=1):
            write_bytes(REPORTS / "plots" / name / f"{kind}-{number}.png", picture.png)


def _page(params: ProjectParams, datasets: Sequence[DatasetReport]) -> ReportData:
    provenance = collect_provenance(".")
    environment = {
        key: str(value) for key, value in provenance.environment.items() if not isinstance(value, dict)
    }
    return ReportData(
        title="CADNet: change-aware defect segmentation",
        scale=params.run.scale,
        datasets=datasets,
        generated=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        git_commit=provenance.commit or "",
        params=PARAMS.read_text("utf-8"),
        environment=environment,
    )


def _track(params: ProjectParams, datasets: Sequence[DatasetReport]) -> None:
    """Log tables and the page to the parent run of each dataset's experiment, and close it."""
    tracker = open_tracker()
    key, provenance = invocation_key("."), collect_provenance(".")
    for name, part in zip(params.run.datasets, datasets, strict=True):
        experiment = CellName(name, params.run.methods[0], params.run.seeds[0]).tracked("").experiment
        parent = tracker.open_parent(key, experiment, provenance)
        markdown = (REPORTS / "tables" / f"{name}.md").read_text("utf-8")
        # MLflow's page draws the note as the run's description.
        parent.set_tags({"dataset": name, "scale": params.run.scale, "mlflow.note.content": markdown})
        parent.log_table(results_table(part.runs, part.published, params.run.scale), "tables/results.json")
        parent.log_table(_run_table(part.runs), "tables/runs.json")
        parent.log_artifact(REPORTS / "tables" / f"{name}.md", "tables")
        if part.comparison is not None:
            parent.log_table(interval_table(part.comparison), "tables/intervals.json")
        parent.log_artifacts(REPORTS / "plots" / name, "plots")
        parent.log_artifact(REPORTS / "index.html", "report")
        tracker.settle_parent(parent)


def _run_table(runs: Sequence[MethodRun]) -> pd.DataFrame:
    """Which tracked run each row of the table is from; cells that were up to date have an older parent."""
    return pd.DataFrame(
        [
            {
                "method": run.title,
                "seed": run.seed,
                "run_id": run.mlflow_run_id,
                "miou": run.result.metrics.miou,
            }
            for run in runs
        ]
    )


def main() -> None:
    """Entry of ``python -m pipelines.stages.report``."""
    run_stage(lambda: report(load_params(PARAMS)))
    sys.stdout.write(f"report: open {REPORTS / 'index.html'}\n")


if __name__ == "__main__":
    main()
