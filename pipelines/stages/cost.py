"""What a network costs, measured under names that all methods share."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Cost:
    """Cost of one network at the size it was scored at; what was not measured is None.

    ``params_m`` in millions; ``gmacs_paper`` and ``gmacs_full`` in 10^9 multiply-adds per pair, in the
    paper's counting and with nothing left out; ``latency_ms``, the median of single pairs;
    ``pairs_per_second`` of the whole evaluation, reading and counting included; ``peak_memory_mb`` in 10^6
    bytes: on CUDA what tensors took during the single pairs, weights included, on a CPU what the whole
    process has ever held.
    """

    params_m: float
    gmacs_paper: float
    gmacs_full: float
    latency_ms: float
    pairs_per_second: float | None = None
    peak_memory_mb: float | None = None

    def metrics(self) -> dict[str, float]:
        """Return what was measured as metrics ``cost_<name>``."""
        return {f"cost_{name}": value for name, value in asdict(self).items() if value is not None}


def measure_cost(
    model: nn.Module,
    size: tuple[int, int],
    device: str,
    *,
    pairs_per_second: float | None = None,
    repeats: int = 5,
) -> Cost:
    """Count a network's parameters and multiply-adds, and time it on single pairs of zeros.

    Runs the network ``repeats + 2`` times, under bfloat16 autocast on CUDA as the evaluation does.

    Args:
        model: a network of the factory on ``device``; left in eval mode.
        size: height and width in pixels.
        device: ``cpu`` or ``cuda``.
        pairs_per_second: throughput of the evaluation, if one was run.
        repeats: timed passes.
    """
    import torch

    from cadnet.evaluation.complexity import count_macs, count_parameters, measure_latency

    model.eval()
    on_gpu = device.startswith("cuda")
    image = torch.zeros(1, 3, *size, device=device)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=on_gpu):
        latency = measure_latency(lambda: model(image, image), repeats=repeats, warmup=2, device=device)
    if on_gpu:
        weights = sum(t.numel() * t.element_size() for t in [*model.parameters(), *model.buffers()])
        peak: float | None = torch.cuda.max_memory_allocated() - held + weights
    else:
        peak = peak_process_memory()
    macs = count_macs(model, size)
    return Cost(
        params_m=count_parameters(model) / 1e6,
        gmacs_paper=macs.paper / 1e9,
        gmacs_full=macs.full / 1e9,
        latency_ms=1000 * latency.median,
        pairs_per_second=pairs_per_second,
        peak_memory_mb=None if peak is None else peak / 1e6,
    )


def peak_process_memory() -> float | None:
    """Return the most bytes of memory this process has held, None if the system does not say."""
    # Not getrusage: its maximum is inherited from the process that started this one.
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text("ascii"), re.MULTILINE)
    except OSError:
        return None
    return 1024.0 * int(found[1]) if found else None
