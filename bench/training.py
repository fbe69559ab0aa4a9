"""Pairs per second of training and evaluation, beside what the machine's arithmetic would allow.

    python -m bench.training [--size 128 --batch 8 --precision bf16 --compile --profile trace.json]

The limit: the executed multiply-adds of a pair (three times that for training: forward and two backward
products) at the rate this machine reaches in one large matrix product of the same precision.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bench.timing import default_device, seconds
from cadnet.config import Recipe
from cadnet.datasets.augment import Augmentation
from cadnet.datasets.cache import DecodedSplit
from cadnet.datasets.device import DevicePairs, EvalBatches, TrainBatches
from cadnet.evaluation.complexity import count_macs
from cadnet.evaluation.evaluate import evaluate
from cadnet.losses.composite import CompositeLoss
from cadnet.models.factory import build_model
from cadnet.training.optimisers import build_optimizer

METHODS = {"CADNet": ("cadnet", "ce+bcl"), "SegFormer": ("segformer", "ce")}
ADAMW = Recipe(optimizer="adamw", lr=1e-3, weight_decay=0.01, schedule="constant")


def matmul_rate(device: str, dtype: torch.dtype) -> float:
    """Multiply-adds per second of one large matrix product."""
    side = 8192 if device == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return side**3 / seconds(lambda: a @ b, 5, warmup=3, device=device)


def fake_pairs(count: int, size: int, device: str) -> DevicePairs:
    """Random pairs; what they show does not change the time."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 3, size, size), dtype=np.uint8)
    masks = rng.integers(0, 3, (count, size, size), dtype=np.uint8)
    index = np.zeros(count, np.int64)
    return DevicePairs(DecodedSplit(images, masks, images[:1], index, pd.DataFrame()), device)


def train_step(
    model: torch.nn.Module, loss: CompositeLoss, pairs: DevicePairs, batch: int, size: int, bf16: bool
) -> Callable[[], object]:
    """One optimiser step on the next augmented batch, as the trainer does it."""
    optimizer = build_optimizer(model, ADAMW, batch)
    batches = iter(())
    device = pairs.device.type

    def step() -> None:
        nonlocal batches
        item = next(batches, None)
        if item is None:
            batches = iter(TrainBatches(pairs, Augmentation(size), batch, seed=0))
            item = next(batches)
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            output = model(item.image, item.reference)
            value = loss(output, item.mask)["loss"]
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()

    return step


def main() -> None:
    """Measure and print one line per method and phase."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default=None)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--profile", type=Path, help="write a Chrome trace of five training steps of CADNet")
    arguments = parser.parse_args()
    device, name = default_device()
    bf16 = arguments.precision == "bf16" or (arguments.precision is None and device == "cuda")
    rate = matmul_rate(device, torch.bfloat16 if bf16 else torch.float32)
    print(f"{name}, {'bf16' if bf16 else 'fp32'}, {arguments.size} px, batch {arguments.batch}; ", end="")
    print(f"matrix product: {rate / 1e9:.0f} G multiply-adds/s")
    pairs = fake_pairs(max(64, 4 * arguments.batch), arguments.size, device)
    for title, (model_name, kind) in METHODS.items():
        torch.manual_seed(0)
        model = build_model(model_name, 2).to(device)
        macs = count_macs(model, arguments.size).executed
        if arguments.compile:
            model.compile()
        loss = CompositeLoss(kind, 0.02 if kind != "ce" else 0.0, (9, 1)).to(device)
        step = train_step(model.train(), loss, pairs, arguments.batch, arguments.size, bf16)
        spent = seconds(step, arguments.steps, warmup=3, device=device)
        report(title, "train", arguments.batch / spent, rate / (3 * macs))
        if arguments.profile and model_name == "cadnet":
            trace(step, arguments.profile)

        def score(model: torch.nn.Module = model) -> object:
            batches = EvalBatches(pairs, arguments.batch)
            return evaluate(model, batches, len(pairs), ("line", "abpt"), device, bf16=bf16)

        spent = seconds(score, 3, warmup=1, device=device)
        report(title, "evaluate", len(pairs) / spent, rate / macs)
    if device == "cuda":
        print(f"peak memory {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")


def report(title: str, phase: str, measured: float, limit: float) -> None:
    """Print one figure beside its limit."""
    print(f"{title:10s} {phase:9s} {measured:9.1f} pairs/s   limit {limit:9.1f}   {measured / limit:6.1%}")


def trace(step: Callable[[], object], path: Path) -> None:
    """Profile five steps: the heaviest operations to the terminal, the whole trace to ``path``."""
    with torch.profiler.profile(record_shapes=True) as profiler:
        for _ in range(5):
            step()
    key = "cuda_time_total" if torch.cuda.is_available() else "cpu_time_total"
    print(profiler.key_averages().table(sort_by=key, row_limit=25))
    profiler.export_chrome_trace(str(path))


if __name__ == "__main__":
    main()
