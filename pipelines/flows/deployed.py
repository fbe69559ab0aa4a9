"""The flows as Prefect knows them: stages as tasks, and what prefect.yaml deploys."""

from __future__ import annotations

import logging
import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from uuid import UUID

# Before prefect is imported: it reads its settings then, and must neither call home nor leave the project.
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_HOME", str(Path.cwd() / ".prefect"))
# Its own server takes 12 s to start on a free machine and longer than the default 20 s on a busy one.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")

from httpx import HTTPError, InvalidURL
from prefect import Flow, flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, TaskRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import CancelledRun, ObjectNotFound
from prefect.futures import PrefectFuture
from prefect.logging.loggers import flow_run_logger
from prefect.runtime import flow_run
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
    PREFECT_SERVER_API_AUTH_STRING,
    PREFECT_SERVER_CORS_ALLOWED_ORIGINS,
    temporary_settings,
)
from prefect.states import Cancelled, Completed, Crashed

from cadnet.signals import STOPPED
from cadnet.tracking.processes import ProcessMark
from cadnet.tracking.store import without_password
from pipelines.flows.commands import REPRO, STOP, Log, StageError, run_command, without_advice
from pipelines.flows.plan import (
    FlowName,
    FlowRunsError,
    GridName,
    make_plan,
    only_flow,
    read_runs,
    write_runs,
)
from pipelines.flows.project import stage_kind
from pipelines.flows.report import FlowResult, failure, read_decisions, report, results_page, success
from pipelines.flows.scheduling import Schedule, machine_slots
from pipelines.profile import PROFILES, profile_of
from pipelines.trials import PARAMS

HOUR = 3600.0
TIMEOUTS = {
    "prepare": 2 * HOUR,
    "validate": HOUR,
    "train": 24 * HOUR,
    "evaluate": 2 * HOUR,
    "misalign": 2 * HOUR,
    "register": HOUR,
    "gate": 2 * HOUR,
    "report": HOUR / 2,
}
"""Seconds a stage may take, by its kind."""

UNFINISHED = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


def _may_pass(_task: object, _run: object, state: State[Any]) -> bool:
    """Whether trying again can help: not where the stage named what the user has to fix."""
    error = state.result(raise_on_failure=False)
    return not STOP.is_set() and not (isinstance(error, StageError) and error.names_fix)


@task(retries=1, retry_delay_seconds=5, retry_condition_fn=_may_pass, task_run_name="{stage}")
def run_stage(stage: str, root: str, variables: dict[str, str]) -> str:
    """Run one stage with ``dvc repro -s``; safe to repeat, because DVC and checkpoints resume.

    Args:
        stage: its name.
        variables: what its environment has besides the usual.

    Raises:
        StageError: the stage failed twice, took too long or named an error that the user has to fix.
    """
    limit = TIMEOUTS.get(stage_kind(stage), HOUR)
    try:
        run_command([*REPRO, stage], Path(root), limit, without_advice(get_run_logger().info), variables)
    except StageError as error:
        # Prefect prints it several times, and all the lines have been shown.
        raise StageError(error.reason) from None
    return stage


def run_stages(root: Path, stages: Mapping[str, list[str]]) -> None:
    """Run ``stages`` as tasks of the current flow run; a failed one does not stop its siblings.

    Args:
        stages: each stage with those of them it needs, in an order that can be run.

    Raises:
        StageError: at least one stage failed and those that need it were not run, or the user stopped it.
        ConfigError: the parameters are not valid and are needed to share out several GPUs.
    """
    try:
        schedule = _run_all(root, stages)
    except BaseException:
        # Prefect waits for its threads, and those for their stages.
        STOP.set()
        raise
    if STOP.is_set():
        raise StageError(STOPPED)
    _publish_results(root)
    if schedule.failed:
        raise StageError(f"stages failed:\n{schedule.failures()}")


def _run_all(root: Path, stages: Mapping[str, list[str]]) -> Schedule:
    """Run what can be run until nothing is left."""
    logger = get_run_logger()
    slots = machine_slots(root, os.environ)
    schedule = Schedule(stages)
    futures: dict[str, PrefectFuture[Any]] = {}
    ended: SimpleQueue[str] = SimpleQueue()
    started = time.monotonic()
    while True:
        for stage in schedule.ready() if not STOP.is_set() else ():
            if (variables := slots.take(stage)) is not None:
                schedule.begin(stage)
                # Those before have ended; they are named so that Prefect's page shows the graph.
                before = [futures[name] for name in stages[stage]]
                futures[stage] = run_stage.submit(stage, str(root), variables, wait_for=before)  # type: ignore[call-overload]
                futures[stage].add_done_callback(partial(_note_end, ended, stage))
        if schedule.is_idle:
            return schedule
        stage = ended.get()
        schedule.end(stage, _failure(futures[stage]))
        slots.give_back(stage)
        logger.info(schedule.progress(stage, time.monotonic() - started))


