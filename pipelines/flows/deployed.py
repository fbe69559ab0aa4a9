"""The flows that prefect.yaml deploys; each does what the command of the same name does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed

from pipelines.flows.commands import STOP, StageError
from pipelines.flows.experiment import run_experiment
from pipelines.flows.grid import GridName, run_grid
from pipelines.flows.lock import FlowRunsError
from pipelines.flows.notify import reported
from pipelines.flows.pull import Tell
from pipelines.flows.retrain import run_retrain
from pipelines.flows.runs import note_run, quiet_log
from pipelines.flows.stages import Ran


@flow(name="retrain")
def retrain(root: str = ".") -> State[Any]:
    """Take over new data, run what has changed up to the gate, and tell how it ended.

    Args:
        root: the project's folder, from where the worker is.
    """
    return _deployed("retrain", root, run_retrain)


@flow(name="experiment")
def experiment(root: str = ".") -> State[Any]:
    """Run all that has changed.

    Args:
        root: the project's folder, from where the worker is.
    """
    return _deployed("experiment", root, run_experiment)


@flow(name="grid")
def grid(name: GridName, root: str = ".") -> State[Any]:
    """Run one grid of params.yaml, with all it needs.

    Args:
        name: its key there.
        root: the project's folder, from where the worker is.
    """
    return _deployed("grid", root, lambda place, tell: run_grid(name, place, tell))


def _deployed(name: str, root: str, run: Callable[[Path, Tell], Ran]) -> State[Any]:
    """Run a flow as Prefect's: its lines go to the run's log, and its state says how it ended.

    Raises:
        StageError: ``root`` is no project, or as ``run`` does.
        ConfigError: as ``run`` does.
    """
    quiet_log()
    place = Path(root).resolve()
    if not (place / "dvc.yaml").is_file():
        raise StageError(f"{place} is not the folder of a project: it has no dvc.yaml")
    logger = get_run_logger()
    # Prefect's own handling of SIGTERM stays: with it a run that is cancelled can say so.
    STOP.clear()

    def tell(line: str) -> None:
        (logger.warning if line.startswith(("warning: ", "rejected: ", "failed: ")) else logger.info)(line)

    note_run(place, tell)
    try:
        outcome = reported(place, name, lambda: run(place, tell), tell)
    except FlowRunsError as error:
        # Neither a success nor an alarm: the other one does the work.
        return Cancelled(message=str(error))
    return Completed(message=outcome.text)
