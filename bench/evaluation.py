"""Cost of an evaluation besides its forward passes, by part; the limit is a tenth.

    OMP_NUM_THREADS=1 python -m bench.evaluation [--images 48 --size 512 --batch 16 --classes 2 --repeats 3]

Each repeat runs the forward passes alone and then the whole evaluation, so that a busy machine slows both;
medians over the repeats are printed. With one CPU thread the time is what the process computed, otherwise
what passed. All that is done per image is measured on made-up pairs in memory-mapped files; result, slices
and files on counts of as many images as ``--whole`` says. What a stage does once whatever the number of
images (loading weights, tracking, measuring the network's cost) is not in it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from bench.timing import default_device, synchronise
from bench.training import METHODS
from cadnet.datasets.cache import DecodedSplit
from cadnet.datasets.device import DevicePairs, EvalBatches
from cadnet.evaluation.counts import Counts
from cadnet.evaluation.evaluate import evaluate
from cadnet.evaluation.result import evaluation_result, per_image_table
from cadnet.evaluation.slices import defect_contrast
from cadnet.files import write_json
from cadnet.models.factory import build_model
from cadnet.types import PairBatch, SegOutput
from pipelines.stages.evaluate import curve_table
from pipelines.stages.scoring import write_counts

ALLOWED = 0.10
SIZES = (0.001, 0.01)
PARTS = ("fetching", "counting", "contrast", "result and slices", "writing")


class Clock:
    """Seconds by part of the repeat that runs."""

    def __init__(self, device: str) -> None:
        self.device = device
        computed = device == "cpu" and torch.get_num_threads() == 1
        self.now = time.process_time if computed else time.perf_counter
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Add what the block takes to ``part``."""
        synchronise(self.device)
        started = self.now()
        yield
        synchronise(self.device)
        self.seconds[part] = self.seconds.get(part, 0.0) + self.now() - started

    def batches(self, batches: EvalBatches) -> Iterator[PairBatch]:
        """Give the batches, and count making them as ``fetching``."""
        source = iter(batches)
        while True:
            with self.measure("fetching"):
                batch = next(source, None)
            if batch is None:
                return
            yield batch


class Timed(nn.Module):
    """A network whose forward passes are counted as ``forward``."""

    def __init__(self, network: nn.Module, clock: Clock) -> None:
        super().__init__()
        self.network, self.clock = network, clock

    def forward(self, image: Tensor, reference: Tensor) -> SegOutput:
        """As the network."""
        with self.clock.measure("forward"):
            output: SegOutput = self.network(image, reference)
        return output


def made_up_split(folder: Path, images: int, size: int, classes: int, references: int) -> DecodedSplit:
    """Noise, every other image with one bar of a class, in files as the cache of decoded splits has them."""
    rng = np.random.default_rng(0)
    masks = np.zeros((images, size, size), np.uint8)
    for number in range(0, images, 2):
        row = int(rng.integers(0, size - 8))
        masks[number, row : row + 4] = 1 + number // 2 % classes
    arrays = {
        "images": rng.integers(0, 256, (images, 3, size, size), dtype=np.uint8),
        "masks": masks,
        "references": rng.integers(0, 256, (references, 3, size, size), dtype=np.uint8),
        "reference_index": np.sort(np.arange(images) % references),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    mapped = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in arrays}
    return DecodedSplit(rows=pd.DataFrame(), **mapped)


def score(clock: Clock, network: nn.Module, pairs: DevicePairs, batch: int, names: list[str]) -> Counts:
    """The forward passes alone, then the scoring of the stage."""
    device = pairs.device.type
    bf16 = device == "cuda"
    batches = EvalBatches(pairs, batch)
    first = next(iter(batches))
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=bf16):
        for start in range(0, len(pairs), batch):
            part = slice(0, min(batch, len(pairs) - start))
            with clock.measure("forward alone"):
                network(first.image[part], first.reference[part])
    with clock.measure("all"):
        counts = evaluate(Timed(network, clock), clock.batches(batches), len(pairs), names, device, bf16=bf16)
    seconds = clock.seconds
    seconds["counting"] = seconds.pop("all") - seconds["fetching"] - seconds["forward"]
    return counts


