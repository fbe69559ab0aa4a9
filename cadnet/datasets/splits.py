"""Committed split lists: which raw item belongs to train, val or test."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from cadnet.datasets.manifest import SPLITS, DatasetError


def read_split_list(path: Path | str, key: str) -> dict[str, str]:
    """Read a two-column list (``key``, ``split``) as a mapping from item to split.

    Raises:
        FileNotFoundError: no such file.
        DatasetError: other columns, an item listed twice, or an unknown split.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"split list {path} does not exist; restore it (`git checkout {path}`)")
    table = pd.read_csv(path, dtype=str)
    if list(table.columns) != [key, "split"]:
        raise DatasetError(f"{path} must have the columns {key},split and has {list(table.columns)}")
    twice = table.loc[table[key].duplicated(), key].tolist()
    if twice:
        raise DatasetError(f"{path} lists {twice} more than once; keep one line each")
    unknown = sorted(set(table["split"]) - set(SPLITS))
    if unknown:
        raise DatasetError(f"{path} has splits {unknown}; allowed are {list(SPLITS)}")
    return dict(zip(table[key], table["split"], strict=True))
