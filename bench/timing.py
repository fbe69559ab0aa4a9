"""What the benchmarks share: devices, medians of wall-clock seconds, processor seconds."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping


def default_device() -> tuple[str, str]:
    """Return "cuda" or "cpu", and its name for a headline."""
    import torch

    if torch.cuda.is_available():
        return "cuda", torch.cuda.get_device_name()
    return "cpu", f"CPU, {torch.get_num_threads()} threads"


def synchronise(device: str) -> None:
    """Wait for a GPU."""
    if device != "cpu":
        import torch

        torch.cuda.synchronize()


def seconds(call: Callable[[], object], repeats: int = 3, *, warmup: int = 0, device: str = "cpu") -> float:
    """Return the median seconds of one call, after ``warmup`` calls that do not count."""
    return alternately({"": call}, repeats, warmup=warmup, device=device)[""]


def alternately(
    calls: Mapping[str, Callable[[], object]], repeats: int, *, warmup: int = 1, device: str = "cpu"
) -> dict[str, float]:
    """Return the median seconds of each call, taken in turn so that other load hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warmup + repeats):
        for name, call in calls.items():
            synchronise(device)
            started = time.perf_counter()
            call()
            synchronise(device)
            if turn >= warmup:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def cpu_seconds() -> float:
    """Return the processor time of this process and of its ended children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peak_megabytes() -> float:
    """Return the highest resident memory of this process so far, in 10^6 bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
