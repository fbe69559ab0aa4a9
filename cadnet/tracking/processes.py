"""Recognising whether the process that opened a run still lives."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TAG_HOST = "cadnet.host"
TAG_PID = "cadnet.pid"
TAG_START = "cadnet.process_start"


@dataclass(frozen=True)
class ProcessMark:
    """Identity of a process: a process id alone may be given again to another process."""

    host: str
    pid: int
    start: str

    def tags(self) -> dict[str, str]:
        """The mark as run tags."""
        return {TAG_HOST: self.host, TAG_PID: str(self.pid), TAG_START: self.start}

    @staticmethod
    def current() -> ProcessMark:
        """The mark of this process."""
        return ProcessMark.of(os.getpid())

    @staticmethod
    def of(pid: int) -> ProcessMark:
        """The mark of a process of this host."""
        return ProcessMark(platform.node(), pid, process_start(pid) or "")

    @staticmethod
    def from_tags(tags: Mapping[str, str]) -> ProcessMark | None:
        """The mark recorded in ``tags``, or None when there is none or it is not readable."""
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
        return start is None or bool(self.start and start != self.start)


def process_start(pid: int) -> str | None:
    """When process ``pid`` started, as text that differs between processes; None when it does not run."""
    status = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return _start_by_ps(pid)
    try:
        # The command name is in brackets and may hold spaces and brackets itself.
        fields = status.read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    state, ticks = fields[0], fields[19]
    if state in "ZX":
        return None
    # Ticks count from boot, so they need the boot they count from.
    return f"{_boot()}:{ticks}"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()[:8]
    except OSError:
        return "boot"


def _start_by_ps(pid: int) -> str | None:
    """The same from ``ps``, for systems without /proc."""
    try:
        answer = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        # Not knowing must not read as dead: an unmarked start never differs.
        return ""
    return answer.stdout.strip() or None