def _note_end(ended: SimpleQueue[str], stage: str, _future: PrefectFuture[Any]) -> None:
    ended.put(stage)


def _failure(future: PrefectFuture[Any]) -> str | None:
    """Why a stage that has ended failed, None if it did not."""
    future.wait()
    if future.state.is_completed():
        return None
    error = future.state.result(raise_on_failure=False)
    return error.reason if isinstance(error, StageError) else f"{type(error).__name__}: {error}"


def _publish_results(root: Path) -> None:
    """Show results and decisions as an artifact of the run; without them the run is as good."""
    try:
        create_markdown_artifact(
            results_page(root, os.environ), "results", description="Results and decisions"
        )
    except Exception as error:
        get_run_logger().warning(f"the results are not on this page: {type(error).__name__}: {error}")


def run_as_flow(name: FlowName, root: Path, stages: dict[str, list[str]], log: Log, grid: str = "") -> None:
    """Run stages as a flow run of Prefect's, for a command that holds the flow lock.

    Raises:
        StageError: as :func:`run_stages`.
        ConfigError: as :func:`run_stages`.
    """

    def body(stages: dict[str, list[str]]) -> None:
        _quiet_log()
        record_run(root, get_run_logger().warning)
        run_stages(root, stages)

    shown = run_name(name, root, grid, datetime.now(UTC))
    with _reachable_server(log):
        flow(name=name, flow_run_name=shown)(body)(stages)


@contextmanager
def _reachable_server(log: Log) -> Iterator[None]:
    """Use the server that ``PREFECT_API_URL`` names where it answers, otherwise one of this flow's own."""
    own: dict[Any, Any] = {PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: True}
    if (address := PREFECT_API_URL.value()) and not _answers():
        named = without_password(address)
        log(f"warning: PREFECT_API_URL {named} does not answer; this flow uses a server of its own")
        own[PREFECT_API_URL] = address = None
    if not address:
        # It listens on a port of this machine, where without a login any page in a browser could reach it.
        login = f"cadnet:{secrets.token_urlsafe(24)}"
        own |= {PREFECT_API_AUTH_STRING: login, PREFECT_SERVER_API_AUTH_STRING: login}
        own[PREFECT_SERVER_CORS_ALLOWED_ORIGINS] = "http://127.0.0.1"
    with temporary_settings(own):
        yield


def _answers() -> bool:
    try:
        with get_client(sync_client=True) as client:
            return client.api_healthcheck() is None
    except InvalidURL:
        return False


def run_name(flow_name: str, root: Path, grid: str, start: datetime) -> str:
    """Return the name of a flow run: ``experiment default 2820cba``, ``retrain 2026-11-30 02:00``.

    Args:
        flow_name: ``experiment``, ``grid`` or ``retrain``.
        grid: key of the grid in params.yaml, where it is one.
        start: when the run was due, in UTC.
    """
    if flow_name == "retrain":
        return f"retrain {start:%Y-%m-%d %H:%M}"
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        commit = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        commit = ""
    return " ".join(filter(None, [flow_name, grid or _profile(root), commit]))


def _profile(root: Path) -> str:
    """The profile that params.yaml holds, "custom" if none."""
    text = (root / PARAMS).read_text("utf-8") if (root / PARAMS).is_file() else ""
    return profile_of(text, root / PROFILES) or "custom"


def record_run(root: Path, log: Log) -> None:
    """Record this flow run in the project, and crash those of killed flows that Prefect believes to run.

    Only for the holder of the flow lock. Heartbeats and the automation of :mod:`pipelines.flows.serve` do not
    suffice: a temporary server sees no automation and is killed with its flow, tasks have no heartbeats, and
    the next run comes before the silence counts as an end.
    """
    kept = {str(flow_run.id): ProcessMark.current()}
    with get_client(sync_client=True) as client:
        for run, mark in read_runs(root).items():
            try:
                if mark.has_ended():
                    _crash(UUID(run), client, log)
                else:
                    # It has released the lock and is about to report its end.
                    kept[run] = mark
            except HTTPError as error:
                log(f"warning: the run {run} of a killed flow could not be looked up: {error}")
                kept[run] = mark
    write_runs(root, kept)


def _crash(run: UUID, client: SyncPrefectClient, log: Log) -> None:
    """Crash a flow run and its tasks, as far as they have not ended."""
    try:
        state = client.read_flow_run(run).state
    except ObjectNotFound:
        return
    if state is None or state.is_final():
        return
    message = "its process has ended"
    client.set_flow_run_state(run, Crashed(message=message), force=True)
    log(f"flow run {run} was {state.name} and is crashed: {message}")
    tasks = client.read_task_runs(
        flow_run_filter=FlowRunFilter.model_validate({"id": {"any_": [run]}}),
        task_run_filter=TaskRunFilter.model_validate({"state": {"type": {"any_": UNFINISHED}}}),
    )
    for one in tasks:
        client.set_task_run_state(one.id, Crashed(message=message), force=True)


