"""Time and memory of one fine-tuning step of every few-label method.

    OMP_NUM_THREADS=1 python -m bench.semi [--size 128] [--batch 8] [--steps 5]

Memory is what the steps add to the process: on a CPU its highest resident size, each method in a process of
its own, on CUDA what tensors took. Limit: UAMT, whose teacher looks eight times at unlabelled images, stays
below twice of one pass of the same network over the same images, all of them labelled.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

import torch

from bench.timing import default_device, peak_megabytes, synchronise
from cadnet.config import MethodParams
from cadnet.semi.base import SemiBatch
from cadnet.semi.jobs import build_learner
from cadnet.training.task import Outcome
from cadnet.types import PairBatch
from pipelines.profile import load_profile

PROFILE = "semi-small"
LIMIT = 2.0
ALONE = "alone"


def pairs(batch: int, size: int, device: str) -> PairBatch:
    """Random pairs with a square defect."""
    image, reference = torch.randn(2, batch, 3, size, size, device=device)
    mask = torch.zeros(batch, size, size, dtype=torch.long, device=device)
    mask[:, size // 4 : size // 2, size // 4 : size // 2] = 1
    return PairBatch(image, reference, mask, torch.arange(batch, device=device))


def megabytes(device: str) -> float:
    """Highest memory so far, in 10^6 bytes."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return peak_megabytes()


def measure(method: MethodParams, batch: int, size: int, steps: int) -> dict[str, float]:
    """Run ``steps`` steps; returns seconds per step and memory added."""
    params = load_profile(PROFILE)
    device, _ = default_device()
    learner = build_learner(method, params.train).to(device).train()
    parameters = [p for p in learner.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    both = pairs(batch, size, device), pairs(batch, size, device)
    data = pairs(2 * batch, size, device) if method.semi is None else SemiBatch(*both)
    before, seconds = megabytes(device), []
    for step in range(steps + 1):
        started = time.perf_counter()
        outcome: Outcome = learner(data, 0.5)
        optimizer.zero_grad()
        outcome.parts["loss"].backward()
        optimizer.step()
        learner.after_step(step)
        synchronise(device)
        seconds.append(time.perf_counter() - started)
    return {"seconds": min(seconds[1:]), "megabytes": megabytes(device) - before}


def main() -> None:
    """Entry of ``python -m bench.semi``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=128, help="pixels")
    parser.add_argument("--batch", type=int, default=8, help="labelled pairs, and as many unlabelled")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--method", help="one only, its numbers as JSON")
    given = parser.parse_args()
    semi = load_profile(PROFILE).methods
    methods = {name: semi[name] for name in load_profile(PROFILE).semi.methods}
    methods = {
        ALONE: methods["dct"].model_copy(update={"semi": None, "title": "U-Net alone"}),
        **methods,
    }
    if given.method:
        sys.stdout.write(
            json.dumps(measure(methods[given.method], given.batch, given.size, given.steps)) + "\n"
        )
        return
    found = {}
    sys.stdout.write(f"{'method':14} {'s/step':>8} {'MB':>8}\n")
    for name, method in methods.items():
        command = [sys.executable, "-m", "bench.semi", "--method", name]
        command += [f"--{key}={getattr(given, key)}" for key in ("size", "batch", "steps")]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found[name] = json.loads(output.splitlines()[-1])
        numbers = found[name]
        sys.stdout.write(f"{method.title:14} {numbers['seconds']:8.3f} {numbers['megabytes']:8.0f}\n")
        sys.stdout.flush()
    ratio = found["uamt"]["megabytes"] / found[ALONE]["megabytes"]
    sys.stdout.write(f"UAMT over one pass of its network: {ratio:.2f} (limit {LIMIT:g})\n")


if __name__ == "__main__":
    main()
