"""Retraining: take over new data, run what has changed up to the gate, and tell how it ended.

``python -m pipelines.flows.retrain`` does what the deployment ``retrain`` does every night.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.flows.dag import read_changed
from pipelines.flows.inputs import take_over
from pipelines.flows.lock import only_flow
from pipelines.flows.notify import reported
from pipelines.flows.pull import Tell
from pipelines.flows.stages import Ran, read_project, run_changed
from pipelines.flows.terminal import run_in_terminal, show


def run_retrain(root: Path, tell: Tell = show) -> Ran:
    """Pull data that are missing or that others have changed, and run what has changed.

    Validation, training, evaluation, registration and the gate are stages, so that nothing runs where nothing
    has changed, and a run that was killed is completed by the next.

    Args:
        root: the project's folder.
        tell: takes a line for the user.

    Raises:
        FlowRunsError: another flow runs there.
        StageError: data cannot be pulled, the user stopped it, or at least one stage failed.
        ConfigError: the parameters are not valid.
    """
    with only_flow(root, "retrain"):
        graph = read_project(root, tell)
        changed = read_changed(root)
        if take_over(root, graph.inputs, changed, tell):
            changed = read_changed(root)
        return run_changed(root, graph, changed, tell)


def main() -> None:
    """Entry of ``python -m pipelines.flows.retrain``."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    root = Path()
    run_in_terminal(lambda: reported(root, "retrain", lambda: run_retrain(root), show))


if __name__ == "__main__":
    main()
