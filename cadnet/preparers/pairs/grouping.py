"""Which group a photograph belongs to."""

from __future__ import annotations

import re

from cadnet.preparers.pairs.pictures import Picture
from cadnet.preparers.pairs.problems import Problems
from cadnet.preparers.pairs.product import Product
from cadnet.preparers.pairs.table import Table


def group_of(picture: Picture, product: Product, table: Table, problems: Problems) -> str:
    """Return the group of a photograph: from the table, else the pattern, else its sub-folder; "" for "
    "none."""
    stated = table.entry(picture.source).group
    if stated:
        return stated
    if product.group_pattern is None:
        return picture.name.rpartition("/")[0]
    found = re.search(product.group_pattern, picture.name)
    if found is None or not found["group"]:
        problems.add(
            f"group_pattern {product.group_pattern!r} finds no group in {picture.name!r}; correct it, or "
            "give the group in the table"
        )
        return ""
    return found["group"]
