"""All that must be known of a prepared dataset to judge it, read without stopping at the first error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cadnet.checks.duplicates import Picture, find_duplicates
from cadnet.checks.filefacts import ImageFacts, MaskFacts, measure_images, measure_masks
from cadnet.files import read_json
from cadnet.types import MANIFEST_COLUMNS, UNLABELLED

_TRUTH = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0}


@dataclass(frozen=True, eq=False)
class DatasetTable:
    """What the two tables of a prepared dataset say, whether right or wrong.

    ``problems``: (file, what is wrong with it) of tables that cannot be used; ``manifest``: the raw text of
    manifest.csv, all columns str; ``params``: digestible parameters of the preparer, None when not recorded.
    """

    root: Path
    problems: tuple[tuple[str, str], ...]
    manifest: pd.DataFrame
    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    params: Any = None

    @property
    def wanted(self) -> list[str]:
        """Columns the manifest must have."""
        return [*MANIFEST_COLUMNS, *(f"n_{name}" for name in self.classes)]

    @property
    def usable(self) -> bool:
        """Whether the samples can be looked at."""
        return not self.problems and set(self.wanted) <= set(self.manifest.columns) and len(self.manifest) > 0


@dataclass(frozen=True, eq=False)
class DatasetFacts:
    """The samples of a dataset beside what their files really hold.

    ``samples`` has one row per row of the manifest: its columns (numbers as float64, NaN where they are
    none), ``labelled``, ``mismatch`` (what contradicts the split, None if nothing), ``manifest_size`` and
    ``<file>_size`` ("width x height"), ``<file>_problem`` (None or why the file cannot be used),
    ``mask_form`` and ``mask_values`` (None or what is wrong), ``found_<class>`` pixels, ``shows_defect`` (0
    or 1 by the mask, NaN without one), ``group_splits`` (splits its group lies in), ``duplicate`` (None or
    which sample it doubles) and ``unaligned`` (None or what is left of the misalignment). ``images`` and
    ``masks`` are the measured files by relative path.
    """

    table: DatasetTable
    samples: pd.DataFrame
    images: Mapping[str, ImageFacts]
    masks: Mapping[str, MaskFacts]


def read_table(root: Path | str) -> DatasetTable:
    """Read manifest.csv and dataset.json of the folder ``root``; what is wrong is told in the result."""
    root = Path(root)
    problems: list[tuple[str, str]] = []
    manifest, info = pd.DataFrame(), {}
    try:
        manifest = pd.read_csv(root / "manifest.csv", dtype=str, keep_default_na=False)
        manifest = manifest.reset_index(drop=True)
    except (OSError, ValueError) as error:
        problems.append(("manifest.csv", f"cannot be read: {error}; prepare the dataset again"))
    try:
        info = read_json(root / "dataset.json")
        classes, palette = _classes(info)
    except (OSError, ValueError, TypeError, KeyError) as error:
        text = f"{type(error).__name__}: {error}" if isinstance(error, KeyError | TypeError) else str(error)
        problems.append(("dataset.json", f"cannot be used: {text}; prepare the dataset again"))
        return DatasetTable(root, tuple(problems), manifest)
    return DatasetTable(root, tuple(problems), manifest, classes, palette, info.get("params"))


def _classes(info: Any) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    classes = tuple(str(name) for name in info["classes"])
    palette = tuple((int(r), int(g), int(b)) for r, g, b in info["palette"])
    if not classes or len(set(classes)) < len(classes) or len(palette) != len(classes):
        raise ValueError("it must name each class once and give every class a colour")
    return classes, palette


def collect_facts(
    table: DatasetTable, duplicate_bits: int = 4, duplicate_difference: float = 6.0
) -> DatasetFacts:
    """Measure every file the manifest names, each once, and set it beside the manifest.

    Args:
        table: a usable table.
        duplicate_bits, duplicate_difference: see :func:`cadnet.checks.duplicates.find_duplicates`.
    """
    samples = _typed(table)
    images = measure_images(table.root, [*samples["image"], *samples["reference"]])
    masks = measure_masks(table.root, filter(None, samples["mask"]), len(table.classes))
    for kind in ("image", "reference"):
        found = [images[name] for name in samples[kind]]
        samples[f"{kind}_problem"] = _texts(fact.problem for fact in found)
        samples[f"{kind}_size"] = _texts(_size(fact) for fact in found)
    _add_masks(samples, table.classes, [masks.get(name, MaskFacts()) for name in samples["mask"]])
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
    """Samples that could not be brought onto their reference, with what is left to say of them."""
    if "aligned" not in samples:
        return [None] * len(samples)
    told = [name for name in ("residual", "confidence") if name in samples]
    return _texts(
        ("is not aligned" + "".join(f", {name} {row[name]}" for name in told if row[name]))
        if _TRUTH.get(row["aligned"].lower()) == 0
        else ""
        for row in samples[["aligned", *told]].to_dict("records")
    )


def _pictures(samples: pd.DataFrame, images: Mapping[str, ImageFacts]) -> Iterator[Picture]:
    """What the search for duplicates looks at: pictures that can be decoded."""
    columns = [samples[name] for name in ("split", "group", "image", "mask", "shows_defect")]
    for index, (split, group, image, mask, shows) in enumerate(zip(*columns, strict=True)):
        fact = images[image]
        # A mask that cannot be used says nothing: nobody has labelled its picture.
        defective = None if pd.isna(shows) else bool(shows)
        if not fact.problem:
            yield Picture(
                index, split, group, image, mask, defective, fact.digest, fact.flat, fact.hash, fact.small
            )


def _doubles(samples: pd.DataFrame, doubles: Mapping[int, int]) -> list[str | None]:
    names = list(zip(samples["sample_id"], samples["image"], samples["split"], strict=True))
    told = {index: "shows the same as {} ({}, {})".format(*names[other]) for index, other in doubles.items()}
    return [told.get(index) for index in range(len(samples))]


def _size(fact: ImageFacts | MaskFacts) -> str:
    return f"{fact.width} x {fact.height}" if fact.width else ""


def _texts(values: Any) -> list[str | None]:
    """Texts with None for empty ones, which expectations pass over."""
    return [value or None for value in values]
