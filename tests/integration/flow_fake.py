"""A stand-in for the commands that a flow runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

from pipelines.flows.commands import StageError


class Stages:
    """Stands in for ``run_command``: notes when and with what each stage ran; those in ``errors`` fail."""

    def __init__(self, errors: Mapping[str, str] | None = None) -> None:
        self.errors = dict(errors or {})
        self.times: dict[str, tuple[float, float]] = {}
        self.variables: dict[str, Mapping[str, str]] = {}
        self.order: list[str] = []
        self._lock = threading.Lock()

    def __call__(
        self, command: list[str], root: Path, timeout: float, log: object, extra: Mapping[str, str]
    ) -> None:
        assert command[:4] == ["dvc", "--wait-for-lock", "repro", "-s"]
        stage = command[4]
        with self._lock:
            self.order.append(stage)
        started = time.monotonic()
        time.sleep(0.3)
        # A second try does not count.
        self.times.setdefault(stage, (started, time.monotonic()))
        self.variables.setdefault(stage, extra)
        if stage in self.errors:
            raise StageError(self.errors[stage])

    def most_at_once(self, stages: list[str]) -> int:
        """How many of ``stages`` ran side by side."""
        spans = [self.times[stage] for stage in stages]
        return max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)
