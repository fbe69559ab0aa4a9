"""Which stages run next, how many side by side, and what each of them may use."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

import networkx as nx
import psutil
import torch

from cadnet.config import load_params
from pipelines.flows.project import stage_kind
from pipelines.trials import PARAMS

MAX_PARALLEL = 4
"""Stages side by side, unless there are more GPUs."""

MEMORY = 3 << 30
"""Bytes that a training on the CPU may need."""

SLOTTED = frozenset({"train", "evaluate", "misalign", "register", "gate"})
"""Kinds of stages that need a slot."""


def machine_slots(root: Path, environ: Mapping[str, str]) -> Slots:
    """Return the slots of this machine.

    Args:
        root: the project's folder; where there are several GPUs, its parameters say how many a training uses.
        environ: the user's environment; what is set there is respected.

    Raises:
        ConfigError: the parameters are needed and not valid.
    """
    gpus = torch.cuda.device_count()
    if not gpus:
        free = cpu_slots(usable_cores(), psutil.virtual_memory().available, environ.get("OMP_NUM_THREADS"))
    else:
        devices = load_params(root / PARAMS).train.devices if gpus > 1 else 1
        free = gpu_slots(gpus, devices, environ.get("CUDA_VISIBLE_DEVICES"))
    return Slots(free, on_gpu=gpus > 0)


def gpu_slots(gpus: int, devices: int | Literal["auto"], visible: str | None) -> list[dict[str, str]]:
    """Return the slots of a machine with GPUs, one entry per slot: the variables of a training.

    Each slot has GPUs of its own, ``devices`` of them, and one where that is "auto".

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


def cpu_slots(cores: int, memory: int, threads: str | None) -> list[dict[str, str]]:
    """Return the slots of a machine without a GPU, one entry per slot: the variables of a training.

    The slots share the cores evenly, because trainings of few threads side by side are faster than one after
    another with all threads. Their number does not depend on how many trainings are left: one that goes on
    after a stop has as many threads as before, and so gives the same bits.

    Args:
        cores: what this process may use, at least 1.
        memory: bytes that new processes can have without swapping.
        threads: the user's OMP_NUM_THREADS.
    """
    wanted = _first_number(threads)
    count = max(1, min(MAX_PARALLEL, cores // (wanted or 1), memory // MEMORY))
    return [{} if threads else {"OMP_NUM_THREADS": str(cores // count)} for _ in range(count)]


def usable_cores() -> int:
    """Return how many cores this process may use, which can be fewer than the machine has."""
    process = psutil.Process()
    # macOS lets no process choose its cores.
    return len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count() or 1


class Slots:
    """Who may run beside whom.

    What computes with a network takes a slot. Preparing uses all cores itself: one at a time and, where
    trainings need the cores, not beside them. Other stages need no slot. All together have a limit, too.
    """

    def __init__(self, free: list[dict[str, str]], *, on_gpu: bool) -> None:
        self.count = len(free)
        """All slots, free or not."""
        self.limit = max(MAX_PARALLEL, len(free))
        self._free = list(free)
        self._on_gpu = on_gpu
        self._taken: dict[str, dict[str, str]] = {}

    def take(self, stage: str) -> dict[str, str] | None:
        """Let ``stage`` in; returns the variables to run it with, or None if it has to wait."""
        kind = stage_kind(stage)
        running = {stage_kind(name) for name in self._taken}
        if len(self._taken) >= self.limit or not running.isdisjoint(self._excluded_by(kind)):
            return None
        if kind in SLOTTED and not self._free:
            return None
        self._taken[stage] = self._free.pop(0) if kind in SLOTTED else {}
        return self._taken[stage]

    def give_back(self, stage: str) -> None:
        """``stage`` has ended."""
        variables = self._taken.pop(stage)
        if stage_kind(stage) in SLOTTED:
            self._free.append(variables)

    def _excluded_by(self, kind: str) -> set[str]:
        """The kinds that must not run beside ``kind``."""
        if kind == "prepare":
            return {"prepare"} if self._on_gpu else {"prepare", *SLOTTED}
        return {"prepare"} if kind in SLOTTED and not self._on_gpu else set()


class Schedule:
    """The stages of one run of a graph; a failed one holds up only what needs it."""

    def __init__(self, needs: Mapping[str, Collection[str]]) -> None:
        """Take each stage with the stages it needs, in an order that can be run."""
        self.needs = {stage: set(before) for stage, before in needs.items()}
        self.done: set[str] = set()
        self.failed: dict[str, str] = {}
        """Failed stages, each with its reason."""
        self._begun: set[str] = set()

    @property
    def is_idle(self) -> bool:
        """Whether no stage runs."""
        return len(self.done) + len(self.failed) == len(self._begun)

    def ready(self) -> list[str]:
        """Return the stages that may begin, most urgent first."""
        ready = [
            name for name, before in self.needs.items() if name not in self._begun and before <= self.done
        ]
        # A trained trial is evaluated before the next training: mistakes show early, training states go away.
        return sorted(ready, key=lambda stage: stage_kind(stage) == "train")

    def begin(self, stage: str) -> None:
        """``stage`` runs now."""
        self._begun.add(stage)

    def end(self, stage: str, reason: str | None = None) -> None:
        """``stage`` has ended, with ``reason`` if it failed."""
        if reason is None:
            self.done.add(stage)
        else:
            self.failed[stage] = reason

    def progress(self, stage: str, seconds: float) -> str:
        """Return one line about ``stage``, which has just ended ``seconds`` after the beginning."""
        ending = "failed" if stage in self.failed else "finished"
        failures = f", {len(self.failed)} failed," if self.failed else ""
        counts = f"{len(self.done)} of {len(self.needs)} stages done{failures}"
        return f"{stage} {ending}: {counts} after {duration(seconds)}"

    def failures(self) -> str:
        """Return what failed, why, and what did not run because of it; empty if nothing failed."""
        edges = [(before, stage) for stage, needed in self.needs.items() for before in needed]
        graph = nx.DiGraph(edges)
        graph.add_nodes_from(self.needs)
        lines = []
        for stage in self.needs:
            if stage in self.failed:
                lines.append(f"{stage}: {self.failed[stage]}")
                if blocked := nx.descendants(graph, stage):
                    names = [name for name in self.needs if name in blocked]
                    lines.append(f"  not run because of it: {', '.join(names)}")
        return "\n".join(lines)


def duration(seconds: float) -> str:
    """Return a duration for people, in the two largest units: "2 h 5 min", "5 min 3 s", "3 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _first_number(text: str | None) -> int | None:
    """OMP_NUM_THREADS may be a list, one number per level of nesting."""
    first = (text or "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) else None
