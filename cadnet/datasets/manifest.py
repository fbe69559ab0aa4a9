"""The prepared dataset: a folder with ``manifest.csv``, ``dataset.json`` and images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import BaseModel, Field, ValidationError

from cadnet.config.base import Name
from cadnet.files import below, file_digest, read_checksums, read_json, value_digest
from cadnet.types import MANIFEST_COLUMNS, SPLITS, UNLABELLED

Byte = Annotated[int, Field(ge=0, le=255)]

MERGED_CLASS = "defect"
"""Name of the one class that all classes of a dataset can be taken as."""


class DatasetError(ValueError):
    """A prepared dataset is unusable; the message names the file, the rows and the fix."""


class Description(BaseModel):
    """What is read of ``dataset.json``; the name becomes a folder of the cache, classes become columns."""

    name: Name
    classes: Annotated[tuple[Name, ...], Field(min_length=1, max_length=254)]
    palette: tuple[tuple[Byte, Byte, Byte], ...]
    params: Any = None
    labels: dict[str, tuple[str, ...]] | None = None


@dataclass(frozen=True)
class PreparedDataset:
    """A prepared dataset, opened with :func:`open_dataset`.

    ``manifest`` has one row per sample with paths relative to ``root``; ``classes`` are the K defect classes
    in mask order 1..K; ``palette`` their RGB colours. ``merged`` is 0, or the number of classes in the mask
    files that :meth:`as_one_class` has made one.
    """

    root: Path
    name: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    manifest: pd.DataFrame
    merged: int = 0

    @property
    def mask_classes(self) -> int:
        """Number of defect classes in the mask files."""
        return self.merged or self.num_classes

    def as_one_class(self) -> PreparedDataset:
        """Return the dataset with all its classes as one, :data:`MERGED_CLASS`, in the first one's colour."""
        manifest = self.manifest.drop(columns=[f"n_{name}" for name in self.classes])
        manifest[f"n_{MERGED_CLASS}"] = self.manifest[[f"n_{name}" for name in self.classes]].sum(axis=1)
        return PreparedDataset(
            self.root, self.name, (MERGED_CLASS,), self.palette[:1], manifest, self.mask_classes
        )

    @property
    def num_classes(self) -> int:
        """K, the number of defect classes without background."""
        return len(self.classes)

    def split(self, split: str) -> pd.DataFrame:
        """Return the manifest rows of ``split`` ("train", "val", "test" or "unlabelled"), renumbered from 0.

        Raises:
            DatasetError: the split has no samples.
        """
        rows = self.manifest[self.manifest["split"] == split].reset_index(drop=True)
        if rows.empty:
            present = sorted(self.manifest["split"].unique())
            raise DatasetError(
                f"dataset {self.root} has no '{split}' samples (present: {present}); check its split list"
            )
        return rows

    def class_pixels(self, split: str) -> tuple[int, ...]:
        """Return the pixels of each defect class in ``split``: n_p of paper Eq. 9."""
        rows = self.split(split)
        return tuple(int(rows[f"n_{name}"].sum()) for name in self.classes)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names and digests of the description, the table and every file it names.

        Digests of images and masks are those that ``checksums.csv`` records, so that they are not read again
        in every process; files that it does not list are read. That the files still are as recorded is
        verified by the stage ``validate`` and by :func:`cadnet.datasets.cache.decode_split`.

        Raises:
            ValueError: ``checksums.csv`` is damaged.
        """
        tables = {name: file_digest(self.root / name) for name in ("manifest.csv", "dataset.json")}
        recorded = {name: self.checksums.get(name) for name in file_names(self.manifest)}
        files = {name: known or file_digest(self.root / name) for name, known in recorded.items()}
        digest = value_digest(sorted((files | tables).items()))
        return value_digest(digest, MERGED_CLASS) if self.merged else digest

    @cached_property
    def checksums(self) -> dict[str, str]:
        """Path -> SHA-256 as ``checksums.csv`` records it; {} for a dataset without one."""
        return read_checksums(self.root)


def read_description(root: Path) -> Description:
    """Read ``dataset.json``.

    Raises:
        ValueError: it is no JSON, or lacks what :class:`Description` holds.
    """
    try:
        return Description.model_validate(read_json(root / "dataset.json"))
    except ValidationError as error:
        wrong = ", ".join(sorted({str(item["loc"][0]) for item in error.errors() if item["loc"]}) or ["all"])
        raise DatasetError(
            f"{root / 'dataset.json'} is wrong in: {wrong}; prepare the dataset again"
        ) from error


def open_dataset(root: Path | str) -> PreparedDataset:
    """Open a prepared dataset and check its table.

    Raises:
        FileNotFoundError: the folder, its manifest or files named in the manifest are missing.
        DatasetError: wrong columns, duplicate ids, unknown split names or a group in two splits.
    """
    root = Path(root)
    for file in ("manifest.csv", "dataset.json"):
        if not (root / file).is_file():
            raise FileNotFoundError(
                f"{root / file} does not exist; run `dvc repro prepare` to make the dataset"
            )
    info = read_description(root)
    text = dict.fromkeys(MANIFEST_COLUMNS[:7], str)
    try:
        manifest = pd.read_csv(root / "manifest.csv", dtype=text, keep_default_na=False)
    except ValueError as error:
        raise DatasetError(f"{root / 'manifest.csv'} is damaged ({error}); prepare it again") from error
    _check_table(manifest, info.classes, root)
    _check_files(manifest, root)
    return PreparedDataset(root, info.name, info.classes, info.palette, manifest)


def file_names(manifest: pd.DataFrame) -> set[str]:
    """Return all files that a manifest names; unlabelled samples name no mask."""
    return {*manifest["image"], *manifest["reference"], *manifest["mask"]} - {""}


def _check_table(manifest: pd.DataFrame, classes: tuple[str, ...], root: Path) -> None:
    table = root / "manifest.csv"
    wanted = [*MANIFEST_COLUMNS, *(f"n_{name}" for name in classes)]
    missing = [name for name in wanted if name not in manifest.columns]
    if missing:
        raise DatasetError(f"{table} lacks the columns {missing}; prepare the dataset again")
    numbers = ["has_defect", "width", "height", *(f"n_{name}" for name in classes)]
    if words := [name for name in numbers if manifest[name].dtype.kind not in "biuf"]:
        raise DatasetError(f"{table} has something else than numbers in {words}; prepare the dataset again")
    unknown = sorted(set(manifest["split"]) - {*SPLITS, UNLABELLED})
    if unknown:
        raise DatasetError(f"{table} has splits {unknown}; allowed are {[*SPLITS, UNLABELLED]}")
    bare = manifest.loc[(manifest["mask"] == "") & (manifest["split"] != UNLABELLED), "sample_id"].tolist()
    if bare:
        raise DatasetError(f"{table}: samples {bare[:10]} have no mask; their split must be '{UNLABELLED}'")
    twice = manifest.loc[manifest["sample_id"].duplicated(), "sample_id"].tolist()
    if twice:
        raise DatasetError(f"{table} has duplicate sample ids {twice[:10]}; ids must be unique")
    splits_of_group = manifest.groupby("group")["split"].nunique()
    straddling = splits_of_group[splits_of_group > 1].index.tolist()
    if straddling:
        raise DatasetError(f"{table}: groups {straddling[:10]} are in several splits; a group belongs to one")


def _check_files(manifest: pd.DataFrame, root: Path) -> None:
    names = sorted(file_names(manifest))
    try:
        missing = [name for name in names if not below(root, name).is_file()]
    except ValueError as error:
        raise DatasetError(f"{root / 'manifest.csv'}: {error}") from error
    if missing:
        shown = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        raise FileNotFoundError(f"dataset {root} lacks {len(missing)} files of its manifest: {shown}")
