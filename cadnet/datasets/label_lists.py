"""Label lists: which training samples are labelled from which fraction on, and which are seen without labels.

A list is a csv ``sample_id,use``. ``use`` is the smallest fraction at which the sample is labelled, such as
0.05, or "unlabelled"; so the labelled samples of a smaller fraction are among those of every larger one, and
none of them is unlabelled. Samples that are not named are not used. Lines that start with # are notes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cadnet.datasets.manifest import DatasetError
from cadnet.files import read_rows
from cadnet.types import UNLABELLED

COLUMNS = ("sample_id", "use")
FIX = "draw it again with `python -m pipelines.labels --replace`"

ROUNDING = 1e-9
"""Undoes floating point, as in 0.15 * 10 = 1.4999..."""


@dataclass(frozen=True)
class LabelList:
    """A label list as read from ``path``; ``uses`` is each sample with its use, in file order."""

    path: Path
    uses: Mapping[str, str]

    @property
    def fractions(self) -> tuple[float, ...]:
        """The labelled fractions that the list was drawn for, ascending."""
        return tuple(sorted({float(use) for use in self.uses.values() if use != UNLABELLED}))

    @property
    def unlabelled(self) -> tuple[str, ...]:
        """The samples that are seen without labels, the same at every fraction."""
        return tuple(sample for sample, use in self.uses.items() if use == UNLABELLED)

    def labelled(self, fraction: float) -> tuple[str, ...]:
        """Return the samples that are labelled at the labelled fraction ``fraction``, in (0, 1].

        Raises:
            DatasetError: the list was not drawn for it.
        """
        if fraction not in self.fractions:
            drawn = ", ".join(map(str, self.fractions))
            raise DatasetError(f"label list {self.path} was drawn for {drawn} and not for {fraction}; {FIX}")
        return tuple(
            sample for sample, use in self.uses.items() if use != UNLABELLED and float(use) <= fraction
        )


def read_label_list(path: Path | str) -> LabelList:
    """Read a label list.

    Raises:
        FileNotFoundError: no such file.
        DatasetError: other columns, an unknown use, a sample twice, or no labelled sample.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"label list {path} does not exist; draw it with `python -m pipelines.labels`"
        )
    uses: dict[str, str] = {}
    header: list[str] | None = None
    try:
        rows = read_rows(path)
    except ValueError as error:
        raise DatasetError(f"label list {error}; {FIX}") from error
    for number, row in enumerate(rows, start=1):
        if row and row[0].startswith("#"):
            continue
        if header is None:
            header = row
            if row != list(COLUMNS):
                break
        elif len(row) != 2 or not row[0] or row[0] in uses or not _is_use(row[1]):
            raise DatasetError(
                f"label list {path}, line {number}: {','.join(row)!r:.200}; it must name a sample once, with "
                f"the fraction, above 0 and at most 1, from which it is labelled, or with {UNLABELLED}; {FIX}"
            )
        else:
            uses[row[0]] = row[1]
    if header != list(COLUMNS):
        raise DatasetError(f"label list {path} must start with the line {','.join(COLUMNS)}; {FIX}")
    if set(uses.values()) <= {UNLABELLED}:
        raise DatasetError(f"label list {path} has no labelled sample; {FIX}")
    return LabelList(path, uses)


def rows_of(samples: Sequence[str], rows: pd.DataFrame) -> tuple[int, ...]:
    """Find samples of a label list in the training split.

    Args:
        samples: their ids.
        rows: the split's manifest, see :meth:`cadnet.datasets.manifest.PreparedDataset.split`.

    Returns:
        Their row numbers in ``rows``, from 0, in the order of ``samples``.

    Raises:
        DatasetError: the dataset does not have them, or not for training.
    """
    splits = dict(zip(rows["sample_id"], rows["split"], strict=True))
    foreign = [sample for sample in samples if splits.get(sample) != "train"]
    if foreign:
        shown = ", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else "")
        raise DatasetError(
            f"the label list names samples that are not in the dataset's train split: {shown}; {FIX}"
        )
    numbers = {sample: number for number, sample in enumerate(rows["sample_id"])}
    return tuple(numbers[sample] for sample in samples)


