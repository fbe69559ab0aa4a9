"""The facts of a prepared dataset, by which it is judged: its tables, and every file measured once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import pandas as pd

from cadnet.datasets.manifest import read_description
from cadnet.files import CHECKSUMS, below, file_digest, read_checksums, spreadsheet_safe
from cadnet.images import decode, read_image
from cadnet.types import IGNORE_INDEX, MANIFEST_COLUMNS, UNLABELLED
from cadnet.validation.duplicates import SMALL, Picture, find_duplicates, perceptual_hash, small_copy

Found = TypeVar("Found")
_TRUTH = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0}
DEFECT_COLUMNS = ("label", "x", "y", "width", "height", "pixels")
"""Columns of ``MaskFacts.defects``."""


def _no_defects() -> np.ndarray:
    return np.zeros((0, len(DEFECT_COLUMNS)), np.int64)


@dataclass(frozen=True, eq=False)
class ImageFacts:
    """An image file. ``problem`` says why it cannot be used; then all else is empty.

    ``mean`` and ``sd``: grey levels of red, green, blue; ``brightness`` and ``contrast``: mean and standard
    deviation of the grey picture; ``digest``: SHA-256 of the decoded pixels; ``flat``: one colour all over;
    ``hash``: see :func:`perceptual_hash`; ``small``: uint8 grey (64, 64).
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


@dataclass(frozen=True, eq=False)
class DatasetTable:
    """The tables of a prepared dataset, whether right or wrong.

    ``problems``: (file, what is wrong with it) of tables that cannot be used; ``manifest``: the raw text of
    manifest.csv, all columns str; ``params``: digestible parameters of the preparer, None when not recorded;
    ``checksums``: path -> SHA-256 as recorded, empty without checksums.csv; ``labels``: source of a
    photograph -> classes that its label names, None where the preparer does not record them.
    """

    root: Path
    problems: tuple[tuple[str, str], ...]
    manifest: pd.DataFrame
    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    params: Any = None
    checksums: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, tuple[str, ...]] | None = None

    @property
    def wanted(self) -> list[str]:
        """Columns the manifest must have."""
        return [*MANIFEST_COLUMNS, *(f"n_{name}" for name in self.classes)]

    @property
    def usable(self) -> bool:
        """Whether the samples can be measured."""
        return not self.problems and set(self.wanted) <= set(self.manifest.columns) and len(self.manifest) > 0


@dataclass(frozen=True, eq=False)
class DatasetFacts:
    """The samples of a dataset beside the content of their files.

    ``samples`` has one row per row of the manifest: its columns (numbers as float64, NaN where they are
    none), ``labelled``, ``mismatch`` (what contradicts the split, None if nothing), ``manifest_size`` and
    ``<file>_size`` ("width x height"), ``<file>_problem`` (None or why the file cannot be used),
    ``mask_form`` and ``mask_values`` (None or what is wrong), ``found_<class>`` pixels, ``shows_defect`` (0
    or 1 by the mask, NaN without one), ``changed`` (None or a file of it that is not as recorded),
    ``group_splits`` (number of splits of its group), ``duplicate`` (None or the sample it doubles) and
    ``unaligned`` (None or the misalignment that is left). ``images`` and ``masks`` are the measured files by
    relative path.
    """

    table: DatasetTable
    samples: pd.DataFrame
    images: Mapping[str, ImageFacts]
    masks: Mapping[str, MaskFacts]


def read_table(root: Path | str) -> DatasetTable:
    """Read the tables of the folder ``root``; what is wrong with them is in the result."""
    root = Path(root)
    problems: list[tuple[str, str]] = []
    manifest, checksums = pd.DataFrame(), {}
    try:
        checksums = read_checksums(root)
    except (OSError, ValueError) as error:
        problems.append((CHECKSUMS, str(error)))
    try:
        manifest = pd.read_csv(root / "manifest.csv", dtype=str, keep_default_na=False)
        manifest = manifest.reset_index(drop=True)
    except (OSError, ValueError) as error:
        problems.append(("manifest.csv", f"cannot be read: {error}; prepare the dataset again"))
    try:
        info = read_description(root)
        if len(set(info.classes)) < len(info.classes) or len(info.palette) != len(info.classes):
            raise ValueError("it must name each class once and give every class a colour")
    except (OSError, ValueError) as error:
        problems.append(("dataset.json", f"cannot be used: {error}; prepare the dataset again"))
        return DatasetTable(root, tuple(problems), manifest)
    # Sources as the manifest writes them.
    labels = info.labels and {spreadsheet_safe(source): named for source, named in info.labels.items()}
    return DatasetTable(
        root, tuple(problems), manifest, info.classes, info.palette, info.params, checksums, labels
    )


