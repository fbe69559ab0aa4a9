"""Closing a run with the truth about how it ended."""

from __future__ import annotations

import logging
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cadnet.tracking.tracker import Run, Tracker
from cadnet.tracking.trials import TAG_ERROR, FinalStatus

logger = logging.getLogger(__name__)


class Terminated(SystemExit):
    """SIGTERM arrived. Uncaught it ends the process with the status a shell gives that signal."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


@contextmanager
def run_scope(
    run: Run, *, stage: str, tracker: Tracker | None = None, parent: Run | None = None
) -> Iterator[Run]:
    """Close ``run`` (and ``stage`` of it) as FINISHED, FAILED or KILLED, whichever is true at its end.

    FAILED leaves the error as a tag and its traceback as an artifact. Ctrl-C and SIGTERM give KILLED; for the
    latter a handler is installed while the block runs, in the main thread only. With ``tracker`` and
    ``parent`` the parent's status is settled too. The exception always goes on.
    """
    with _sigterm_raises():
        try:
            yield run
            run.finish("FINISHED", stage)
        except BaseException as error:
            _close_after(error, run, status_of(error), stage)
            raise
        finally:
            _settle(tracker, parent)


def status_of(error: BaseException) -> FinalStatus:
    """The status of a run that ended with ``error``."""
    if isinstance(error, SystemExit):
        # Lightning turns Ctrl-C into exit(1) and SIGTERM into a SystemExit of its own without a code.
        if type(error) is not SystemExit or _caused_by_interrupt(error):
            return "KILLED"
        return "FINISHED" if error.code in (0, None) else "FAILED"
    return "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"


def _caused_by_interrupt(error: BaseException) -> bool:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, KeyboardInterrupt | Terminated):
            return True
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return False


def _close_after(error: BaseException, run: Run, status: FinalStatus, stage: str) -> None:
    """Close the run; a failing store must not hide the error that is on its way."""
    try:
        if status == "FAILED":
            run.set_tags({TAG_ERROR: f"{stage}: {type(error).__name__}: {error}"})
            text = "".join(traceback.format_exception(error))
            run.log_text(text, f"errors/{stage}.txt")
    except Exception:
        logger.exception("the error of run %s could not be recorded", run.run_id)
    try:
        run.finish(status, stage)
    except Exception:
        logger.exception("run %s could not be marked %s", run.run_id, status)


def _settle(tracker: Tracker | None, parent: Run | None) -> None:
    if tracker is None or parent is None:
        return
    try:
        tracker.settle_parent(parent)
    except Exception:
        # The next stage or sweep settles it; the trial itself is recorded.
        logger.exception("the parent run %s could not be settled", parent.run_id)


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Turn the first SIGTERM into ``Terminated``; later ones are ignored so that closing can complete."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    previous = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        # None stands for a handler that was not installed from Python.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if previous is None else previous)
