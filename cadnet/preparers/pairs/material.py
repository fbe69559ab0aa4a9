"""Finding and checking everything that a product folder holds, with the references of each photograph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cadnet.config import PairsParams
from cadnet.files import relative_name
from cadnet.images import ImageError, read_image
from cadnet.images.matching import signature
from cadnet.images.resizing import scaled_size
from cadnet.preparers.pairs.labels import Labels, find_labels
from cadnet.preparers.pairs.names import Picture
from cadnet.preparers.pairs.pictures import ProductFolder, open_folder, safe_ids
from cadnet.preparers.pairs.product import Product
from cadnet.preparers.pairs.splits import Assignment, assign_splits
from cadnet.writing.units import Problems, shown


class Reference(NamedTuple):
    """A clean picture.

    ``path``: in the product's folder as the disk spells it; ``signature``: float32 (64, 64), see
    :func:`cadnet.images.matching.signature`.
    """

    reference_id: str
    source: str
    path: str
    width: int
    height: int
    signature: np.ndarray


class Material(NamedTuple):
    """The content of a product folder, checked; ``candidates``: photograph -> references that may be its."""

    folder: ProductFolder
    references: dict[str, Reference]
    candidates: dict[str, tuple[str, ...]]
    labels: Labels
    splits: Assignment


def find_material(root: Path, product: Product, params: PairsParams) -> Material:
    """Find and check everything.

    Raises:
        PreparationError: anything is unusable; all of it is listed.
    """
    folder = open_folder(root, product, params)
    candidates = _candidates(folder)
    references = _references(folder, {source for names in candidates.values() for source in names})
    if params.alignment.model == "off":
        _check_sizes(folder, candidates, references)
    labels = find_labels(folder)
    splits = assign_splits(folder, labels.of)
    folder.problems.raise_all()
    return Material(folder, references, candidates, labels, splits)


def _references(folder: ProductFolder, used: set[str]) -> dict[str, Reference]:
    """Decode the used references: there are few, and a broken one would spoil each of its photographs."""
    pictures = [item for item in folder.clean if item.source in used]
    ids = safe_ids(pictures)

    def load(item: Picture) -> Reference | str:
        try:
            image = read_image(item.path)
        except (ImageError, OSError) as error:
            return str(error)
        height, width = image.shape[:2]
        path = item.path.relative_to(folder.root).as_posix()
        return Reference(ids[item.source], item.source, path, width, height, signature(image))

    with ThreadPoolExecutor(2) as pool:
        loaded = dict(zip((item.source for item in pictures), pool.map(load, pictures), strict=True))
    for item in loaded.values():
        if isinstance(item, str):
            folder.problems.add(item)
    return {source: item for source, item in loaded.items() if isinstance(item, Reference)}


def _check_sizes(
    folder: ProductFolder, candidates: Mapping[str, tuple[str, ...]], references: Mapping[str, Reference]
) -> None:
    """Without alignment, a photograph has the size of its reference."""
    scale = folder.params.scale
    for source, size in folder.sizes.items():
        names = candidates.get(source, ())
        if len(names) != 1 or names[0] not in references:
            continue
        reference = references[names[0]]
        own = (reference.width, reference.height)
        if scaled_size(*size[:2], scale) != scaled_size(*own, scale):
            folder.problems.add(unlike_reference(source, size[:2], reference.source, own))


def unlike_reference(source: str, size: tuple[int, int], reference: str, own: tuple[int, int]) -> str:
    """The message that a photograph and its reference differ in size (width, height), with the fix."""
    return (
        f"{source} is {size[0]} x {size[1]}, its reference {reference} {own[0]} x {own[1]}; switch "
        "alignment on (`alignment: {model: affine}` in params.yaml), or give it a reference of its size"
    )


def _candidates(folder: ProductFolder) -> dict[str, tuple[str, ...]]:
    """Source of each photograph -> sources of the references it may be compared with.

    More than one means that the nearest of them is taken. What has none is a problem.
    """
    product, references = folder.product, folder.clean
    groups, table, problems = folder.groups, folder.table, folder.problems
    where = f"references {product.references!r}"
    if not references:
        problems.add(f"{where} of product.yaml holds no picture; put a photograph of a clean specimen there")
        return {}
    found: dict[str, tuple[str, ...]] = {}
    lost: dict[str, list[str]] = {}
    open_ones: list[str] = []
    for item in folder.pictures:
        stated = table.entry(item.source).reference
        if stated:
            named = _named(stated, references, f"{table.path}: {item.source}", problems)
            found[item.source] = named
        elif product.reference == "group":
            found[item.source] = _of_group(groups[item.source], references)
            if not found[item.source]:
                lost.setdefault(groups[item.source], []).append(item.source)
        else:
            found[item.source] = tuple(reference.source for reference in references)
            open_ones.append(item.source)
    if product.reference == "single" and len(references) > 1 and open_ones:
        problems.add(
            f"{where} holds {len(references)} pictures ({shown(item.source for item in references)}); say in "
            "product.yaml how to choose: `reference: group`, `reference: nearest`, or a column reference in "
            "the table"
        )
    for group, sources in lost.items():
        problems.add(
            f"no reference is called {group!r} like the group of {shown(sources, 3)}; {where} has "
            f"{shown((item.name for item in references), 8)}"
        )
    return {source: names for source, names in found.items() if names}


def _of_group(group: str, references: Sequence[Picture]) -> tuple[str, ...]:
    """The reference of the group's name, or all in a folder of that name."""
    named = [item.source for item in references if item.name == group]
    return tuple(named or [item.source for item in references if item.name.rpartition("/")[0] == group])


def _named(stated: str, references: Sequence[Picture], where: str, problems: Problems) -> tuple[str, ...]:
    try:
        relative_name(stated)
    except ValueError as error:
        problems.add(f"{where}: {error}")
        return ()
    found = [item.source for item in references if stated == item.source]
    found = found or [
        item.source for item in references if stated in (item.name, item.name + item.path.suffix)
    ]
    if len(found) != 1:
        problems.add(f"{where}: {len(found)} references are called {stated!r}; correct it")
        return ()
    return (found[0],)
