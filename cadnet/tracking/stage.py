"""Recording a pipeline stage in one ``with``, and closing its run with how it really ended."""

from __future__ import annotations

import json
import logging
import os
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cadnet.signals import raised, stopping_signal
from cadnet.tracking.environment import collect_provenance, invocation_key
from cadnet.tracking.run import Run
from cadnet.tracking.tracker import Tracker, Untracked, open_tracker
from cadnet.tracking.trials import TAG_ERROR, FinalStatus, Trial

logger = logging.getLogger(__name__)


@contextmanager
def track_stage(
    trial: Trial,
    fingerprint: str,
    *,
    stage: str,
    root: Path | str = ".",
    params: Mapping[str, Any] | None = None,
    restart: bool = False,
    system_metrics: bool = False,
) -> Iterator[Run]:
    """Open the trial's run beneath its invocation's, log where it comes from, and close it truthfully.

    With several training processes call it in the first one only.

    Args:
        trial: what is trained or scored.
        fingerprint: digest of all that decides the training; the same in every stage of the trial.
        stage: for example ``train`` or ``evaluate``.
        root: the project's folder.
        params: parameters to log.
        restart: the stage begins from nothing (no checkpoint was found): a finished run is not added to.
        system_metrics: log the load of processor, memory, disk, network and GPU every ten seconds, unless
            ``MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING`` is false.
    """
    tracker = open_tracker(root)
    provenance = collect_provenance(root)
    tracker.sweep_stale(trial.experiment)
    parent = tracker.open_parent(invocation_key(root), trial.experiment, provenance)
    run = tracker.open_run(
        trial, fingerprint, stage=stage, parent=parent, restart=restart, provenance=provenance
    )
    with (
        run_scope(run, stage=stage, tracker=tracker, parent=parent),
        _system_metrics(tracker if system_metrics else None, run),
    ):
        if not parent.resumed and (Path(root) / "params.yaml").is_file():
            parent.log_artifact(Path(root) / "params.yaml")
        run.log_text(json.dumps(provenance.environment, indent=2) + "\n", f"environment/{stage}.json")
        if params is not None:
            run.log_params(params)
        yield run


@contextmanager
def run_scope(
    run: Run, *, stage: str, tracker: Tracker | None = None, parent: Run | None = None
) -> Iterator[Run]:
    """Close ``run`` (and ``stage`` of it) as FINISHED, FAILED or KILLED, whichever is true at its end.

    FAILED leaves the error as a tag and its traceback as an artifact. Ctrl-C and SIGTERM give KILLED; for the
    latter a handler is installed while the block runs, in the main thread only. With ``tracker`` and
    ``parent`` the parent's status is settled too. The exception always goes on.
    """
    with raised():
        try:
            yield run
            run.finish("FINISHED", stage)
        except BaseException as error:
            _close_after(error, run, status_of(error), stage)
            raise
        finally:
            if tracker is not None and parent is not None:
                try:
                    tracker.settle_parent(parent)
                except Exception:
                    # The next stage or sweep settles it; the trial itself is recorded.
                    logger.exception("the parent run %s could not be settled", parent.run_id)


def status_of(error: BaseException) -> FinalStatus:
    """Return the status of a run that ended with ``error``."""
    if stopping_signal(error) is not None:
        return "KILLED"
    if isinstance(error, SystemExit):
        return "FINISHED" if error.code in (0, None) else "FAILED"
    return "FAILED"


def _close_after(error: BaseException, run: Run, status: FinalStatus, stage: str) -> None:
    """Close the run; a failing store must not hide the error that is on its way."""
    try:
        if status == "FAILED":
            run.set_tags({TAG_ERROR: f"{stage}: {type(error).__name__}: {error}"})
            run.log_text("".join(traceback.format_exception(error)), f"errors/{stage}.txt")
    except Exception:
        logger.exception("the error of run %s could not be recorded", run.run_id)
    try:
        run.finish(status, stage)
    except Exception:
        logger.exception("run %s could not be marked %s", run.run_id, status)


@contextmanager
def _system_metrics(tracker: Tracker | None, run: Run) -> Iterator[None]:
    """Let MLflow's own monitor log the load of the machine to ``run`` from a thread."""
    wanted = os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true").lower() in ("true", "1")
    if tracker is None or isinstance(tracker, Untracked) or not wanted:
        yield
        return
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run.run_id, resume_logging=run.resumed, tracking_uri=tracker.store.uri)
    monitor.start()
    try:
        yield
    finally:
        with suppress(Exception):
            monitor.finish()
