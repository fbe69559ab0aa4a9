"""How many stages this machine can run side by side, and what each of them may use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch

from cadnet.config import load_params
from pipelines.flows.dag import stage_kind
from pipelines.trials import PARAMS

MAX_PARALLEL = 4
"""Stages side by side, unless there are more GPUs."""

MEMORY = 3 << 30
"""Bytes that a training on the CPU may need."""

PLACED = frozenset({"train", "evaluate", "register", "gate"})
"""Kinds of stages that need a place."""

MEMINFO = Path("/proc/meminfo")


def machine_places(root: Path, environ: Mapping[str, str]) -> Places:
    """Return the places of this machine.

    Args:
        root: the project's folder; where there are several GPUs, its parameters say how many a training uses.
        environ: the user's environment; what is set there is respected.

    Raises:
        ConfigError: the parameters are needed and not valid.
    """
    gpus = torch.cuda.device_count()
    if not gpus:
        free = cpu_places(usable_cores(), available_memory(), environ.get("OMP_NUM_THREADS"))
    else:
        devices = load_params(root / PARAMS).train.devices if gpus > 1 else 1
        free = gpu_places(gpus, devices, environ.get("CUDA_VISIBLE_DEVICES"))
    return Places(free, on_gpu=gpus > 0)


def gpu_places(gpus: int, devices: int | Literal["auto"], visible: str | None) -> list[dict[str, str]]:
    """Return the places of a machine with GPUs, one entry per place: the variables of a training.

    Each place has GPUs of its own, ``devices`` of them, and one where that is "auto".

    Args:
        gpus: how many there are, at least 1.
        devices: GPUs per training.
        visible: the user's CUDA_VISIBLE_DEVICES.
    """
    each = 1 if devices == "auto" else devices
    if gpus <= each:
        return [{}]
    names = visible.split(",") if visible else [str(number) for number in range(gpus)]
    starts = range(0, gpus - each + 1, each)
    return [{"CUDA_VISIBLE_DEVICES": ",".join(names[start : start + each])} for start in starts]


def cpu_places(cores: int, memory: int | None, threads: str | None) -> list[dict[str, str]]:
    """Return the places of a machine without a GPU, one entry per place: the variables of a training.

    The places share the cores evenly, because trainings of few threads side by side are faster than one after
    another with all threads. Their number does not depend on how many trainings are left: one that goes on
    after a stop has as many threads as before, and so gives the same bits.

    Args:
        cores: what this process may use, at least 1.
        memory: free bytes, if known.
        threads: the user's OMP_NUM_THREADS.
    """
    wanted = _first_number(threads)
    count = min(MAX_PARALLEL, cores // (wanted or 1))
    if memory is not None:
        count = min(count, memory // MEMORY)
    count = max(1, count)
    return [{} if threads else {"OMP_NUM_THREADS": str(cores // count)} for _ in range(count)]


def usable_cores() -> int:
    """Return how many cores this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_memory(meminfo: Path = MEMINFO) -> int | None:
    """Return the bytes that new processes can have without swapping, None where the system does not say."""
    try:
        lines = meminfo.read_text("ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


class Places:
    """Who may run beside whom.

    What computes with a network takes a place. Preparing uses all cores itself: one at a time and, where
    trainings need the cores, not beside them. Other stages need no place. All together have a limit, too.
    """

    def __init__(self, free: list[dict[str, str]], *, on_gpu: bool) -> None:
        self.count = len(free)
        """Places there are in all."""
        self.limit = max(MAX_PARALLEL, len(free))
        self._free = list(free)
        self._on_gpu = on_gpu
        self._taken: dict[str, dict[str, str]] = {}

    def take(self, stage: str) -> dict[str, str] | None:
        """Let ``stage`` in; returns the variables to run it with, or None if it has to wait."""
        kind = stage_kind(stage)
        if len(self._taken) >= self.limit or not self._kinds().isdisjoint(self._excluded_by(kind)):
            return None
        if kind in PLACED and not self._free:
            return None
        self._taken[stage] = self._free.pop(0) if kind in PLACED else {}
        return self._taken[stage]

    def give_back(self, stage: str) -> None:
        """``stage`` has ended."""
        variables = self._taken.pop(stage)
        if stage_kind(stage) in PLACED:
            self._free.append(variables)

    def _kinds(self) -> set[str]:
        return {stage_kind(stage) for stage in self._taken}

    def _excluded_by(self, kind: str) -> set[str]:
        """The kinds that must not run beside ``kind``."""
        if kind == "prepare":
            return {"prepare"} if self._on_gpu else {"prepare", *PLACED}
        return {"prepare"} if kind in PLACED and not self._on_gpu else set()


def _first_number(text: str | None) -> int | None:
    """OMP_NUM_THREADS may be a list, one number per level of nesting."""
    first = (text or "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) else None
