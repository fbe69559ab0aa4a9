"""A split decoded once into memory-mapped uint8 arrays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cadnet.datasets.manifest import DatasetError, PreparedDataset
from cadnet.files import CHECKSUMS, atomic_directory, file_digest, value_digest, write_json
from cadnet.images import ImageError, read_image, read_mask
from cadnet.types import IGNORE_INDEX
from cadnet.writing.progress import open_progress

_ARRAYS = ("images", "masks", "references", "reference_index")


@dataclass(frozen=True)
class DecodedSplit:
    """Read-only arrays of one split, row i being row i of ``rows``.

    ``images`` uint8 (N, 3, H, W) RGB; ``masks`` uint8 (N, H, W), 255 where there is no mask; ``references``
    uint8 (R, 3, H, W), each clean image once; ``reference_index`` int64 (N,), the row of ``references`` that
    belongs to each image.
    """

    images: np.ndarray
    masks: np.ndarray
    references: np.ndarray
    reference_index: np.ndarray
    rows: pd.DataFrame


def decode_split(
    dataset: PreparedDataset, split: str, cache: Path | str, progress: bool = False
) -> DecodedSplit:
    """Decode ``split`` into ``cache`` (once per state of the data) and map it.

    Raises:
        DatasetError: files that cannot be decoded, differ in size or are not as ``checksums.csv`` records
            them, all listed together.
    """
    rows = dataset.split(split)
    folder = Path(cache) / f"{dataset.name}-{split}-{value_digest(dataset.digest, split)[:16]}"
    # The completeness marker is the directory's name: it appears by one rename.
    if not folder.is_dir():
        with atomic_directory(folder) as temporary:
            _decode(dataset, rows, temporary, f"decoding {dataset.name} {split}" if progress else "")
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
    return DecodedSplit(rows=rows, **arrays)


def _decode(dataset: PreparedDataset, rows: pd.DataFrame, folder: Path, title: str) -> None:
    height, width = int(rows["height"].iloc[0]), int(rows["width"].iloc[0])
    names = list(dict.fromkeys(rows["reference"]))
    position = {name: index for index, name in enumerate(names)}
    arrays = {
        "images": _create(folder / "images.npy", (len(rows), 3, height, width)),
        "masks": _create(folder / "masks.npy", (len(rows), height, width)),
        "references": _create(folder / "references.npy", (len(names), 3, height, width)),
    }

    def load(job: tuple[str, int, str]) -> str | None:
        kind, index, name = job
        try:
            if name in dataset.checksums and file_digest(dataset.root / name) != dataset.checksums[name]:
                return f"{dataset.root / name} is not as {CHECKSUMS} records it; prepare the dataset again"
            if not name:
                pixels = np.full((height, width), IGNORE_INDEX, np.uint8)
            elif kind == "masks":
                pixels = read_mask(dataset.root / name, dataset.mask_classes)
                if dataset.merged:
                    pixels = np.where(pixels == IGNORE_INDEX, pixels, np.minimum(pixels, 1))
            else:
                pixels = read_image(dataset.root / name).transpose(2, 0, 1)
        except (ImageError, OSError) as error:
            return str(error)
        if pixels.shape[-2:] != (height, width):
            return f"{dataset.root / name} is {pixels.shape[-1]} x {pixels.shape[-2]}, not {width} x {height}"
        arrays[kind][index] = pixels
        return None

    jobs = [("images", i, name) for i, name in enumerate(rows["image"])]
    jobs += [("masks", i, name) for i, name in enumerate(rows["mask"])]
    jobs += [("references", i, name) for i, name in enumerate(names)]
    problems: list[str] = []
    with ThreadPoolExecutor() as pool, open_progress(bool(title), len(jobs), 0, title) as bar:
        for problem in pool.map(load, jobs):
            problems += [problem] if problem else []
            bar.advance(1)
    if problems:
        raise DatasetError(
            f"{len(problems)} files of {dataset.root} cannot be used:\n" + "\n".join(problems[:20])
        )
    for array in arrays.values():
        array.flush()
    index = np.array([position[name] for name in rows["reference"]], dtype=np.int64)
    np.save(folder / "reference_index.npy", index)
    write_json(folder / "source.json", {"dataset": dataset.name, "digest": dataset.digest})


def _create(path: Path, shape: tuple[int, ...]) -> np.memmap:
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
