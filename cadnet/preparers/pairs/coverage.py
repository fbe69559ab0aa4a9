"""Every class in every split, where few labels would leave one out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from cadnet.types import SPLITS


def cover_classes(drawn: Mapping[str, str], classes: Mapping[str, frozenset[int]]) -> dict[str, str]:
    """Exchange items between drawn splits so that, where possible, each class is in each split.

    Shares by proportion leave a class out of a split that is smaller than the number of combinations of
    classes, and what is not there can neither be chosen by nor scored. Splits keep their sizes, no split
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
    """An item with class ``value`` from where there are most, and one of ``split`` to give for it."""

    def spared(item: str, other: str) -> bool:
        """Whether the split of ``item`` keeps all classes when ``other`` comes instead."""
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
