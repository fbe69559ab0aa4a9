"""Keeping what is needed again within a limit of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ByteCache(Generic[Value]):
    """Values in groups; the group used least recently goes first.

    A group never pushes out its own values: the tiles of one reference are visited in a circle, and a plain
    LRU that is a little too small for the circle would drop each tile just before it is needed again. What
    does not fit is not kept.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._groups: OrderedDict[str, dict[Hashable, tuple[Value, int]]] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(group) for group in self._groups.values())

    def get(self, group: str, key: Hashable) -> Value | None:
        """Return what was put under ``key`` of ``group``, or None."""
        if group not in self._groups:
            return None
        self._groups.move_to_end(group)
        entry = self._groups[group].get(key)
        return None if entry is None else entry[0]

    def put(self, group: str, key: Hashable, value: Value, size: int) -> None:
        """Keep a value of ``size`` bytes if it fits once other groups have made room."""
        own = self._groups.pop(group, {})
        if key in own:
            self.used -= own.pop(key)[1]
        kept = sum(entry[1] for entry in own.values())
        if kept + size <= self.limit:
            while self.used + size > self.limit:
                _, dropped = self._groups.popitem(last=False)
                self.used -= sum(entry[1] for entry in dropped.values())
            own[key] = value, size
            self.used += size
        if own:
            self._groups[group] = own
