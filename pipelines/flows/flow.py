"""The Prefect flow: stages as tasks, side by side where they can be."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

# Before prefect is imported: it reads its settings then, and must neither call home nor leave the project.
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_HOME", str(Path.cwd() / ".prefect"))
# Its own server takes 12 s to start on a free machine and longer than the default 20 s on a busy one.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")

from prefect import flow, get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from pipelines.flows.commands import REPRO, STOP, STOPPED, StageError, is_advice, run_command
from pipelines.flows.dag import stage_kind
from pipelines.flows.resources import machine_places
from pipelines.flows.runs import note_run, quiet_log
from pipelines.flows.schedule import Schedule

HOUR = 3600.0
TIMEOUTS = {
    "prepare": 2 * HOUR,
    "validate": HOUR,
    "train": 24 * HOUR,
    "evaluate": 2 * HOUR,
    "register": HOUR,
    "gate": 2 * HOUR,
    "report": HOUR / 2,
}
"""Seconds a stage may take, by its kind."""


def _may_pass(_task: object, _run: object, state: State[Any]) -> bool:
    """Whether trying again can help: not where the stage named what the user has to mend."""
    error = state.result(raise_on_failure=False)
    return not STOP.is_set() and not (isinstance(error, StageError) and error.curable)


@task(retries=1, retry_delay_seconds=5, retry_condition_fn=_may_pass, task_run_name="{stage}")
def run_stage(stage: str, root: str, variables: dict[str, str]) -> str:
    """Run one stage with ``dvc repro -s``; safe to repeat, because DVC and checkpoints resume.

    Args:
        stage: its name.
        root: the project's folder.
        variables: what its environment has besides the usual.

    Raises:
        StageError: the stage failed twice, took too long or named an error that the user has to cure.
    """
    logger = get_run_logger()
    limit = TIMEOUTS.get(stage_kind(stage), HOUR)

    def show(line: str) -> None:
        if not is_advice(line):
            logger.info(line)

    try:
        run_command([*REPRO, stage], Path(root), limit, show, variables)
    except StageError as error:
        # Prefect prints it several times, and all the lines have been shown.
        raise StageError(error.reason) from None
    return stage


# Places say what may run; the threads have no limit of their own.
@flow(name="stages", task_runner=ThreadPoolTaskRunner())  # type: ignore[arg-type]
def run_stages(root: str, stages: dict[str, list[str]]) -> list[str]:
    """Run ``stages``; a failed one does not stop its siblings.

    Args:
        root: the project's folder.
        stages: each stage with those of them it needs, in an order that can be run.

    Returns:
        The stages.

    Raises:
        StageError: at least one stage failed; those that need it were not run.
    """
    quiet_log()
    note_run(Path(root), get_run_logger().warning)
    try:
        schedule = _run_all(root, stages)
    except BaseException:
        # Prefect waits for its threads, and those for their stages.
        STOP.set()
        raise
    if STOP.is_set():
        raise StageError(STOPPED)
    if schedule.failed:
        raise StageError(f"stages failed:\n{schedule.failures()}")
    return list(stages)


def _run_all(root: str, stages: dict[str, list[str]]) -> Schedule:
    """Run what can be run until nothing is left."""
    logger = get_run_logger()
    places = machine_places(Path(root), os.environ)
    schedule = Schedule(stages)
    futures: dict[str, PrefectFuture[Any]] = {}
    ended: SimpleQueue[str] = SimpleQueue()
    started = time.monotonic()
    while True:
        for stage in schedule.ready() if not STOP.is_set() else ():
            if (variables := places.take(stage)) is not None:
                schedule.begin(stage)
                # Those before have ended; they are named so that Prefect's page shows the graph.
                before = [futures[name] for name in stages[stage]]
                futures[stage] = run_stage.submit(stage, root, variables, wait_for=before)  # type: ignore[call-overload]
                futures[stage].add_done_callback(partial(_note_end, ended, stage))
        if len(schedule.done) + len(schedule.failed) == len(futures):
            return schedule
        stage = ended.get()
        schedule.end(stage, _failure(futures[stage]))
        places.give_back(stage)
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
