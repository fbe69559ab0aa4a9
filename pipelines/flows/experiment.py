"""Flow ``experiment``: the DVC stages as Prefect tasks, side by side where they can be.

``python -m pipelines.flows.experiment`` leaves what ``dvc repro`` leaves.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Before prefect is imported: it reads its settings then, and must neither call home nor leave the project.
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_HOME", str(Path.cwd() / ".prefect"))
# Its own server takes 12 s to start on a free machine and longer than the default 20 s on a busy one.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")

import torch
from filelock import FileLock, Timeout
from prefect import flow, get_run_logger, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.objects import State
from prefect.concurrency.sync import concurrency
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import ThreadPoolTaskRunner

from pipelines.flows.dag import RUNNING, STOP, StageError, run_command, stage_dependencies

TRAINING_LIMIT = "cadnet-training"
"""Global concurrency limit: one training per GPU (one in all without a GPU), over all flows of a server."""

HOUR = 3600.0
TIMEOUTS = {
    "prepare": 2 * HOUR,
    "validate": HOUR,
    "train": 24 * HOUR,
    "evaluate": 2 * HOUR,
    "report": HOUR / 2,
}
"""Seconds a stage may take."""

MAX_PARALLEL = 4

STOPPED = "stopped; the same command goes on from here"
GRACE = 10.0
"""Seconds Prefect has to note that the flow was stopped."""


def _may_pass(_task: object, _run: object, state: State[Any]) -> bool:
    """Whether trying again can help: not where the stage named what the user has to mend."""
    error = state.result(raise_on_failure=False)
    return not STOP.is_set() and not (isinstance(error, StageError) and error.curable)


@task(retries=1, retry_delay_seconds=5, retry_condition_fn=_may_pass, task_run_name="{stage}")
def run_stage(stage: str, root: str) -> str:
    """Run one stage with ``dvc repro -s``; safe to repeat, because DVC and checkpoints resume.

    Raises:
        StageError: the stage failed twice, took too long or named an error that the user has to cure.
    """
    logger = get_run_logger()
    kind = stage.split("@")[0]
    command = ["dvc", "repro", "-s", stage]
    if kind == "train":
        with concurrency(TRAINING_LIMIT, occupy=1):
            run_command(command, Path(root), TIMEOUTS[kind], logger.info)
    else:
        run_command(command, Path(root), TIMEOUTS.get(kind, HOUR), logger.info)
    return stage


@flow(name="experiment", task_runner=ThreadPoolTaskRunner(max_workers=MAX_PARALLEL))  # type: ignore[arg-type]
def experiment(root: str = ".") -> list[str]:
    """Run every stage whose inputs changed; a failed cell does not stop its siblings.

    Returns:
        The stages that ran or were up to date.

    Raises:
        StageError: at least one stage failed; those that depend on it were not run.
    """
    with _only_flow(Path(root)), _stoppable():
        _limit_training()
        futures: dict[str, PrefectFuture[Any]] = {}
        for stage, needs in stage_dependencies(Path(root)).items():
            before = [futures[name] for name in needs]
            futures[stage] = run_stage.submit(stage, root, wait_for=before)  # type: ignore[call-overload]
        return _outcome(futures)


def _outcome(futures: dict[str, PrefectFuture[Any]]) -> list[str]:
    failed, skipped = [], []
    for stage, future in futures.items():
        future.wait()
        if future.state.is_failed() or future.state.is_crashed():
            failed.append(f"{stage}: {_reason(future.state)}")
        elif not future.state.is_completed():
            skipped.append(stage)
    if STOP.is_set():
        raise StageError(STOPPED)
    if failed or skipped:
        waiting = f"\nnot run, because they need them: {', '.join(skipped)}" if skipped else ""
        raise StageError("stages failed:\n" + "\n".join(failed) + waiting)
    return list(futures)


def _reason(state: State[Any]) -> str:
    error = state.result(raise_on_failure=False)
    return error.reason if isinstance(error, StageError) else f"{type(error).__name__}: {error}"


@contextmanager
def _only_flow(root: Path) -> Iterator[None]:
    """Hold the project's flow lock, which ends with the process: stages of two flows would collide in DVC."""
    path = root / ".prefect" / "experiment.lock"
    path.parent.mkdir(exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise StageError(f"another flow runs in {root.resolve()}; wait for it or end it") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the running stages, which are in process groups of their own."""
    STOP.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: object) -> None:
        STOP.set()
        threading.Thread(target=_leave, daemon=True).start()

    signals = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, stop) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, previous, strict=True):
            signal.signal(number, handler)


def _leave() -> None:
    """End this process once the stages have ended, if Prefect does not.

    Ctrl-C in a terminal ends Prefect's temporary server too, and Prefect would ask it for minutes.
    """
    while RUNNING:
        time.sleep(0.1)
    time.sleep(GRACE)
    sys.stderr.write(f"error: {STOPPED}\n")
    sys.stderr.flush()
    os._exit(1)


def _limit_training() -> None:
    slots = max(1, torch.cuda.device_count())
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(TRAINING_LIMIT, slots)
        if not PREFECT_API_URL.value():
            # Without a server nothing gives back the slots of a flow that was killed, and the next would wait
            # for ever. The lock says that no other flow lives which could hold them.
            free = GlobalConcurrencyLimitUpdate(active_slots=0)
            client.update_global_concurrency_limit(TRAINING_LIMIT, free)


def main() -> None:
    """Entry of ``python -m pipelines.flows.experiment``."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    try:
        stages = experiment()
    except StageError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from error
    sys.stdout.write(f"{len(stages)} stages are up to date\n")


if __name__ == "__main__":
    main()
