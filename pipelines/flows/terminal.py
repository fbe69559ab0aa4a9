"""Flows as commands: what they print, how they are stopped, with which status they end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cadnet.config import ConfigError
from pipelines.flows.commands import RUNNING, STOP, STOPPED, StageError

GRACE = 10.0
"""Seconds Prefect has to note that the flow was stopped."""


def run_in_terminal(work: Callable[[], object]) -> None:
    """Do ``work``, or exit with status 1 and one line that says why.

    Raises:
        SystemExit: ``work`` failed in a way the user can do something about, or was stopped.
    """
    try:
        with _stoppable():
            work()
    except (StageError, ConfigError) as error:
        _fail(str(error), error)
    except BaseException as error:
        # Prefect has a signal of its own for SIGTERM.
        if not STOP.is_set() and not isinstance(error, KeyboardInterrupt):
            raise
        _fail(STOPPED, None)


def show(line: str) -> None:
    """Tell a line on the terminal."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _fail(reason: str, cause: Exception | None) -> None:
    sys.stderr.write(f"error: {reason}\n")
    raise SystemExit(1) from cause


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
