"""Seconds of the paired bootstrap and of measuring contrast, beside a lower limit of each.

    python -m bench.bootstrap [--images 1800 --classes 16 --seeds 3 --size 512]

The limits: the bootstrap's matrix product of draws and sums alone; one pass over the pixels of all pairs.
"""

from __future__ import annotations

import argparse

import numpy as np

from bench.timing import seconds
from cadnet.evaluation.bootstrap import RESAMPLES, paired_bootstrap
from cadnet.evaluation.counts import Counts
from cadnet.evaluation.slices import defect_contrast


def made_up_counts(generator: np.random.Generator, images: int, classes: int) -> Counts:
    """Counts of a network that finds most defects."""
    confusion = generator.integers(0, 40, (images, classes + 1, classes + 1))
    labels = np.arange(classes + 1)
    confusion[:, labels, labels] += 300
    return Counts(np.arange(images), confusion, np.zeros((classes, 2, 0), np.int64))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1800)
    parser.add_argument("--classes", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=512)
    asked = parser.parse_args()
    generator = np.random.default_rng(0)
    one, other = (
        [made_up_counts(generator, asked.images, asked.classes) for _ in range(asked.seeds)] for _ in range(2)
    )
    names = [f"c{k}" for k in range(asked.classes)]
    groups = [str(i % 3) for i in range(asked.images)]
    took = seconds(lambda: paired_bootstrap(one, other, names, groups))
    draws = generator.random((RESAMPLES, asked.images))
    sums = generator.random((asked.images, 2 * asked.seeds * (2 * asked.classes + 4)))
    product = seconds(lambda: draws @ sums)
    print(f"bootstrap by image and by group: {took:.2f} s; the product alone: {product:.2f} s")

    part = min(asked.images, 100)
    images = generator.integers(0, 256, (part, 3, asked.size, asked.size), dtype=np.uint8)
    masks = np.zeros((part, asked.size, asked.size), np.uint8)
    masks[::2, 20:90, 40:140] = 1
    index = np.arange(part) % 3
    scale = asked.images / part
    took = scale * seconds(lambda: defect_contrast(images, images[:3], index, masks))
    reading = scale * seconds(lambda: [image.sum(dtype=np.int64) for image in images])
    what = f"contrast of {asked.images} pairs of {asked.size} px"
    print(f"{what}: {took:.2f} s; summing their pixels: {reading:.2f} s")


if __name__ == "__main__":
    main()