def _quiet_log() -> None:
    """Let Prefect log what ends a flow without a traceback: where Prefect noticed it helps nobody."""
    for name in ("prefect.task_runs", "prefect.flow_runs"):
        logging.getLogger(name).addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, StageError):
        record.exc_info = None
    # A run that was refused has logged it, and Prefect takes it for an unexpected error.
    return not isinstance(error, CancelledRun)


def report_state(of: Flow[..., Any], run: FlowRun, state: State[Any]) -> None:
    """State hook of the deployed flows: log and post how a run ended.

    A worker calls it too, in its own process, for a flow that was killed.
    """
    root = Path(run.parameters.get("root", ".")).resolve()
    now = datetime.now(UTC)
    since = run.start_time or now
    decisions = read_decisions(root, since)
    if state.name in ("Promoted", "Rejected", "Trained", "Unchanged", "Refused"):
        result = FlowResult(state.name.lower(), state.message or "", list(decisions.values()))  # type: ignore[arg-type]
    elif state.is_failed():
        error = state.result(raise_on_failure=False)
        result = failure(
            error if isinstance(error, Exception) else StageError(state.message or ""), False, decisions
        )
    elif state.is_crashed() and not STOP.is_set():
        result = FlowResult("crashed", state.message or "its process has ended", list(decisions.values()))
    else:
        result = failure(StageError(STOPPED), True, decisions)
    logger = flow_run_logger(run, of)

    def log(line: str) -> None:
        (
            logger.warning
            if line.startswith(("warning: ", "rejected: ", "failed: ", "crashed: "))
            else logger.info
        )(line)

    report(root, of.name, result, (now - since).total_seconds(), os.environ, log)


def _run_name() -> str:
    """The name of the deployed run that begins now."""
    parameters = flow_run.parameters or {}
    root = Path(parameters.get("root", ".")).resolve()
    due = flow_run.scheduled_start_time or datetime.now(UTC)
    return run_name(flow_run.flow_name or "", root, str(parameters.get("name", "")), due.astimezone(UTC))


REPORTING = {
    "flow_run_name": _run_name,
    "on_completion": [report_state],
    "on_failure": [report_state],
    "on_crashed": [report_state],
    "on_cancellation": [report_state],
}


@flow(name="retrain", **REPORTING)  # type: ignore[call-overload]
def retrain(root: str = ".") -> State[Any]:
    """Take over new data, run what has changed up to the gate, and report the result.

    Args:
        root: the project's folder, from where the worker is.
    """
    return _deployed("retrain", root)


@flow(name="experiment", **REPORTING)  # type: ignore[call-overload]
def experiment(root: str = ".") -> State[Any]:
    """Run all that has changed.

    Args:
        root: the project's folder, from where the worker is.
    """
    return _deployed("experiment", root)


@flow(name="grid", **REPORTING)  # type: ignore[call-overload]
def grid(name: GridName, root: str = ".") -> State[Any]:
    """Run one grid of params.yaml, with all it needs.

    Args:
        name: its key there.
        root: the project's folder, from where the worker is.
    """
    return _deployed("grid", root, name)


def _deployed(name: FlowName, root: str, grid_name: str = "") -> State[Any]:
    """Run a flow as the command of the same name does; the state says how it ended.

    Raises:
        StageError: ``root`` is no project, or as :func:`make_plan` and :func:`run_stages`.
        ConfigError: as :func:`make_plan` and :func:`run_stages`.
    """
    _quiet_log()
    folder = Path(root).resolve()
    if not (folder / "dvc.yaml").is_file():
        raise StageError(f"{folder} is not the folder of a project: it has no dvc.yaml")
    log, since = get_run_logger().info, datetime.now(UTC)
    # Prefect's own handling of SIGTERM stays: with it a run that is cancelled can report so.
    STOP.clear()
    try:
        with only_flow(folder, f"{name} {grid_name}".strip()):
            record_run(folder, log)
            plan = make_plan(name, folder, log, grid_name)
            if plan.stages:
                run_stages(folder, plan.stages)
    except FlowRunsError as error:
        # Neither a success nor an alarm: the other one does the work.
        return Cancelled(name="Refused", message=str(error))
    except BaseException as error:
        if not isinstance(error, Exception):
            STOP.set()
        raise
    result = success(list(plan.stages), read_decisions(folder, since))
    return Completed(name=result.kind.capitalize(), message=result.text)