def draw_label_list(
    manifest_rows: pd.DataFrame, fractions: Sequence[float], unlabelled: float, seed: int
) -> pd.DataFrame:
    """Draw which training samples are labelled at which fraction, and which are seen without labels.

    Every group (display pattern) gives the same fraction, its defective and its clean samples in proportion.
    The labelled are taken from the front of an order and the unlabelled from its end. The order depends on
    the seed and the sample's id alone.

    Args:
        manifest_rows: a manifest's rows; only those of the split "train" are drawn from.
        fractions: labelled fractions of the training samples, in (0, 1], ascending.
        unlabelled: fraction of the training samples without labels; with the largest of ``fractions`` at most
            1 together.
        seed: decides which samples are taken.

    Returns:
        The columns ``sample_id, use``, in the order of the manifest. Every fraction is right to within one
        sample in each group, and among its defective and its clean samples.

    Raises:
        DatasetError: there are no training samples, or so few that a fraction adds none of them.
    """
    train = manifest_rows[manifest_rows["split"] == "train"]
    uses: dict[str, str] = {}
    for _, group in train.groupby("group", sort=True):
        uses |= _draw_group(group, fractions, unlabelled, seed)
    given = set(uses.values())
    wanted = [str(float(fraction)) for fraction in fractions] + ([UNLABELLED] if unlabelled else [])
    idle = [use for use in wanted if use not in given]
    if idle:
        raise DatasetError(
            f"the fractions {', '.join(idle)} add none of {len(train)} training samples; choose larger ones "
            "that are further apart"
        )
    samples = [sample for sample in train["sample_id"] if sample in uses]
    return pd.DataFrame({"sample_id": samples, "use": [uses[sample] for sample in samples]})


def _draw_group(
    group: pd.DataFrame, fractions: Sequence[float], unlabelled: float, seed: int
) -> dict[str, str]:
    """The uses of one group's samples."""

    def draw(sample: str) -> str:
        return hashlib.sha256(f"{seed}/labels/{sample}".encode()).hexdigest()

    halves = [
        sorted(group.loc[group["has_defect"].astype(bool) == defective, "sample_id"], key=draw)
        for defective in (True, False)
    ]
    sizes = (len(halves[0]), len(halves[1]))
    uses: dict[str, str] = {}
    taken = (0, 0)
    for fraction in fractions:
        # Cumulative and rounded anew for each fraction, so that errors do not add up.
        upto = _quotas(_rounded(fraction * sum(sizes)), sizes)
        for half, start, end in zip(halves, taken, upto, strict=True):
            uses |= dict.fromkeys(half[start:end], str(float(fraction)))
        taken = upto
    free = (sizes[0] - taken[0], sizes[1] - taken[1])
    last = _quotas(min(_rounded(unlabelled * sum(sizes)), sum(free)), sizes, free)
    for half, count in zip(halves, last, strict=True):
        uses |= dict.fromkeys(half[len(half) - count :], UNLABELLED)
    return uses


def _quotas(total: int, sizes: tuple[int, int], free: tuple[int, int] | None = None) -> tuple[int, int]:
    """Divide ``total`` in proportion to two sizes, neither part above what is ``free`` of it.

    Without ``free`` a larger total takes no less of either part.
    """
    free = free or sizes
    first = _rounded(total * sizes[0] / max(1, sum(sizes)))
    first = min(max(first, total - free[1]), free[0])
    return first, total - first


def _rounded(number: float) -> int:
    """The nearest integer of a non-negative number, halves up."""
    return math.floor(number + 0.5 + ROUNDING)


def _is_use(text: str) -> bool:
    try:
        return text == UNLABELLED or 0 < float(text) <= 1
    except ValueError:
        return False
