"""Tracking switched off."""

# ruff: noqa: ARG002 (the arguments are those of the protocol)
from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cadnet.tracking.environment import Provenance
from cadnet.tracking.tracker import MetricPoint, Run, RunRecord, TrackingError
from cadnet.tracking.trials import FinalStatus, Trial

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class NullRun:
    """A run that is recorded nowhere."""

    run_id = "untracked"
    resumed = False

    def log_params(self, params: Mapping[str, Any], artifact: str = "params.yaml") -> None:
        """Record nothing."""

    def log_metrics(self, points: Iterable[MetricPoint]) -> None:
        """Record nothing."""

    def log_table(self, table: pd.DataFrame, artifact: str) -> None:
        """Record nothing."""

    def log_figure(self, figure: Figure | Path | str, artifact: str) -> None:
        """Record nothing."""

    def log_text(self, text: str, artifact: str) -> None:
        """Record nothing."""

    def log_artifact(self, path: Path | str, folder: str | None = None) -> None:
        """Record nothing."""

    def log_artifacts(self, directory: Path | str, folder: str | None = None) -> None:
        """Record nothing."""

    def log_dataset(self, name: str, digest: str, source: str, context: str = "training") -> None:
        """Record nothing."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Record nothing."""

    def tags(self) -> dict[str, str]:
        """Always empty."""
        return {}

    def log_environment(self, provenance: Provenance, artifact: str = "environment.json") -> None:
        """Record nothing."""

    def download(self, artifact: str, destination: Path | str) -> Path:
        """Always fails: nothing was recorded."""
        raise TrackingError(
            f"{artifact} was not recorded because tracking is off; switch it on and run again"
        )

    def finish(self, status: FinalStatus, stage: str | None = None) -> None:
        """Record nothing."""


class NullTracker:
    """Tracking switched off: every run opens, and nothing is kept."""

    def open_parent(self, key: str, experiment: str, provenance: Provenance | None = None) -> NullRun:
        """A run that is recorded nowhere."""
        return NullRun()

    def open_run(
        self,
        trial: Trial,
        fingerprint: str,
        *,
        stage: str,
        parent: Run | None = None,
        run_id: str | None = None,
        restart: bool = False,
        provenance: Provenance | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> NullRun:
        """A run that is recorded nowhere."""
        return NullRun()

    def settle_parent(self, parent: Run) -> None:
        """Do nothing."""

    def sweep_stale(self, experiment: str | None = None) -> list[str]:
        """Find nothing."""
        return []

    def find_runs(self, experiment: str, tags: Mapping[str, str] | None = None) -> list[RunRecord]:
        """Find nothing."""
        return []

    def find_run(self, run_id: str) -> NullRun:
        """A run that is recorded nowhere."""
        return NullRun()
