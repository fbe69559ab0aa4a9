"""What a flow has to run, and that one flow at a time runs in a project."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from cadnet.files import read_json, write_json
from cadnet.signals import STOPPED
from cadnet.tracking.processes import ProcessMark
from pipelines.flows.commands import (
    REPRO,
    STAGE_MARK,
    STATE,
    STOP,
    Log,
    StageError,
    end_left_over,
    run_command,
    without_advice,
)
from pipelines.flows.inputs import take_over
from pipelines.flows.project import Graph, forget_locks, read_project
from pipelines.registered import forget_missing

FlowName = Literal["experiment", "grid", "retrain"]
GridName = Literal["run", "ablation", "cross", "semi"]

GRIDS: dict[str, tuple[str, ...]] = {
    "run": ("train", "evaluate", "misalign"),
    "ablation": ("train-ablation", "evaluate-ablation"),
    "cross": ("train-cross", "evaluate-cross"),
    "semi": ("pretrain", "finetune", "evaluate-pretrained", "evaluate-finetuned"),
}
"""Each grid with its stages, without what follows ``@``."""

COMMIT_LIMIT = 2 * 3600.0
"""Seconds DVC may take to record raw inputs that have changed."""

HOLDER = STATE / "experiment.json"
"""Who holds the flow lock, and Prefect's runs of the flows that held it."""


class FlowRunsError(StageError):
    """Another flow runs in the project; this one has done nothing."""


@dataclass(frozen=True)
class Plan:
    """What a flow has to run."""

    stages: dict[str, list[str]]
    """Each stage with those of them it needs, in an order that can be run; empty if nothing has changed."""
    known: int
    """Stages that are up to date afterwards, those included that need not run."""

    @property
    def done(self) -> str:
        """The message when all of it has run."""
        return f"{self.known} stages are up to date"


def make_plan(flow: FlowName, root: Path, log: Log, grid: str = "") -> Plan:
    """Find out what has changed and record changed raw inputs, as ``dvc repro`` does.

    Only for the holder of the flow lock: what a killed flow has left running is ended.

    Args:
        flow: ``retrain`` takes over new data before, ``grid`` runs one grid and what it needs.
        grid: key of the grid in params.yaml.

    Raises:
        StageError: DVC cannot read the project, there is no such grid or it has no trials, data cannot be
            pulled, raw inputs are missing, or the user stopped it.
        ConfigError: data have to be pulled, and the parameters, which name what is needed, are not valid.
    """
    end_left_over(root, STAGE_MARK, log)
    forget_locks(root)
    forget_missing(root, log)
    project = read_project(root)
    if flow == "retrain" and take_over(root, project, log):
        project = read_project(root)
    graph, changed = project.graph, project.changed
    inputs = sorted(graph.inputs & changed.keys())
    if flow == "grid":
        graph = grid_part(grid, graph)
    stages = graph.with_descendants(changed).needs
    for name in inputs:
        try:
            run_command([*REPRO, name], root, COMMIT_LIMIT, without_advice(log))
        except StageError as error:
            raise StageError(STOPPED if STOP.is_set() else error.reason) from None
    if stages:
        log(f"{len(stages)} of {len(graph.needs)} stages have changed or need one that has")
    return Plan({stage: sorted(before) for stage, before in stages.items()}, len(graph.needs))


def grid_part(name: str, graph: Graph) -> Graph:
    """Return the part of a graph that is one grid and all it needs.

    Raises:
        StageError: there is no such grid, or it has no trials.
    """
    trials = {grid: [stage for stage in graph.needs if stage.split("@")[0] in GRIDS[grid]] for grid in GRIDS}
    if not trials.get(name):
        filled = ", ".join(grid for grid in trials if trials[grid]) or "none"
        problem = "has no trials" if name in GRIDS else "is not known"
        raise StageError(f"the grid '{name}' {problem}; params.yaml fills: {filled}")
    return graph.with_ancestors(trials[name])


@contextmanager
def only_flow(root: Path, flow: str) -> Iterator[None]:
    """Hold the project's flow lock, which ends with the process: stages of two flows would collide in DVC.

    Args:
        flow: what holds the lock, for the message to those refused.

    Raises:
        FlowRunsError: another flow holds it.
    """
    path = root / HOLDER
    path.parent.mkdir(exist_ok=True)
    lock = FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise FlowRunsError(
            f"another flow runs in {root.resolve()}{_who_holds(path)}; wait for it or end it"
        ) from error
    try:
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        runs = read_runs(root)
        write_json(path, {"flow": flow, "since": since, "process": asdict(ProcessMark.current())})
        write_runs(root, runs)
        yield
    finally:
        # Only a later flow can see whether the server knows how the runs have ended.
        if runs := read_runs(root):
            write_json(path, {})
            write_runs(root, runs)
        else:
            path.unlink(missing_ok=True)
        lock.release()


def read_runs(root: Path) -> dict[str, ProcessMark]:
    """Return Prefect's runs of the flows that held the lock, by id, each with its process."""
    try:
        return {run: ProcessMark(**mark) for run, mark in read_json(root / HOLDER)["runs"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_runs(root: Path, runs: Mapping[str, ProcessMark]) -> None:
    """Replace what :func:`read_runs` returns; only for the holder of the lock."""
    kept = {run: asdict(mark) for run, mark in runs.items()}
    write_json(root / HOLDER, read_json(root / HOLDER) | {"runs": kept})


def _who_holds(path: Path) -> str:
    """The holder in brackets, or nothing while it has not recorded who it is."""
    try:
        note = read_json(path)
        mark = ProcessMark(**note["process"])
        # The record of a killed flow is not about the one that runs now.
        return "" if mark.is_dead() else f" ({note['flow']}, process {mark.pid}, since {note['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
