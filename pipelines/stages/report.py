"""Stage ``report``: all enabled trials to tables, plots and one self-contained page."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cadnet.config import ProjectParams, load_params
from cadnet.datasets.manifest import open_dataset
from cadnet.reporting.comparison import compare_methods
from cadnet.reporting.cross import cross_table
from cadnet.reporting.data import CrossTest, DatasetReport, FewLabels, Link, ReportData, Study
from cadnet.reporting.few_labels import few_label_table
from cadnet.reporting.gate import gate_section
from cadnet.reporting.html import write_report
from cadnet.reporting.studies import study_table
from cadnet.reporting.tables import differing_settings, results_table
from cadnet.tracking import collect_provenance
from cadnet.types import SPLITS
from pipelines.stages.command import run_stage
from pipelines.stages.few_labels import few_labels
from pipelines.stages.gate_records import gate_records
from pipelines.stages.method_runs import method_runs, scored_counts
from pipelines.stages.report_files import (
    CROSS,
    FEW_LABELS,
    intervals_name,
    study_name,
    table_links,
    write_cross_files,
    write_dataset_files,
    write_few_label_files,
    write_study_files,
)
from pipelines.stages.report_tracking import ExperimentRecord, track_report
from pipelines.stages.search_section import search_section
from pipelines.stages.sheets import sample_pictures
from pipelines.stages.studies import cross_test, studies_of
from pipelines.trials import (
    PARAMS,
    REPORTS,
    TrialName,
    ablation_trials,
    cross_trials,
    dataset_folder,
    semi_trials,
    tracked,
    trials,
)

PAPER = Path("params/paper.yaml")


def report(params: ProjectParams) -> None:
    """Write reports/tables, reports/plots and reports/index.html, and log the tables to the parent runs."""
    scale = params.run.scale
    datasets = {name: _dataset_report(name, params) for name in params.run.datasets}
    for name, part in datasets.items():
        write_dataset_files(name, part, scale)
    studies = {
        name: [write_study_files(name, study, scale) for study in studies_of(name, params)]
        for name in params.ablation.datasets
    }
    cross = cross_test(params)
    if cross is not None:
        cross = write_cross_files(cross, scale)
    few = few_labels(params)
    if few is not None:
        few = write_few_label_files(few, scale)
    page = _page(params, list(datasets.values()), studies, cross, few)
    write_report(page, REPORTS / "index.html")
    track_report(_records(params, datasets, studies, page), scale)


def _dataset_report(name: str, params: ProjectParams) -> DatasetReport:
    dataset = open_dataset(dataset_folder(name))
    enabled = [trial for trial in trials(params) if trial.dataset == name]
    facts = params.datasets[name]
    sizes = {split: int((dataset.manifest["split"] == split).sum()) for split in SPLITS}
    runs = method_runs(enabled, params)
    pictures = sample_pictures(dataset, enabled, params)
    counts, groups = scored_counts(enabled)
    comparison = compare_methods(runs, counts, groups, group_title=facts.group_title)
    links = table_links(name)
    if comparison is not None:
        links.append(Link("Differences and intervals (csv)", f"tables/{intervals_name(name)}.csv"))
    return DatasetReport(
        title=facts.title or name,
        runs=runs,
        published=facts.published,
        differences=_differences(name, params),
        sizes=sizes,
        digest=dataset.digest,
        overlays=pictures.overlays,
        maps=pictures.maps,
        comparison=comparison,
        group_title=facts.group_title,
        subset_title=facts.subset_title,
        links=links,
    )


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


def _page(
    params: ProjectParams,
    datasets: Sequence[DatasetReport],
    studies: Mapping[str, Sequence[Study]],
    cross: CrossTest | None,
    few: FewLabels | None,
) -> ReportData:
    provenance = collect_provenance(".")
    environment = {
        key: str(value) for key, value in provenance.environment.items() if not isinstance(value, dict)
    }
    sections = [gate_section(gate_records(params)), search_section(params)]
    return ReportData(
        title="CADNet: change-aware defect segmentation",
        scale=params.run.scale,
        datasets=datasets,
        generated=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        git_commit=provenance.commit or "",
        params=PARAMS.read_text("utf-8"),
        environment=environment,
        studies=[study for found in studies.values() for study in found],
        cross=cross,
        few_labels=few,
        sections=[section for section in sections if section is not None],
    )


def _records(
    params: ProjectParams,
    datasets: Mapping[str, DatasetReport],
    studies: Mapping[str, Sequence[Study]],
    page: ReportData,
) -> list[ExperimentRecord]:
    """What the parent run of each experiment receives: its own tables and plots."""
    scale = params.run.scale
    records = []
    for name, part in datasets.items():
        files = [name, intervals_name(name)]
        table = results_table(part.runs, part.published, scale)
        experiment = _experiment(params, trials(params), name)
        records.append(ExperimentRecord(experiment, name, table, part.runs, files, [name]))
    for name, found in studies.items():
        names = [study_name(name, study) for study in found]
        if found:
            runs = {run.mlflow_run_id or id(run): run for study in found for run in study.runs}
            experiment = _experiment(params, ablation_trials(params), name)
            table = study_table(found[0], scale)
            records.append(ExperimentRecord(experiment, name, table, list(runs.values()), names, names))
    if (cross := page.cross) is not None:
        table, runs_there = cross_table(cross, scale), [run for part in cross.runs.values() for run in part]
        for name in params.cross.datasets:
            experiment = _experiment(params, cross_trials(params), name)
            records.append(ExperimentRecord(experiment, name, table, runs_there, [CROSS], [CROSS]))
    if (few := page.few_labels) is not None:
        name, grid = params.semi.dataset, semi_trials(params)
        there = [one.run for part in few.runs.values() for one in part]
        table, files = few_label_table(few, scale), [FEW_LABELS]
        records.append(ExperimentRecord(_experiment(params, grid, name), name, table, there, files, files))
    return records


def _experiment(params: ProjectParams, grid: Sequence[TrialName], dataset: str) -> str:
    """The experiment of a grid's trials that are scored on ``dataset``."""
    return next(tracked(trial, params).experiment for trial in grid if trial.test_dataset == dataset)


def main() -> None:
    """Entry of ``python -m pipelines.stages.report``."""
    run_stage(lambda: report(load_params(PARAMS)))
    sys.stdout.write(f"report: open {REPORTS / 'index.html'}\n")


if __name__ == "__main__":
    main()
