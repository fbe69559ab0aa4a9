"""What one image or mask file holds, measured in one read: size, statistics, fingerprints, defects."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

import cv2
import numpy as np

from cadnet.checks.duplicates import SMALL, perceptual_hash, small_copy
from cadnet.images import decode, read_image
from cadnet.types import IGNORE_INDEX

Found = TypeVar("Found")

DEFECT_COLUMNS = ("label", "x", "y", "width", "height", "pixels")
"""Columns of ``MaskFacts.defects``."""


def _no_defects() -> np.ndarray:
    return np.zeros((0, len(DEFECT_COLUMNS)), np.int64)


@dataclass(frozen=True, eq=False)
class ImageFacts:
    """An image file. ``problem`` says why it cannot be used; then all else is empty.

    ``mean`` and ``sd``: grey levels of red, green, blue; ``brightness`` and ``contrast``: mean and standard
    deviation of the grey picture; ``digest``: SHA-256 of the decoded pixels; ``flat``: one colour all over;
    ``hash``: see :func:`cadnet.checks.duplicates.perceptual_hash`; ``small``: uint8 grey (64, 64).
    """

    problem: str = ""
    width: int = 0
    height: int = 0
    mean: tuple[float, ...] = ()
    sd: tuple[float, ...] = ()
    brightness: float = 0.0
    contrast: float = 0.0
    digest: str = ""
    flat: bool = False
    hash: int = 0
    small: np.ndarray = field(default_factory=lambda: np.zeros((SMALL, SMALL), np.uint8))


@dataclass(frozen=True, eq=False)
class MaskFacts:
    """A mask file. ``problem`` says why it cannot be decoded, ``form`` why it is no 8-bit label picture.

    ``wrong``: values that name no class; ``pixels``: of the classes 1..K; ``defects``: int64 (D, 6), one row
    of ``DEFECT_COLUMNS`` per 8-connected region of one class.
    """

    problem: str = ""
    form: str = ""
    width: int = 0
    height: int = 0
    wrong: tuple[int, ...] = ()
    pixels: tuple[int, ...] = ()
    defects: np.ndarray = field(default_factory=_no_defects)


def measure_images(root: Path, names: Iterable[str]) -> dict[str, ImageFacts]:
    """Measure image files given relative to ``root``, each once, on all cores."""
    return _measure(root, names, _image_facts, ImageFacts)


def measure_masks(root: Path, names: Iterable[str], num_classes: int) -> dict[str, MaskFacts]:
    """Measure mask files given relative to ``root``, each once, on all cores."""
    return _measure(root, names, lambda path: _mask_facts(path, num_classes), MaskFacts)


def _measure(
    root: Path, names: Iterable[str], read: Callable[[Path], Found], unusable: Callable[[str], Found]
) -> dict[str, Found]:
    def measure(name: str) -> Found:
        if not name.strip():
            return unusable("no file is named")
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            return unusable(f"{name!r} leaves the dataset's folder")
        try:
            return read(root / path)
        except (OSError, ValueError) as error:
            return unusable(str(error))

    wanted = list(dict.fromkeys(names))
    with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
        return dict(zip(wanted, pool.map(measure, wanted), strict=True))


def _image_facts(path: Path) -> ImageFacts:
    image = read_image(path)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    mean, sd = (values.ravel() for values in cv2.meanStdDev(image))
    brightness, contrast = (float(values[0, 0]) for values in cv2.meanStdDev(grey))
    return ImageFacts(
        width=image.shape[1],
        height=image.shape[0],
        mean=tuple(float(value) for value in mean),
        sd=tuple(float(value) for value in sd),
        brightness=brightness,
        contrast=contrast,
        digest=hashlib.sha256(image.data).hexdigest(),
        flat=not sd.any(),
        hash=perceptual_hash(grey),
        small=small_copy(grey),
    )


def _mask_facts(path: Path, num_classes: int) -> MaskFacts:
    mask = decode(path, cv2.IMREAD_UNCHANGED)
    height, width = mask.shape[:2]
    if mask.ndim != 2 or mask.dtype != np.uint8:
        channels = 1 if mask.ndim == 2 else mask.shape[2]
        return MaskFacts(
            form=f"has {channels} channels of {8 * mask.itemsize} bits", width=width, height=height
        )
    counts = np.bincount(mask.ravel(), minlength=256)
    wrong = [int(value) for value in np.flatnonzero(counts) if num_classes < value != IGNORE_INDEX]
    labels = [label for label in range(1, num_classes + 1) if counts[label]]
    return MaskFacts(
        width=width,
        height=height,
        wrong=tuple(wrong),
        pixels=tuple(int(count) for count in counts[1 : num_classes + 1]),
        defects=np.concatenate([_no_defects(), *(_regions(mask, label) for label in labels)]),
    )


def _regions(mask: np.ndarray, label: int) -> np.ndarray:
    # Statistics are x, y, width, height, pixels; the first row is what lies around the regions.
    stats = cv2.connectedComponentsWithStats((mask == label).view(np.uint8), connectivity=8)[2][1:]
    return np.column_stack([np.full(len(stats), label), stats]).astype(np.int64)
