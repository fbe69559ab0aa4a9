"""Running what has changed of the DVC stages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipelines.flows.commands import REPRO, STOP, STOPPED, StageError, is_advice, run_command
from pipelines.flows.dag import Changed, Graph, read_graph, with_descendants
from pipelines.flows.dvc_locks import forget_locks
from pipelines.flows.processes import COMMANDS, end_left_over
from pipelines.flows.pull import Tell

NOTING = 2 * 3600.0
"""Seconds DVC may take to note raw inputs that have changed."""


@dataclass(frozen=True)
class Ran:
    """What a flow has done."""

    stages: list[str]
    """Those that ran."""
    known: int
    """Stages that are up to date now, those that did not have to run included."""

    @property
    def text(self) -> str:
        """The same as one line."""
        return f"{self.known} stages are up to date"


def run_changed(root: Path, graph: Graph, changed: Changed, tell: Tell) -> Ran:
    """Run every stage whose inputs changed and what needs it; a failed trial does not stop its siblings.

    Only for who holds the project's flow lock.

    Args:
        root: the project's folder.
        graph: what DVC knows of it, or a part of that.
        changed: what DVC says has changed.
        tell: takes a line for the user.

    Raises:
        StageError: raw inputs are missing, the user stopped it, or at least one stage failed; those that need
            it were not run.
        ConfigError: the parameters are not valid and are needed to share out several GPUs.
    """
    stages = with_descendants(graph.needs, changed)
    for name in sorted(graph.inputs & changed.keys()):
        _note_input(name, root, tell)
    if stages:
        tell(f"{len(stages)} of {len(graph.needs)} stages have changed or need one that has")
        # Only now: Prefect and its server take some 20 s, for nothing if nothing has changed.
        from pipelines.flows.flow import run_stages

        run_stages(str(root.resolve()), {stage: sorted(before) for stage, before in stages.items()})
    return Ran(list(stages), len(graph.needs))


def read_project(root: Path, tell: Tell) -> Graph:
    """Return the project's graph, after ending what a killed flow has left running.

    Only for who holds the project's flow lock.

    Raises:
        StageError: DVC cannot read the project.
    """
    end_left_over(root / COMMANDS, tell)
    forget_locks(root)
    return read_graph(root)


def _note_input(name: str, root: Path, tell: Tell) -> None:
    """Let DVC take over raw inputs as they are now, as ``dvc repro`` does."""
    try:
        run_command([*REPRO, name], root, NOTING, lambda line: None if is_advice(line) else tell(line))
    except StageError as error:
        raise StageError(STOPPED if STOP.is_set() else error.reason) from None
