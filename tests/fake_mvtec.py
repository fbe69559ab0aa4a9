"""MVTec AD's layout filled with small drawn pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cadnet.images import write_png

# category -> kind -> images; as distributed, "good" is what train holds.
SMALL = {
    "bottle": {"train": 8, "good": 3, "broken": 5, "contamination": 4},
    "grid": {"train": 6, "good": 2, "bent": 6},
}


def write_fake_mvtec(root: Path, layout: dict[str, dict[str, int]] | None = None, size: int = 48) -> Path:
    """Write a disc on a plain ground per image; defects are bright squares, masked with 255. Grid is grey."""
    for category, kinds in (layout or SMALL).items():
        for kind, count in kinds.items():
            part, defect = ("train", "good") if kind == "train" else ("test", kind)
            for index in range(count):
                image, mask = _picture(category, defect, index, size)
                folder = root / category
                write_png(folder / part / defect / f"{index:03d}.png", image)
                if defect != "good":
                    write_png(folder / "ground_truth" / defect / f"{index:03d}_mask.png", mask)
    return root


def _picture(category: str, defect: str, index: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    seed = [sum(map(ord, category)), sum(map(ord, defect)), index]
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    disc = (rows - size / 2) ** 2 + (columns - size / 2) ** 2 < (size / 3) ** 2
    image = np.where(disc[..., None], (90, 120, 60), (200, 200, 190)) + generator.integers(
        -3, 4, (size, size, 1)
    )
    mask = np.zeros((size, size), np.uint8)
    if defect != "good":
        top, left = generator.integers(4, size - 16, 2)
        mask[top : top + 10, left : left + 12] = 255
        image[mask > 0] = (250, 30, 30)
    image = image.clip(0, 255).astype(np.uint8)
    return (image[..., 0] if category == "grid" else image), mask
