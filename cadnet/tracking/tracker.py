"""What the pipeline asks of an experiment tracker, whatever stands behind it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cadnet.tracking.environment import Provenance
from cadnet.tracking.trials import FinalStatus, Trial

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MetricPoint = tuple[str, float, int | None]
"""(name, value, step). A step makes the point part of a curve; None a result, of which the last counts."""


class TrackingError(RuntimeError):
    """The tracking store is misconfigured, out of reach or refused something; the message says the cure."""


@dataclass(frozen=True)
class RunRecord:
    """A run as read back from the store. Times are milliseconds since 1970; ``end_time`` None: still runs."""

    run_id: str
    name: str
    status: str
    start_time: int
    end_time: int | None = None
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class Run(Protocol):
    """One open run. Everything logged to a resumed run adds to what it held before."""

    @property
    def run_id(self) -> str:
        """Identifier to resume the run by."""
        ...

    @property
    def resumed(self) -> bool:
        """Whether the run existed before."""
        ...

    def log_params(self, params: Mapping[str, Any], artifact: str = "params.yaml") -> None:
        """Record parameters (nested keys joined by dots), and all of them uncut as a YAML artifact."""
        ...

    def log_metrics(self, points: Iterable[MetricPoint]) -> None:
        """Record a batch of points; call once per epoch.

        A (name, step) that the run already holds is skipped, so that a resumed training may log again the
        epoch it repeats. Values that are not finite are left out and noted in a tag.
        """
        ...

    def log_table(self, table: pd.DataFrame, artifact: str) -> None:
        """Record a table as ``artifact`` (``*.json``), replacing an earlier one."""
        ...

    def log_figure(self, figure: Figure | Path | str, artifact: str) -> None:
        """Record a figure, or an image file there is already, as ``artifact`` (``*.png``)."""
        ...

    def log_text(self, text: str, artifact: str) -> None:
        """Record a text file."""
        ...

    def log_artifact(self, path: Path | str, folder: str | None = None) -> None:
        """Record a file under its own name in ``folder`` of the run."""
        ...

    def log_artifacts(self, directory: Path | str, folder: str | None = None) -> None:
        """Record all files of a directory in ``folder`` of the run."""
        ...

    def log_dataset(self, name: str, digest: str, source: str, context: str = "training") -> None:
        """Record which dataset the run used: its name, the digest of its content, where it lies."""
        ...

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags; too long values are cut."""
        ...

    def tags(self) -> dict[str, str]:
        """All tags of the run."""
        ...

    def log_environment(self, provenance: Provenance, artifact: str = "environment.json") -> None:
        """Record commit, data and GPU as tags and the software environment as an artifact."""
        ...

    def download(self, artifact: str, destination: Path | str) -> Path:
        """Fetch an artifact (file or folder) into the folder ``destination``; returns its local path."""
        ...

    def finish(self, status: FinalStatus, stage: str | None = None) -> None:
        """Write what is still buffered and close the run, and ``stage`` of it, with ``status``."""
        ...


class Tracker(Protocol):
    """Opens runs in a store and finds them again."""

    def open_parent(self, key: str, experiment: str, provenance: Provenance | None = None) -> Run:
        """Find or create the run of ``experiment`` beneath which the trials of invocation ``key`` lie."""
        ...

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
    ) -> Run:
        """Resume the trial's run, or create it where there is none.

        The run is ``run_id`` when given and still there, else the newest with tag ``cadnet.fingerprint``.
        ``restart`` says that ``stage`` begins from nothing: a run in which it had finished is then left as it
        is, under another tag, and a new one begins.
        """
        ...

    def settle_parent(self, parent: Run) -> None:
        """Give the parent the worst status of its trials, unless one of them still runs."""
        ...

    def sweep_stale(self, experiment: str | None = None) -> list[str]:
        """Mark as KILLED the runs whose process died without a word; returns their ids."""
        ...

    def find_runs(self, experiment: str, tags: Mapping[str, str] | None = None) -> list[RunRecord]:
        """The runs of an experiment whose tags match, newest first; none when there is no such experiment."""
        ...

    def find_run(self, run_id: str) -> Run:
        """A handle on an existing run, which is not resumed.

        Raises:
            TrackingError: there is no such run.
        """
        ...


def metric_points(values: Mapping[str, float], step: int | None = None) -> list[MetricPoint]:
    """Points of one step from a mapping of names to values."""
    return [(name, float(value), step) for name, value in values.items()]


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, leaf) of nested mappings; lists are leaves."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def split_finite(points: Iterable[MetricPoint]) -> tuple[list[MetricPoint], list[MetricPoint]]:
    """Separate the points with finite values from the others."""
    finite: list[MetricPoint] = []
    others: list[MetricPoint] = []
    for point in points:
        (finite if math.isfinite(point[1]) else others).append(point)
    return finite, others