def collect_facts(
    table: DatasetTable, duplicate_bits: int = 4, duplicate_difference: float = 6.0
) -> DatasetFacts:
    """Measure every file the manifest names, each once, and set it beside the manifest.

    Args:
        table: a usable table.
        duplicate_bits, duplicate_difference: see :func:`cadnet.validation.duplicates.find_duplicates`.
    """
    samples = _typed(table)
    images = measure_images(table.root, [*samples["image"], *samples["reference"]])
    masks = measure_masks(table.root, filter(None, samples["mask"]), len(table.classes))
    for kind in ("image", "reference"):
        found = [images[name] for name in samples[kind]]
        samples[f"{kind}_problem"] = _texts(fact.problem for fact in found)
        samples[f"{kind}_size"] = _texts(_size(fact) for fact in found)
    _add_masks(samples, table.classes, [masks.get(name, MaskFacts()) for name in samples["mask"]])
    changed = _changed_files(table, {**images, **masks})
    names = samples[["image", "reference", "mask"]].itertuples(index=False)
    samples["changed"] = _texts(", ".join(name for name in row if name in changed) for row in names)
    samples["group_splits"] = samples.groupby("group")["split"].transform("nunique")
    samples["unaligned"] = _alignment(samples)
    doubles = find_duplicates(
        table.root, list(_pictures(samples, images)), duplicate_bits, duplicate_difference
    )
    samples["duplicate"] = _doubles(samples, doubles)
    return DatasetFacts(table, samples, images, masks)


def _typed(table: DatasetTable) -> pd.DataFrame:
    samples = table.manifest.copy()
    for column in ("width", "height", *(f"n_{name}" for name in table.classes)):
        samples[column] = pd.to_numeric(samples[column], errors="coerce").astype("float64")
    samples["has_defect"] = samples["has_defect"].str.lower().map(_TRUTH).astype("float64")
    samples["labelled"] = samples["split"] != UNLABELLED
    samples["manifest_size"] = [
        None if pd.isna(w) or pd.isna(h) else f"{w:g} x {h:g}"
        for w, h in zip(samples["width"], samples["height"], strict=True)
    ]
    pixels = samples[[f"n_{name}" for name in table.classes]].sum(axis=1)
    unlabelled = ~samples["labelled"]
    samples["mismatch"] = _texts(
        "has no mask, so its split must be unlabelled" if bare and not free
        else "is unlabelled, so it may have no mask, defect or pixel count" if free and (not bare or count)
        else ""
        for bare, free, count in zip(
            samples["mask"] == "", unlabelled, pixels + samples["has_defect"].fillna(0), strict=True
        )
    )  # fmt: skip
    return samples


def _add_masks(samples: pd.DataFrame, classes: tuple[str, ...], found: list[MaskFacts]) -> None:
    samples["mask_problem"] = _texts(fact.problem for fact in found)
    samples["mask_size"] = _texts(_size(fact) for fact in found)
    samples["mask_form"] = _texts(fact.form for fact in found)
    samples["mask_values"] = _texts(
        f"holds values {list(fact.wrong)}" if fact.wrong else "" for fact in found
    )
    counts = [fact.pixels or (np.nan,) * len(classes) for fact in found]
    for index, name in enumerate(classes):
        samples[f"found_{name}"] = [float(row[index]) for row in counts]
    samples["shows_defect"] = [float(sum(fact.pixels) > 0) if fact.pixels else np.nan for fact in found]


def _alignment(samples: pd.DataFrame) -> list[str | None]:
    """None, or for samples that could not be aligned the residual and confidence."""
    if "aligned" not in samples:
        return [None] * len(samples)
    shown = [name for name in ("residual", "confidence") if name in samples]
    return _texts(
        ("is not aligned" + "".join(f", {name} {row[name]}" for name in shown if row[name]))
        if _TRUTH.get(row["aligned"].lower()) == 0
        else ""
        for row in samples[["aligned", *shown]].to_dict("records")
    )


def _pictures(samples: pd.DataFrame, images: Mapping[str, ImageFacts]) -> Iterator[Picture]:
    """The pictures that can be decoded, for the search for duplicates."""
    columns = [samples[name] for name in ("split", "group", "image", "mask", "shows_defect")]
    for index, (split, group, image, mask, shows) in enumerate(zip(*columns, strict=True)):
        fact = images[image]
        # A picture whose mask cannot be used counts as unlabelled.
        defective = None if pd.isna(shows) else bool(shows)
        if not fact.problem:
            yield Picture(
                index, split, group, image, mask, defective, fact.digest, fact.flat, fact.hash, fact.small
            )


def _changed_files(table: DatasetTable, facts: Mapping[str, ImageFacts | MaskFacts]) -> set[str]:
    """Readable files whose bytes are not those that checksums.csv records."""
    names = [name for name, fact in facts.items() if name in table.checksums and not fact.problem]
    with ThreadPoolExecutor() as pool:
        digests = pool.map(lambda name: file_digest(table.root / name), names)
        return {n for n, digest in zip(names, digests, strict=True) if digest != table.checksums[n]}


def _doubles(samples: pd.DataFrame, doubles: Mapping[int, int]) -> list[str | None]:
    names = list(zip(samples["sample_id"], samples["image"], samples["split"], strict=True))
    texts = {index: "shows the same as {} ({}, {})".format(*names[other]) for index, other in doubles.items()}
    return [texts.get(index) for index in range(len(samples))]


def _size(fact: ImageFacts | MaskFacts) -> str:
    return f"{fact.width} x {fact.height}" if fact.width else ""


def _texts(values: Any) -> list[str | None]:
    """Texts with None for empty ones, which expectations ignore."""
    return [value or None for value in values]


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
        try:
            return read(below(root, name))
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
    # Statistics are x, y, width, height, pixels; the first row is the background.
    stats = cv2.connectedComponentsWithStats((mask == label).view(np.uint8), connectivity=8)[2][1:]
    return np.column_stack([np.full(len(stats), label), stats]).astype(np.int64)
