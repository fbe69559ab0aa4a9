"""How commands end by Ctrl-C and SIGTERM: with one line and the status of shells, 130 and 143."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = "stopped; the same command goes on from here"


class Terminated(SystemExit):
    """SIGTERM arrived. Uncaught it ends the process with the status a shell gives that signal."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


def stopping_signal(error: BaseException | None) -> signal.Signals | None:
    """Return the signal that an exception stands for, None for any other exception.

    Lightning turns Ctrl-C into exit(1), and SIGTERM into a SystemExit of its own without a code.
    """
    if isinstance(error, SystemExit) and type(error) is not SystemExit:
        return signal.SIGTERM
    seen: set[int] = set()
    cause = error if isinstance(error, SystemExit | KeyboardInterrupt) else None
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, KeyboardInterrupt | Terminated):
            return signal.SIGINT if isinstance(cause, KeyboardInterrupt) else signal.SIGTERM
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    return None


def leave_at_once() -> None:
    """Let both signals end the process directly, while it only loads its libraries."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # Ignored in a shell's background jobs, and that stays.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)


def _leave(number: int, _frame: FrameType | None) -> None:
    os.write(2, f"{STOPPED}\n".encode())
    os._exit(128 + number)


@contextmanager
def answered() -> Iterator[None]:
    """Let both signals raise in the block, which puts its things in order, and end it with one line.

    Raises:
        SystemExit: one arrived; the status is 130 or 143.
    """
    try:
        with raised():
            yield
    except BaseException as error:
        number = stopping_signal(error)
        if number is None:
            raise
        sys.stderr.write(f"{STOPPED}\n")
        raise SystemExit(128 + number) from None


@contextmanager
def raised() -> Iterator[None]:
    """Let Ctrl-C raise ``KeyboardInterrupt`` and the first SIGTERM ``Terminated``, in the main thread.

    Later SIGTERMs are ignored, so that the block can put its things in order.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if before[signal.SIGINT] is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        for number, handler in before.items():
            # None stands for a handler that was not installed from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
