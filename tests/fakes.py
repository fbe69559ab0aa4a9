"""Small prepared datasets in the real layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from cadnet.files import write_json
from cadnet.images import write_png

CLASSES = ("line", "abpt")
SPLIT_OF_GROUP = {"01": "train", "02": "train", "03": "val", "04": "test"}


def write_fake_dataset(root: Path, per_group: int = 6, size: int = 32, seed: int = 0) -> Path:
    """Write pairs whose defects are bright bars (line) and dark squares (abpt) on smooth random screens."""
    generator = np.random.default_rng(seed)
    rows = []
    for group, split in SPLIT_OF_GROUP.items():
        base = generator.integers(60, 180, (4, 4, 3), dtype=np.uint8)
        reference = np.kron(base, np.ones((size // 4, size // 4, 1), dtype=np.uint8))
        write_png(root / "references" / f"{group}.png", reference)
        for index in range(per_group):
            image, mask = reference.copy(), np.zeros((size, size), np.uint8)
            if index % 3 < 2:
                row = int(generator.integers(2, size - 4))
                image[row : row + 2], mask[row : row + 2] = 255, 1
                column = int(generator.integers(0, size - 6))
                image[0:6, column : column + 6], mask[0:6, column : column + 6] = 0, 2
            name = f"{group}-{index:03d}"
            write_png(root / "images" / f"{name}.png", image)
            write_png(root / "masks" / f"{name}.png", mask)
            rows.append(
                {
                    "sample_id": name,
                    "image": f"images/{name}.png",
                    "reference": f"references/{group}.png",
                    "mask": f"masks/{name}.png",
                    "split": split,
                    "subset": "mixed",
                    "group": group,
                    "has_defect": int(mask.any()),
                    "width": size,
                    "height": size,
                    "n_line": int((mask == 1).sum()),
                    "n_abpt": int((mask == 2).sum()),
                }
            )
    pd.DataFrame(rows).to_csv(root / "manifest.csv", index=False)
    write_json(
        root / "dataset.json",
        {"name": "fake", "classes": list(CLASSES), "palette": [[255, 0, 0], [0, 255, 0]]},
    )
    return root
