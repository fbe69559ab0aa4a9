"""Run what has changed of the DVC stages as a Prefect flow, side by side where they can be.

``python -m pipelines.flows.experiment`` leaves what ``dvc repro`` leaves.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.flows.dag import read_changed
from pipelines.flows.lock import only_flow
from pipelines.flows.pull import Tell
from pipelines.flows.stages import Ran, read_project, run_changed
from pipelines.flows.terminal import run_in_terminal, show


def run_experiment(root: Path, tell: Tell = show) -> Ran:
    """Run every stage whose inputs changed and what needs it; a failed trial does not stop its siblings.

    Args:
        root: the project's folder.
        tell: takes a line for the user.

    Raises:
        FlowRunsError: another flow runs there.
        StageError: DVC cannot read the project, raw inputs are missing, the user stopped it, or at least one
            stage failed; those that need it were not run.
        ConfigError: the parameters are not valid and are needed to share out several GPUs.
    """
    with only_flow(root, "experiment"):
        graph = read_project(root, tell)
        return run_changed(root, graph, read_changed(root), tell)


def main() -> None:
    """Entry of ``python -m pipelines.flows.experiment``."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    run_in_terminal(lambda: show(run_experiment(Path()).text))


if __name__ == "__main__":
    main()
