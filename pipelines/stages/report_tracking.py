"""The report's tables and page in the tracking store: one parent run per experiment, with its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from cadnet.reporting.data import MethodRun
from cadnet.tracking import collect_provenance, invocation_key, open_tracker
from pipelines.trials import REPORTS


@dataclass(frozen=True, eq=False)
class ExperimentRecord:
    """What the parent run of an experiment receives.

    ``table`` is what its page shows as a table; ``files`` are names in reports/tables without ending, the
    first one's markdown becomes the run's description; ``plots`` are folders in reports/plots.
    """

    experiment: str
    dataset: str
    table: pd.DataFrame
    runs: Sequence[MethodRun]
    files: Sequence[str]
    plots: Sequence[str]


def track_report(records: Sequence[ExperimentRecord], scale: str) -> None:
    """Log tables, plots and the page to the parent run of each experiment, and close it."""
    tracker = open_tracker()
    key, provenance = invocation_key("."), collect_provenance(".")
    for record in records:
        parent = tracker.open_parent(key, record.experiment, provenance)
        markdown = (REPORTS / "tables" / f"{record.files[0]}.md").read_text("utf-8")
        # MLflow's page draws the note as the run's description.
        parent.set_tags({"dataset": record.dataset, "scale": scale, "mlflow.note.content": markdown})
        parent.log_table(record.table, "tables/results.json")
        parent.log_table(run_table(record.runs), "tables/runs.json")
        for name in record.files:
            for kind in ("md", "csv"):
                if (file := REPORTS / "tables" / f"{name}.{kind}").is_file():
                    parent.log_artifact(file, "tables")
        for name in record.plots:
            if (folder := REPORTS / "plots" / name).is_dir():
                parent.log_artifacts(folder, f"plots/{name}")
        parent.log_artifact(REPORTS / "index.html", "report")
        tracker.settle_parent(parent)


def run_table(runs: Sequence[MethodRun]) -> pd.DataFrame:
    """Which tracked run each row of the table is from; trials that were up to date have an older parent."""
    return pd.DataFrame(
        [
            {
                "method": run.title,
                "seed": run.seed,
                "run_id": run.mlflow_run_id,
                "miou": run.result.metrics.miou,
                "iou_defect": run.result.metrics.defect.iou,
            }
            for run in runs
        ]
    )