def finish(clock: Clock, counts: Counts, contrast: np.ndarray, names: list[str], images: int) -> None:
    """Reduce and write as the stage does, the counts repeated until they are of ``images`` images."""
    rows = np.arange(images) % counts.num_images
    counts = Counts(np.arange(images), counts.confusion[rows], counts.histograms)
    contrast = contrast[rows]
    manifest = pd.DataFrame(
        {
            "sample_id": [f"sample-{i:05d}" for i in range(images)],
            "subset": [("line", "abpt", "mixed")[i % 3] for i in range(images)],
            "group": [str(3 * i // images) for i in range(images)],
            "has_defect": rows % 2 == 0,
        }
    )
    with clock.measure("result and slices"):
        result = evaluation_result(counts, names, manifest, SIZES, contrast=contrast, contrast_bins=3)
        table = per_image_table(counts, names, manifest, contrast)
    with clock.measure("writing"), tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder) / "result.json", result.to_dict())
        table.to_csv(Path(folder) / "images.csv", index=False)
        write_counts(Path(folder) / "counts.npz", counts)
        curve_table(result).to_csv(Path(folder) / "curves.csv", index=False)


def measure(name: str, split: DecodedSplit, asked: argparse.Namespace, device: str) -> dict[str, float]:
    """Median milliseconds per image of every part."""
    torch.manual_seed(0)
    network = build_model(name, asked.classes).to(device).eval()
    pairs, images = DevicePairs(split, device), len(split.masks)
    names = [f"c{k}" for k in range(asked.classes)]
    repeats = []
    for _ in range(asked.repeats):
        clock = Clock(device)
        counts = score(clock, network, pairs, asked.batch, names)
        with clock.measure("contrast"):
            contrast = defect_contrast(split.images, split.references, split.reference_index, split.masks)
        finish(clock, counts, contrast, names, asked.whole)
        whole = dict.fromkeys(("result and slices", "writing"), asked.whole)
        repeats.append({part: 1000 * s / whole.get(part, images) for part, s in clock.seconds.items()})
    return {part: statistics.median(one[part] for one in repeats) for part in repeats[0]}


def report(title: str, spent: dict[str, float], whole: int) -> None:
    """Print one network's parts beside the limit."""
    alone, beside = spent["forward alone"], sum(spent[part] for part in PARTS)
    print(title)
    for part in ("forward alone", "forward", *PARTS):
        print(f"  {part if part != 'forward' else 'forward in between':20}{spent[part]:9.2f}")
    print(f"  {'beside the forward':20}{beside:9.2f}   {beside / alone:.1%}, limit {ALLOWED:.0%}")
    print(
        f"  {whole:,} images: {alone * whole / 1000:.0f} s forward, {beside * whole / 1000:.0f} s beside",
        flush=True,
    )


def main() -> None:
    """Print a table per network."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--references", type=int, default=3, help="clean images, each shared by neighbours")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--whole", type=int, default=1800, help="images of the split that is meant")
    parser.add_argument("--methods", nargs="+", choices=sorted(METHODS), default=list(METHODS))
    asked = parser.parse_args()
    device, name = default_device()
    cv2.setNumThreads(torch.get_num_threads())
    what = f"{asked.images} images of {asked.size} px, {asked.references} references, batch {asked.batch}"
    print(f"{name}, {what}, {asked.classes} classes; milliseconds per image")
    with tempfile.TemporaryDirectory() as folder:
        split = made_up_split(Path(folder), asked.images, asked.size, asked.classes, asked.references)
        for title in asked.methods:
            spent = measure(METHODS[title][0], split, asked, device)
            report(title, spent, asked.whole)


if __name__ == "__main__":
    main()
