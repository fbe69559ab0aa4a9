"""Which photograph is train, val, test or unlabelled, and what must stay together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cadnet.config import PairsParams
from cadnet.preparers.pairs.coverage import cover_classes
from cadnet.preparers.pairs.labels import Label
from cadnet.preparers.pairs.problems import Problems
from cadnet.preparers.pairs.product import Product
from cadnet.preparers.pairs.table import Table
from cadnet.types import SPLITS, UNLABELLED
from cadnet.writing.problems import shown
from cadnet.writing.splits import draw_splits, read_splits
from cadnet.writing.units import PreparationError


class Share(NamedTuple):
    """``split`` of a photograph, and ``unit``: the group it must stay with, its own source, or where
    photographs stay alone."""

    split: str
    unit: str


class Shares(NamedTuple):
    """``of``: source -> share; ``left_out``: unlabelled photographs that would leak what is scored."""

    of: dict[str, Share]
    left_out: list[str]


def keeps_groups(product: Product, table: Table) -> bool:
    """Whether groups, not photographs, are what must not straddle splits."""
    if product.keep_together is not None:
        return product.keep_together == "group"
    stated = "group" in table.columns or product.group_pattern is not None
    return stated and product.reference != "group"


def share_out(
    sources: Sequence[str],
    groups: Mapping[str, str],
    labels: Mapping[str, Label],
    product: Product,
    params: PairsParams,
    table: Table,
    problems: Problems,
) -> Shares:
    """Give every photograph its split: as the table says, else the split list, else drawn."""
    together = keeps_groups(product, table)
    unit = {source: (groups[source] or source) if together else source for source in sources}
    stated = _stated(sources, params, table, problems)
    unlabelled = {s for s in sources if s not in labels or (stated or {}).get(s) == UNLABELLED}
    labelled = [source for source in sources if source not in unlabelled]
    if stated is None:
        split = _drawn(labelled, unit, labels, params, problems)
    else:
        split = stated
        _check_stated(sources, labelled, stated, unit, table, params, problems)
    where = {unit[source]: split[source] for source in labelled if source in split}
    of = {source: Share(split[source], unit[source]) for source in labelled if source in split}
    left_out = []
    for source in sorted(unlabelled):
        beside = where.get(unit[source], "train")
        if beside != "train":
            left_out.append(source)
        else:
            # Its own name, because a group lies in one split only.
            name = f"{unit[source]}+{UNLABELLED}" if unit[source] in where else unit[source]
            of[source] = Share(UNLABELLED, name)
    return Shares(of, left_out)


def _stated(
    sources: Sequence[str], params: PairsParams, table: Table, problems: Problems
) -> dict[str, str] | None:
    """Splits that the table or the split list gives, None when neither is there."""
    if "split" in table.columns:
        if params.split_list is not None:
            problems.add(f"both {table.path} and {params.split_list} give splits; remove one of them")
        return {source: entry.split for source, entry in table.entries.items() if entry.split}
    if params.split_list is None:
        return None
    try:
        stated = read_splits(params.split_list, "image", (*SPLITS, UNLABELLED))
    except (PreparationError, FileNotFoundError) as error:
        problems.add(str(error))
        return {}
    gone = sorted(set(stated) - set(sources))
    if gone:
        problems.add(
            f"{params.split_list} names photographs that are not there: {shown(gone)}; restore or remove "
            "them (paths begin in the product's folder)"
        )
    return stated


def _check_stated(
    sources: Sequence[str],
    labelled: Sequence[str],
    stated: Mapping[str, str],
    unit: Mapping[str, str],
    table: Table,
    params: PairsParams,
    problems: Problems,
) -> None:
    giver = table.path if "split" in table.columns else params.split_list
    without = [source for source in labelled if source not in stated]
    if without:
        problems.add(f"{giver} gives no split to the labelled photographs {shown(without)}; add them")
    bare = [s for s in sources if s not in set(labelled) and stated.get(s, UNLABELLED) != UNLABELLED]
    if bare:
        problems.add(
            f"{giver} gives a split to {shown(bare)}, which have no label; label them (an empty mask says: "
            "no defect), remove the split, or say `missing_mask: clean` in product.yaml"
        )
    seen: dict[str, str] = {}
    for source in labelled:
        if source in stated and seen.setdefault(unit[source], stated[source]) != stated[source]:
            problems.add(
                f"{giver} puts the group {unit[source]!r} into {seen[unit[source]]} and {stated[source]}; a "
                "group belongs to one split (or say `keep_together: photograph` in product.yaml)"
            )


def _drawn(
    labelled: Sequence[str],
    unit: Mapping[str, str],
    labels: Mapping[str, Label],
    params: PairsParams,
    problems: Problems,
) -> dict[str, str]:
    """Draw splits: each combination of classes in proportion, then each class into each split."""
    values: dict[str, set[int]] = {}
    for source in labelled:
        values.setdefault(unit[source], set()).update(labels[source].values)
    strata = {name: "+".join(map(str, sorted(held))) or "clean" for name, held in values.items()}
    held_by = {name: frozenset(held) for name, held in values.items()}
    drawn = cover_classes(draw_splits(strata, params.split), held_by)
    empty = [split for split in SPLITS if split not in drawn.values()]
    # With other problems there would be too few only because of them.
    if labelled and empty and not problems:
        counts = ", ".join(f"{split} {list(drawn.values()).count(split)}" for split in SPLITS)
        problems.add(
            f"of {len(drawn)} labelled photographs or groups none is left for {' and '.join(empty)} "
            f"({counts}); label more, give train_fraction and val_fraction under `split` in params.yaml that "
            "leave some for each (0.6 and 0.34 work from 5 on), or write a column split in the table"
        )
    return {source: drawn[unit[source]] for source in labelled}
