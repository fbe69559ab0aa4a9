"""Everything a pipeline stage needs to be recorded, in one ``with``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cadnet.tracking.environment import collect_provenance, invocation_key
from cadnet.tracking.mlflow_tracker import open_tracker
from cadnet.tracking.scope import run_scope
from cadnet.tracking.tracker import Run, Tracker
from cadnet.tracking.trials import Trial


@contextmanager
def track_stage(
    trial: Trial,
    fingerprint: str,
    *,
    stage: str,
    root: Path | str = ".",
    params: Mapping[str, Any] | None = None,
    restart: bool = False,
    run_id: str | None = None,
    tracker: Tracker | None = None,
    params_file: str = "params.yaml",
) -> Iterator[Run]:
    """Open the trial's run beneath its invocation's, record where it comes from, and close it truthfully.

    With several training processes call it in the first one only; the others use ``NullTracker``.

    Args:
        trial: what is trained or scored.
        fingerprint: digest of all that decides the training; the same in every stage of the trial.
        stage: for example ``train`` or ``evaluate``.
        root: the project's folder.
        params: parameters to record.
        restart: the stage begins from nothing (no checkpoint was found): a finished run is not added to.
        run_id: run to resume, where the caller has kept it.
        tracker: where to record; by default the project's store.
        params_file: parameter file, part of the invocation's key.
    """
    tracker = tracker if tracker is not None else open_tracker(root)
    provenance = collect_provenance(root)
    tracker.sweep_stale(trial.experiment)
    parent = tracker.open_parent(invocation_key(root, params_file), trial.experiment, provenance)
    run = tracker.open_run(
        trial,
        fingerprint,
        stage=stage,
        parent=parent,
        run_id=run_id,
        restart=restart,
        provenance=provenance,
    )
    with run_scope(run, stage=stage, tracker=tracker, parent=parent):
        if not parent.resumed and (Path(root) / params_file).is_file():
            parent.log_artifact(Path(root) / params_file)
        run.log_environment(provenance, f"environment/{stage}.json")
        if params is not None:
            run.log_params(params)
        yield run
