"""Progress of a long job: a bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

LOG_SECONDS = 10.0
"""Least time between two lines in a log."""


class Progress(Protocol):
    """Counts finished units."""

    def advance(self, count: int) -> None:
        """Count ``count`` more."""


class _Silent:
    def advance(self, count: int) -> None:
        pass


class _Lines:
    def __init__(self, total: int, done: int, title: str) -> None:
        self._total, self._done, self._title = total, done, title
        self._first, self._start = done, time.monotonic()
        self._last = self._start

    def advance(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._last < LOG_SECONDS and self._done < self._total:
            return
        self._last = now
        rate = (self._done - self._first) / max(now - self._start, 1e-9)
        sys.stderr.write(f"{self._title}: {self._done}/{self._total}, {rate:.1f}/s\n")
        sys.stderr.flush()


@contextmanager
def open_progress(shown: bool, total: int, done: int, title: str) -> Iterator[Progress]:
    """Yield a progress of ``total`` units of which ``done`` are finished; silent unless ``shown``."""
    if not shown:
        yield _Silent()
    elif not sys.stderr.isatty():
        yield _Lines(total, done, title)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bar(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(title, total=total, completed=done)

            class _Terminal:
                def advance(self, count: int) -> None:
                    bar.advance(task, count)

            yield _Terminal()
