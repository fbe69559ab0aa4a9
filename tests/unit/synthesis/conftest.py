from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cadnet.config import SynLCDParams
from cadnet.images import write_png
from cadnet.synthesis import zones

SIZE = 96


def _render_screen(size: int, seed: int) -> np.ndarray:
    """A small screen with the zones of a real pattern and smooth noise in place of the photograph."""
    half = size // 2
    colors = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0))
    out = np.empty((size, size, 3), np.uint8)
    out[:half, :half] = zones.block_grid(half, half, colors[seed % 4 :] + colors[: seed % 4], 2)
    out[half:, :half] = zones.grey_horizontal(size - half, half)
    out[:half, half:] = zones.chart_spectrum(half, size - half)
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    cell = -(-(size - half) // 8)
    out[half:, half:] = np.kron(coarse, np.ones((cell, cell, 1), np.uint8))[: size - half, : size - half]
    return out


@pytest.fixture(scope="session")
def render_screen() -> Callable[[int, int], np.ndarray]:
    """A function from size and seed to a small screen."""
    return _render_screen


@pytest.fixture(scope="session")
def screens() -> dict[str, np.ndarray]:
    return {name: _render_screen(SIZE, seed) for seed, name in enumerate(("01", "02", "03"))}


@pytest.fixture
def material(tmp_path: Path, screens: dict[str, np.ndarray]) -> SynLCDParams:
    """Parameters of a small dataset whose patterns and split list lie in the test's folder."""
    for name, screen in screens.items():
        write_png(tmp_path / "patterns" / f"{name}.png", screen)
    (tmp_path / "splits.csv").write_text("pattern,split\n01,train\n02,val\n03,test\n")
    return SynLCDParams(
        size=SIZE,
        defective_per_pattern=4,
        clean_per_pattern=3,
        patterns=str(tmp_path / "patterns"),
        split_list=str(tmp_path / "splits.csv"),
    )
