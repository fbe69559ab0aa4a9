"""Seconds that measuring a dataset takes, beside the seconds of merely decoding its files.

    python -m bench.validation [--samples 600 --size 512]

The pictures are noisy screens of ten patterns, as hard to decode as SynLCD's. The times are also given for
the 6,000 samples of the paper's SynLCD.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from cadnet.files import write_json
from cadnet.images import decode, write_png
from cadnet.types import MANIFEST_COLUMNS
from cadnet.validation.facts import collect_facts, measure_images, measure_masks, read_table
from cadnet.validation.profile import build_profile

PAPER = 6000


def write(root: Path, samples: int, size: int) -> None:
    """Write a dataset of ten patterns, half of the samples with a bar."""
    generator = np.random.default_rng(0)
    rows = []
    for pattern in range(10):
        coarse = generator.integers(40, 200, (8, 8, 3), dtype=np.uint8)
        screen = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
        write_png(root / f"references/{pattern}.png", screen)
        for index in range(samples // 10):
            noise = generator.normal(0, 6, screen.shape)
            image, mask = np.clip(screen + noise, 0, 255).astype(np.uint8), np.zeros((size, size), np.uint8)
            if index % 2:
                row = int(generator.integers(0, size - 8))
                image[row : row + 8], mask[row : row + 8] = 255, 1
            name = f"{pattern}-{index:04d}"
            write_png(root / f"images/{name}.png", image)
            write_png(root / f"masks/{name}.png", mask)
            split = "train" if pattern < 7 else "test"
            files = (f"images/{name}.png", f"references/{pattern}.png", f"masks/{name}.png")
            pixels = int(mask.sum())
            rows.append((name, *files, split, "line", pattern, int(pixels > 0), size, size, pixels))
    pd.DataFrame(rows, columns=[*MANIFEST_COLUMNS, "n_line"]).to_csv(root / "manifest.csv", index=False)
    write_json(root / "dataset.json", {"name": "bench", "classes": ["line"], "palette": [[255, 0, 0]]})


def main() -> None:
    """Entry of ``python -m bench.validation``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=600)
    parser.add_argument("--size", type=int, default=512)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, arguments.samples, arguments.size)
        table = read_table(root)
        images, masks = list(table.manifest["image"]), list(table.manifest["mask"])

        def decode_all() -> None:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(lambda name: decode(root / name, cv2.IMREAD_UNCHANGED), [*images, *masks]))

        steps = {
            "decoding alone": decode_all,
            "images measured": lambda: measure_images(root, images),
            "masks measured": lambda: measure_masks(root, masks, 1),
            "all facts": lambda: collect_facts(table),
        }
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            report(name, time.perf_counter() - started, arguments.samples)
        facts = collect_facts(table)
        started = time.perf_counter()
        build_profile(facts)
        report("profile", time.perf_counter() - started, arguments.samples)


def report(name: str, seconds: float, samples: int) -> None:
    """Print one line."""
    print(f"{name:16} {seconds:7.2f} s  {1000 * seconds / samples:6.2f} ms a sample  "
          f"{seconds / samples * PAPER:6.1f} s for {PAPER:,}")  # fmt: skip


if __name__ == "__main__":
    main()
