"""Flows as commands: what they print, how they are stopped, with which status they end."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cadnet.config import ConfigError
from cadnet.signals import STOPPED
from pipelines.flows.commands import RUNNING, STOP, Log, StageError
from pipelines.flows.plan import GRIDS, FlowName, Plan, make_plan, only_flow
from pipelines.flows.report import reported

GRACE = 10.0
"""Seconds Prefect has to record that the flow was stopped."""

DESCRIPTIONS: dict[FlowName, str] = {
    "experiment": "Run what has changed of the DVC stages, side by side where they can be; leaves what `dvc "
    "repro` leaves.",
    "grid": "Run what has changed of one grid of params.yaml and of all it needs.",
    "retrain": "Take over new data, run what has changed up to the gate, and report the result, as the "
    "deployment `retrain` does every night.",
}


def main(flow: FlowName) -> None:
    """Entry of ``python -m pipelines.flows.experiment``, ``.grid NAME`` and ``.retrain``."""
    parser = argparse.ArgumentParser(prog=f"python -m pipelines.flows.{flow}", description=DESCRIPTIONS[flow])
    if flow == "grid":
        parser.add_argument("name", help=f"one of {', '.join(GRIDS)}")
    grid = getattr(parser.parse_args(), "name", "")
    root = Path()
    if flow == "retrain":
        run_in_terminal(lambda: reported(root, flow, lambda: list(run_flow(flow, root).stages), show))
    else:
        run_in_terminal(lambda: show(run_flow(flow, root, grid=grid).done))


def run_flow(flow: FlowName, root: Path, log: Log = lambda line: show(line), grid: str = "") -> Plan:
    """Run what has changed as a Prefect flow; without changes no Prefect starts. Returns what has run.

    Args:
        flow: which.
        grid: key of the grid in params.yaml, for the flow ``grid``.

    Raises:
        FlowRunsError: another flow runs there.
        StageError: as :func:`make_plan`, or at least one stage failed; those that need it were not run.
        ConfigError: as :func:`make_plan`, or several GPUs have to be shared out.
    """
    with only_flow(root, f"{flow} {grid}".strip()):
        plan = make_plan(flow, root, log, grid)
        if plan.stages:
            # Only now: Prefect and its server take some 20 s, for nothing if nothing has changed.
            from pipelines.flows.deployed import run_as_flow

            run_as_flow(flow, root.resolve(), plan.stages, log, grid)
        return plan


def run_in_terminal(work: Callable[[], object]) -> None:
    """Do ``work``, or exit with a message that gives the reason and status 1, or 130 or 143 for a signal.

    Raises:
        SystemExit: ``work`` failed in a way the user can do something about, or was stopped.
    """
    received: list[int] = []
    try:
        with _stoppable(received):
            work()
    except BaseException as error:
        # Prefect has a signal of its own for SIGTERM.
        if received or isinstance(error, KeyboardInterrupt):
            sys.stderr.write(f"{STOPPED}\n")
            raise SystemExit(128 + (received or [signal.SIGINT])[0]) from None
        if not isinstance(error, StageError | ConfigError):
            raise
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from error


def show(line: str) -> None:
    """Write a line on the terminal."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextmanager
def _stoppable(received: list[int]) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the running stages, which are in process groups of their own.

    Args:
        received: gets the signals that arrive.
    """
    STOP.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: object) -> None:
        received.append(number)
        STOP.set()
        threading.Thread(target=_leave, args=(number,), daemon=True).start()

    signals = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, stop) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, previous, strict=True):
            signal.signal(number, handler)


def _leave(number: int) -> None:
    """End this process once the stages have ended, if Prefect does not.

    Ctrl-C in a terminal ends Prefect's temporary server too, and Prefect would wait minutes for its answer.
    """
    while RUNNING:
        time.sleep(0.1)
    time.sleep(GRACE)
    sys.stderr.write(f"{STOPPED}\n")
    sys.stderr.flush()
    os._exit(128 + number)
