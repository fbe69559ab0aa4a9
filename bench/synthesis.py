"""How fast SynLCD samples are made, each figure beside the limit it is compared with.

``python -m bench.synthesis`` generates ``mixed`` samples at 512 px, half of them defective: rendering alone
and with PNG encoding in one process, then whole datasets written by one and by two processes. Rates are given
by the clock and per second of processor time: on a busy machine only the second is the program's own. The
limits are for 512 px; other sizes show only how the time scales.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from bench.timing import cpu_seconds
from cadnet.config import SynLCDParams
from cadnet.images import encode_png
from cadnet.synthesis.generator import SynLCDGenerator
from cadnet.synthesis.patterns import PATTERN_NAMES, load_patterns
from cadnet.synthesis.writer import write_synlcd

COMPUTE_LIMIT = 65.0
"""Images per second and core that the first sum of all steps but PNG (15 ms) allows."""
PNG_LIMIT_MS = 21.0
"""Milliseconds that encoding a noisy 512 px image took with zlib level 1 and OpenCV's other defaults."""
BAR = 25.0
"""Complete samples per second that two cores must reach."""


def rate(work: Callable[[], int]) -> tuple[float, float]:
    """Return units per second by the clock and per second of processor time; ``work`` returns its units."""
    clock, cpu = time.perf_counter(), cpu_seconds()
    units = work()
    return units / (time.perf_counter() - clock), units / (cpu_seconds() - cpu)


def report(what: str, rates: tuple[float, float], limit: str) -> None:
    """Print one line of the table."""
    print(f"{what:44} {rates[0]:8.1f}/s {rates[1]:8.1f} per cpu second   {limit}", flush=True)


def bench_one_process(params: SynLCDParams, count: int) -> None:
    """Rendering alone, with encoding, and encoding alone, on one core."""
    cv2.setNumThreads(1)
    generator = SynLCDGenerator(load_patterns(params.patterns, params.size), params)
    keys = [(PATTERN_NAMES[i % 10], i // 20, i % 20 < 10) for i in range(count)]
    for name in PATTERN_NAMES:  # edge points and strip modes are kept from here on
        for index in range(3):
            generator.overlay(name, 10_000 + index)

    def render() -> int:
        return len([generator.sample(*key) for key in keys])

    def render_and_encode() -> int:
        for key in keys:
            sample = generator.sample(*key)
            encode_png(sample.image)
            encode_png(sample.mask)
        return count

    report("rendering, one core", rate(render), f"limit {COMPUTE_LIMIT:.0f} images/s/core without PNG")
    report(
        "rendering and PNG, one core",
        rate(render_and_encode),
        f"limit {1e3 / (15 + PNG_LIMIT_MS):.0f} with PNG",
    )
    clean = generator.overlay("01", 0).image
    noise = np.random.default_rng(0).normal(0, 8, clean.shape)
    noisy = np.clip(clean + noise, 0, 255).astype(np.uint8)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        encode_png(noisy)
        times.append((time.perf_counter() - start) * 1e3)
    best = f"{min(times):8.1f} ms   limit {PNG_LIMIT_MS:.0f} ms (zlib level 1)"
    print(f"{'PNG of a noisy screen, best of 20':44} {best}")


def bench_dataset(params: SynLCDParams, workers: int, folder: Path) -> None:
    """A whole dataset: processes started, rendered, encoded, written, synced, renamed."""
    out = folder / f"workers-{workers}"
    total = 10 * (params.defective_per_pattern + params.clean_per_pattern)

    def write() -> int:
        write_synlcd(params, out, workers=workers)
        return total

    limit = f"bar {BAR:.0f}/s on 2 cores" if workers == 2 else "-"
    report(f"complete dataset of {total}, {workers} process(es)", rate(write), limit)
    shutil.rmtree(out)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Speed of SynLCD synthesis.")
    parser.add_argument(
        "--samples", type=int, default=400, help="samples of each measurement, in steps of 20"
    )
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--patterns", default="data/synlcd/patterns")
    options = parser.parse_args()
    each = max(1, options.samples // 20)
    params = SynLCDParams(
        size=options.size,
        patterns=options.patterns,
        defective_per_pattern=each,
        clean_per_pattern=each,
    )
    print(f"mixed, {options.size} px, half of the samples defective")
    bench_one_process(params, 20 * each)
    with tempfile.TemporaryDirectory() as folder:
        for workers in (1, 2):
            bench_dataset(params, workers, Path(folder))


if __name__ == "__main__":
    main()
