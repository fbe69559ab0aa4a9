"""Flow runs that Prefect believes to run although their process has ended."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, TaskRunFilter
from prefect.client.schemas.objects import StateType
from prefect.exceptions import CancelledRun, ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Crashed

from pipelines.flows.commands import StageError
from pipelines.flows.processes import RUNS, read_notes, write_note
from pipelines.flows.pull import Tell

TAG = "cadnet"
"""What the deployments of prefect.yaml are tagged with."""

PENDING_LIMIT = timedelta(minutes=10)
"""A run that was handed to a worker so long ago and has not begun never will."""

ENDED = "its process has ended"
UNFINISHED = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


def note_run(root: Path, tell: Tell) -> None:
    """Note this flow run in the project, and look after those noted before it.

    The note stays when the run ends: only the next one can see that it has also told the server so.

    Args:
        root: the project's folder.
        tell: takes a line for the log.
    """
    write_note(root / RUNS / f"{flow_run.id}.json", os.getpid(), os.getppid(), f"flow run {flow_run.name}")
    with get_client(sync_client=True) as client:
        sweep(root / RUNS, client, tell)


def sweep(folder: Path, client: SyncPrefectClient, tell: Tell) -> None:
    """Crash the flow runs whose process has ended without saying so, and those that no worker will begin.

    Args:
        folder: where flow runs are noted.
        client: of the server that knows them.
        tell: takes a line for the log.
    """
    try:
        for note in read_notes(folder):
            if note.is_gone:
                _crash_noted(UUID(note.path.stem), client, tell)
                note.path.unlink(missing_ok=True)
        _crash_forgotten(client, tell)
    except HTTPError as error:
        # The notes stay for the next flow.
        tell(f"warning: runs of killed flows could not be looked up: {error}")


def quiet_log() -> None:
    """Let Prefect log what ends a flow without a traceback: where Prefect noticed it helps nobody."""
    for name in ("prefect.task_runs", "prefect.flow_runs"):
        logging.getLogger(name).addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, StageError):
        record.exc_info = None
    # A run that was refused has said so, and Prefect takes it for an unexpected error.
    return not isinstance(error, CancelledRun)


def _crash_noted(run: UUID, client: SyncPrefectClient, tell: Tell) -> None:
    """Crash a flow run and its tasks, as far as they have not ended."""
    try:
        state = client.read_flow_run(run).state
    except ObjectNotFound:
        return
    if state is None or state.is_final():
        return
    client.set_flow_run_state(run, Crashed(message=ENDED), force=True)
    tell(f"flow run {run} was {state.name} and is crashed: {ENDED}")
    tasks = client.read_task_runs(
        flow_run_filter=FlowRunFilter.model_validate({"id": {"any_": [run]}}),
        task_run_filter=TaskRunFilter.model_validate({"state": {"type": {"any_": UNFINISHED}}}),
    )
    for task in tasks:
        client.set_task_run_state(task.id, Crashed(message=ENDED), force=True)


def _crash_forgotten(client: SyncPrefectClient, tell: Tell) -> None:
    """Crash deployed runs that a worker took and never began, because it was killed."""
    criteria = {"tags": {"all_": [TAG]}, "state": {"type": {"any_": [StateType.PENDING]}}}
    for run in client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(criteria)):
        if run.state and datetime.now(UTC) - run.state.timestamp > PENDING_LIMIT:
            client.set_flow_run_state(run.id, Crashed(message="its worker has ended"), force=True)
            tell(f"flow run {run.name} was never begun and is crashed: its worker has ended")
