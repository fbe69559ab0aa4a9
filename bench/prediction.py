"""Time that a cached reference saves, and growth of memory, each beside its limit.

    python -m bench.prediction [--size 512 --pairs 10 --images 1000 --encoder b0]

A pair is an image in memory judged against the product's one reference: choice of the reference, network,
defects. Without the cache the reference is encoded with every image. Times are medians of pairs taken
alternately, so that whatever else the machine does meets both. Below stand the network alone and its
executed multiply-adds: a kept reference saves one of two encoders and nothing of the head, so that their
quotient is what can be reached. Weights are random, which changes no time.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.timing import alternately, peak_megabytes
from cadnet.images import write_png
from cadnet.inference import Predictor, Product, write_product
from cadnet.models.factory import build_model
from cadnet.models.weights import save_weights

BAR = 0.60
"""Fraction of the uncached time that a pair may cost."""
BAR_GROWTH_MB = 50.0
"""MB that the last nine tenths of the images may add to the peak."""


def make_product(folder: Path, size: int, encoder: str) -> Product:
    """A product of one random reference and random weights."""
    network = build_model("cadnet", 2, encoder=encoder)
    save_weights(
        folder / "model", network, name="cadnet", num_classes=2, options={"encoder": encoder},
        class_names=("line", "abpt"),
    )  # fmt: skip
    write_png(folder / "clean.png", picture(size, 0))
    return write_product(
        folder / "product", name="bench", model=folder / "model", size=size,
        references={"clean": folder / "clean.png"}, threshold=0.99,
    )  # fmt: skip


def picture(size: int, seed: int) -> np.ndarray:
    """The reference (seed 0), or it with noise."""
    coarse = np.random.default_rng(0).integers(0, 200, (8, 8, 3), dtype=np.uint8)
    image = np.kron(coarse, np.ones((size // 8 + 1, size // 8 + 1, 1), np.uint8))[:size, :size]
    noise = np.random.default_rng(seed).integers(0, 20, image.shape, dtype=np.uint8)
    return image + (noise if seed else 0)


def bench_pairs(product: Product, size: int, pairs: int, device: str) -> None:
    """Cached and uncached time of a pair, whole and of the network alone."""
    image = picture(size, 1)
    kept, plain = Predictor(product, device), Predictor(product, device, cache_bytes=0)
    network = kept._network.network
    batch, reference = (kept._network._batch([picture(size, seed)]) for seed in (1, 0))
    with torch.no_grad():
        features = network.encode(reference)  # type: ignore[operator]
    with torch.inference_mode():
        found = alternately(
            {
                "pair uncached": lambda: plain.predict(image),
                "pair cached": lambda: kept.predict(image),
                "network uncached": lambda: network(batch, reference),
                "network cached": lambda: network(batch, reference_features=features),
            },
            pairs,
            device=kept._network.device.type,
        )
    for what in ("pair", "network"):
        before, after = (1e3 * found[f"{what} {how}"] for how in ("uncached", "cached"))
        bar = f" (bar {BAR:.0%})" if what == "pair" else ""
        print(f"{what}: {before:.1f} ms uncached, {after:.1f} ms cached, {after / before:.0%}{bar}")
    before, encoder = multiply_adds(network, size)
    after = before - encoder
    print(f"multiply-adds: {before / 1e9:.2f} G uncached, {after / 1e9:.2f} G cached, {after / before:.0%}")


def multiply_adds(network: torch.nn.Module, size: int) -> tuple[float, float]:
    """Executed ones of a pair, and of encoding one picture."""
    # Without values attention is counted too, which the CPU's fused form hides.
    shapes = copy.deepcopy(network).to("meta")
    picture = torch.empty(1, 3, size, size, device="meta")
    totals = []
    for inputs, part in (((picture, picture), shapes), ((picture,), shapes.get_submodule("encoder"))):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            part(*inputs)
        totals.append(counter.get_total_flops() / 2)
    return totals[0], totals[1]


def bench_memory(product: Product, size: int, images: int) -> None:
    """Peak resident memory after a tenth of the images and after all."""

    def stream() -> Iterator[np.ndarray]:
        for index in range(images):
            yield picture(size, index + 1)

    peaks = []
    for count, _ in enumerate(Predictor(product).predict_many(stream()), start=1):
        if count in (max(1, images // 10), images):
            peaks.append(peak_megabytes())
    print(
        f"memory: peak {peaks[0]:.0f} MB after {max(1, images // 10)} images, {peaks[-1]:.0f} MB after "
        f"{images}, {peaks[-1] - peaks[0]:.0f} MB more (bar {BAR_GROWTH_MB:.0f})"
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512, help="side of the images in pixels")
    parser.add_argument("--pairs", type=int, default=10, help="pairs timed")
    parser.add_argument("--images", type=int, default=1000, help="images of the memory test; 0 leaves it out")
    parser.add_argument("--encoder", default="b0", help="b0 to b5")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        product = make_product(Path(folder), given.size, given.encoder)
        print(f"{given.size} px, MiT-{given.encoder}, {torch.get_num_threads()} threads")
        bench_pairs(product, given.size, given.pairs, given.device)
        if given.images:
            bench_memory(product, given.size, given.images)


if __name__ == "__main__":
    main()
