"""Recognising whether the process that opened a run still runs."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

TAG_HOST = "cadnet.host"
TAG_PID = "cadnet.pid"
TAG_START = "cadnet.process_start"


@dataclass(frozen=True)
class ProcessMark:
    """Identity of a process: a process id alone may be given again to another process.

    ``start`` is text that differs between processes of one id, "" where the process had ended already.
    """

    host: str
    pid: int
    start: str

    def tags(self) -> dict[str, str]:
        """Return the mark as run tags."""
        return {TAG_HOST: self.host, TAG_PID: str(self.pid), TAG_START: self.start}

    @staticmethod
    def current() -> ProcessMark:
        """Return the mark of this process."""
        return ProcessMark.of(os.getpid())

    @staticmethod
    def of(pid: int) -> ProcessMark:
        """Return the mark of a process of this host."""
        return ProcessMark(platform.node(), pid, process_start(pid) or "")

    @staticmethod
    def from_tags(tags: Mapping[str, str]) -> ProcessMark | None:
        """Return the mark recorded in ``tags``, None if there is none or it is not readable."""
        pid = tags.get(TAG_PID, "")
        if TAG_HOST not in tags or not pid.isdigit():
            return None
        return ProcessMark(tags[TAG_HOST], int(pid), tags.get(TAG_START, ""))

    def is_dead(self) -> bool:
        """Whether the process certainly ended; False for a process of another host, which cannot be seen."""
        return self.host == platform.node() and self.has_ended()

    def has_ended(self) -> bool:
        """The same for a process known to be of this host, whose name may have changed, as a container's."""
        start = process_start(self.pid)
        return start is None or bool(self.start and start and not _same(self.start, start))


def process_start(pid: int) -> str | None:
    """Return when process ``pid`` started as text, "" if that is not readable, None if it does not run."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        # Linux counts from boot; seconds since 1970 would change whenever the clock is set.
        return f"{process.create_time() - (psutil.boot_time() if psutil.LINUX else 0):.2f}"
    except psutil.AccessDenied:
        return ""
    except psutil.NoSuchProcess:
        return None


def _same(first: str, second: str) -> bool:
    """Whether two starts are of one process; the time of boot is read in whole seconds."""
    try:
        return abs(float(first) - float(second)) < 2
    except ValueError:
        return first == second
