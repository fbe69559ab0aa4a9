"""Flow ``experiment``: the DVC stages as Prefect tasks, side by side where they can be.

``python -m pipelines.flows.experiment`` leaves what ``dvc repro`` leaves.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

# Before prefect is imported: it reads its settings then, and must neither call home nor leave the project.
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_HOME", str(Path.cwd() / ".prefect"))

import torch
from prefect import flow, get_run_logger, task
from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from pipelines.flows.dag import StageError, run_command, stage_dependencies

TRAINING_LIMIT = "cadnet-training"
"""Global concurrency limit: one training per GPU (one in all without a GPU), over all flows of a server."""

HOUR = 3600.0
TIMEOUTS = {"prepare": 2 * HOUR, "train": 24 * HOUR, "evaluate": 2 * HOUR, "report": HOUR / 2}
"""Seconds a stage may take."""

MAX_PARALLEL = 4


@task(retries=1, retry_delay_seconds=5, task_run_name="{stage}")
def run_stage(stage: str, root: str) -> str:
    """Run one stage with ``dvc repro -s``; safe to repeat, because DVC and checkpoints resume.

    Raises:
        StageError: the stage failed twice or took too long.
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
    _limit_training()
    futures: dict[str, PrefectFuture[Any]] = {}
    for stage, needs in stage_dependencies(Path(root)).items():
        before = [futures[name] for name in needs]
        futures[stage] = run_stage.submit(stage, root, wait_for=before)  # type: ignore[call-overload]
    failed = []
    for stage, future in futures.items():
        future.wait()
        if not future.state.is_completed():
            failed.append(f"{stage} ({future.state.name})")
    if failed:
        raise StageError("these stages did not complete: " + ", ".join(failed))
    return list(futures)


def _limit_training() -> None:
    slots = max(1, torch.cuda.device_count())
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(TRAINING_LIMIT, slots)


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
