"""The split of each photograph, stated or drawn: groups stay together, every class is in every split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cadnet.preparers.pairs.labels import Label
from cadnet.preparers.pairs.pictures import ProductFolder
from cadnet.types import SPLITS, UNLABELLED
from cadnet.writing.splits import draw_splits, read_splits
from cadnet.writing.units import PreparationError, shown


class Assigned(NamedTuple):
    """``split`` of a photograph, and ``unit``: the group it must stay with, or its own source."""

    split: str
    unit: str


class Assignment(NamedTuple):
    """``of``: source -> its split; ``left_out``: unlabelled photographs that would leak what is scored."""

    of: dict[str, Assigned]
    left_out: list[str]


def _keeps_groups(folder: ProductFolder) -> bool:
    """Whether groups, not photographs, are what must not straddle splits."""
    product, table = folder.product, folder.table
    if product.keep_together is not None:
        return product.keep_together == "group"
    stated = "group" in table.columns or product.group_pattern is not None
    return stated and product.reference != "group"


def assign_splits(folder: ProductFolder, labels: Mapping[str, Label]) -> Assignment:
    """Give every photograph its split: from the table, else the split list, else drawn.

    Args:
        folder: with the photographs and their groups.
        labels: source -> label, of the labelled photographs.
    """
    sources, together = list(folder.groups), _keeps_groups(folder)
    unit = {source: (folder.groups[source] or source) if together else source for source in sources}
    stated = _stated(folder)
    unlabelled = {s for s in sources if s not in labels or (stated or {}).get(s) == UNLABELLED}
    labelled = [source for source in sources if source not in unlabelled]
    if stated is None:
        split = _drawn(folder, labelled, unit, labels)
    else:
        split = stated
        _check_stated(folder, labelled, stated, unit)
    where = {unit[source]: split[source] for source in labelled if source in split}
    of = {source: Assigned(split[source], unit[source]) for source in labelled if source in split}
    left_out = []
    for source in sorted(unlabelled):
        beside = where.get(unit[source], "train")
        if beside != "train":
            left_out.append(source)
        else:
            # Its own name, because a group is in one split only.
            name = f"{unit[source]}+{UNLABELLED}" if unit[source] in where else unit[source]
            of[source] = Assigned(UNLABELLED, name)
    return Assignment(of, left_out)


def _stated(folder: ProductFolder) -> dict[str, str] | None:
    """The splits in the table or the split list, None when neither exists."""
    params, table, problems = folder.params, folder.table, folder.problems
    if "split" in table.columns:
        if params.split_list is not None:
            problems.add(f"both {table.path} and {params.split_list} give splits; remove one of them")
        return {source: entry.split for source, entry in table.entries.items() if entry.split}
    if params.split_list is None:
        return None
    try:
        listed = read_splits(params.split_list, "image", (*SPLITS, UNLABELLED))
    except (PreparationError, FileNotFoundError) as error:
        problems.add(str(error))
        return {}
    stated: dict[str, str] = {}
    for name, split in listed.items():
        source = folder.finder.find(name, str(params.split_list), problems)
        if source is not None and stated.setdefault(source, split) != split:
            problems.add(f"{params.split_list} puts {source} into {stated[source]} and {split}; keep one")
    return stated


def _check_stated(
    folder: ProductFolder, labelled: Sequence[str], stated: Mapping[str, str], unit: Mapping[str, str]
) -> None:
    problems = folder.problems
    giver = folder.table.path if "split" in folder.table.columns else folder.params.split_list
    without = [source for source in labelled if source not in stated]
    if without:
        problems.add(f"{giver} gives no split to the labelled photographs {shown(without)}; add them")
    bare = [s for s in folder.groups if s not in set(labelled) and stated.get(s, UNLABELLED) != UNLABELLED]
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
    folder: ProductFolder, labelled: Sequence[str], unit: Mapping[str, str], labels: Mapping[str, Label]
) -> dict[str, str]:
    """Draw splits: each combination of classes in proportion, then each class into each split."""
    values: dict[str, set[int]] = {}
    for source in labelled:
        values.setdefault(unit[source], set()).update(labels[source].values)
    strata = {name: "+".join(map(str, sorted(held))) or "clean" for name, held in values.items()}
    held_by = {name: frozenset(held) for name, held in values.items()}
    drawn = cover_classes(draw_splits(strata, folder.params.split), held_by)
    empty = [split for split in SPLITS if split not in drawn.values()]
    # With other problems there would be too few only because of them.
    if labelled and empty and not folder.problems:
        counts = ", ".join(f"{split} {list(drawn.values()).count(split)}" for split in SPLITS)
        folder.problems.add(
            f"of {len(drawn)} labelled photographs or groups none is left for {' and '.join(empty)} "
            f"({counts}); label more, give train_fraction and val_fraction under `split` in params.yaml that "
            "leave some for each (0.6 and 0.34 work from 5 on), or write a column split in the table"
        )
    return {source: drawn[unit[source]] for source in labelled}


def cover_classes(drawn: Mapping[str, str], classes: Mapping[str, frozenset[int]]) -> dict[str, str]:
    """Exchange items between drawn splits so that, where possible, each class is in each split.

    Splits in proportion leave a class out of a split that is smaller than the number of combinations of
    classes, and such a class can neither choose a checkpoint nor be scored. Splits keep their sizes, no split
    loses a class by it, and rare classes come first.

    Args:
        drawn: item -> split.
        classes: item -> numbers of its classes.
    """
    splits = dict(drawn)
    held = Counter((split, value) for item, split in splits.items() for value in classes[item])
    often = Counter(value for item in splits for value in classes[item])
    for value in sorted(often, key=lambda number: (often[number], number)):
        for split in SPLITS:
            if split in splits.values() and not held[split, value]:
                found = _exchange(value, split, splits, classes, held)
                if found is None:
                    continue
                for item, other in zip(found, reversed(found), strict=True):
                    held.subtract((splits[item], number) for number in classes[item])
                    held.update((splits[other], number) for number in classes[item])
                splits[found[0]], splits[found[1]] = splits[found[1]], splits[found[0]]
    return splits


def _exchange(
    value: int,
    split: str,
    splits: Mapping[str, str],
    classes: Mapping[str, frozenset[int]],
    held: Mapping[tuple[str, int], int],
) -> tuple[str, str] | None:
    """An item with class ``value`` of the split that has most of them, and one of ``split`` in exchange."""

    def spared(item: str, other: str) -> bool:
        """Whether the split of ``item`` keeps all classes when ``other`` replaces it."""
        return all(held[splits[item], number] > 1 for number in classes[item] - classes[other])

    givers = sorted(
        (item for item in splits if splits[item] != split and value in classes[item]),
        key=lambda item: (-held[splits[item], value], len(classes[item]), item),
    )
    takers = sorted(
        (item for item in splits if splits[item] == split), key=lambda item: (len(classes[item]), item)
    )
    pairs = ((giver, taker) for giver in givers for taker in takers)
    return next((pair for pair in pairs if spared(*pair) and spared(*reversed(pair))), None)
