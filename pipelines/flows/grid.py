"""Run one grid of params.yaml, with all it needs: ``python -m pipelines.flows.grid NAME``."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from pipelines.flows.commands import StageError
from pipelines.flows.dag import Graph, read_changed, with_ancestors
from pipelines.flows.lock import only_flow
from pipelines.flows.pull import Tell
from pipelines.flows.stages import Ran, read_project, run_changed
from pipelines.flows.terminal import run_in_terminal, show

GridName = Literal["run", "ablation", "cross", "semi"]

STAGES: dict[str, tuple[str, ...]] = {
    "run": ("train", "evaluate"),
    "ablation": ("train-ablation", "evaluate-ablation"),
    "cross": ("train-cross", "evaluate-cross"),
    "semi": ("pretrain", "finetune", "evaluate-pretrained", "evaluate-finetuned"),
}
"""Each grid with its stages, without what follows ``@``."""


def run_grid(name: str, root: Path, tell: Tell = show) -> Ran:
    """Run what has changed of one grid and of all it needs; the report and other grids are left.

    Args:
        name: key of the grid in params.yaml.
        root: the project's folder.
        tell: takes a line for the user.

    Raises:
        FlowRunsError: another flow runs there.
        StageError: there is no such grid, it has no trials, DVC cannot read the project, raw inputs are
            missing, the user stopped it, or at least one stage failed.
        ConfigError: the parameters are not valid and are needed to share out several GPUs.
    """
    with only_flow(root, f"grid {name}"):
        graph = read_project(root, tell)
        part = Graph(grid_part(name, graph.needs), graph.inputs)
        return run_changed(root, part, read_changed(root), tell)


def grid_part(name: str, needs: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
    """Return the part of a graph that is one grid and all it needs.

    Raises:
        StageError: there is no such grid, or it has no trials.
    """
    trials = {grid: [stage for stage in needs if stage.split("@")[0] in STAGES[grid]] for grid in STAGES}
    if not trials.get(name):
        filled = ", ".join(grid for grid in trials if trials[grid]) or "none"
        problem = "has no trials" if name in STAGES else "is not known"
        raise StageError(f"the grid '{name}' {problem}; params.yaml fills: {filled}")
    return with_ancestors(needs, trials[name])


def main() -> None:
    """Entry of ``python -m pipelines.flows.grid``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help=f"one of {', '.join(STAGES)}")
    name = parser.parse_args().name
    run_in_terminal(lambda: show(run_grid(name, Path()).text))


if __name__ == "__main__":
    main()
