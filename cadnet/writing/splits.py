"""The split of each raw item: split lists, and drawing one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from cadnet.config import SplitParams
from cadnet.files import read_rows, relative_name
from cadnet.types import SPLITS
from cadnet.writing.units import PreparationError


def read_splits(path: Path | str, column: str, allowed: Sequence[str] = SPLITS) -> dict[str, str]:
    """Read a split list, a csv ``<column>,split``: item -> one of ``allowed``, in file order.

    Raises:
        FileNotFoundError: no such file.
        PreparationError: no table, other columns, an item twice or none that stays in its folder, an unknown
            split.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"split list {path} does not exist; restore it with `git checkout {path}`")
    try:
        rows = [[cell.strip() for cell in row] for row in read_rows(path)]
        for row in filter(any, rows[1:]):
            # As another system writes a path.
            row[0] = relative_name(row[0].replace("\\", "/"))
    except ValueError as error:
        raise PreparationError(f"split list {path}: {error}") from error
    if not rows or rows[0] != [column, "split"]:
        raise PreparationError(f"split list {path} must start with the line {column},split")
    splits: dict[str, str] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not any(row):
            continue
        if len(row) != 2 or row[1] not in allowed or row[0] in splits:
            raise PreparationError(
                f"split list {path}, line {number}: {','.join(row)!r}; give every {column} once, with one of "
                f"{', '.join(allowed)}"
            )
        splits[row[0]] = row[1]
    return splits


def draw_splits(stratum_of: Mapping[str, str], params: SplitParams) -> dict[str, str]:
    """Divide items over train, val and test, each stratum in proportion.

    ``floor(train_fraction * N)`` items are training material, ``floor(val_fraction * that)`` of them the
    validation split; what is left is the test split. Strata get their parts by largest remainders. Which
    items of a stratum are taken depends on the seed and their names alone.

    Args:
        stratum_of: item -> its stratum, for example class and board.
    """
    train = _take(stratum_of, params.train_fraction, f"{params.seed}/train")
    val = _take({item: stratum_of[item] for item in train}, params.val_fraction, f"{params.seed}/val")
    return {
        item: "val" if item in val else "train" if item in train else "test" for item in sorted(stratum_of)
    }


def _take(stratum_of: Mapping[str, str], fraction: float, key: str) -> set[str]:
    members: dict[str, list[str]] = {}
    for item, stratum in stratum_of.items():
        members.setdefault(stratum, []).append(item)
    # The small addition undoes rounding as in 0.7 * 10 = 6.999...
    wanted = {stratum: fraction * len(items) + 1e-9 for stratum, items in members.items()}
    counts = {stratum: math.floor(count) for stratum, count in wanted.items()}
    missing = math.floor(fraction * len(stratum_of) + 1e-9) - sum(counts.values())
    for stratum in sorted(wanted, key=lambda s: (counts[s] - wanted[s], s))[:missing]:
        counts[stratum] += 1

    def draw(item: str) -> str:
        return hashlib.sha256(f"{key}/{item}".encode()).hexdigest()

    return {item for stratum, items in members.items() for item in sorted(items, key=draw)[: counts[stratum]]}
