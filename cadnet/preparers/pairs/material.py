"""Finding and checking everything that a product folder holds, with the references of each photograph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cadnet.config import PairsParams
from cadnet.images import ImageError, read_header, read_image
from cadnet.images.matching import signature
from cadnet.images.resizing import scaled_size
from cadnet.preparers.pairs.annotations import Size
from cadnet.preparers.pairs.labels import Labels, find_labels
from cadnet.preparers.pairs.pictures import Picture, Table, find_pictures, group_of, read_table, safe_ids
from cadnet.preparers.pairs.product import Product, inside
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
    """The content of a product folder, checked."""

    root: Path
    product: Product
    pictures: list[Picture]
    sizes: dict[str, Size]
    references: dict[str, Reference]
    candidates: dict[str, tuple[str, ...]]
    groups: dict[str, str]
    labels: Labels
    splits: Assignment
    table: Table
    others: list[str]


def find_material(root: Path, product: Product, params: PairsParams) -> Material:
    """Find and check everything.

    Raises:
        PreparationError: anything is unusable; all of it is listed.
    """
    problems = Problems(root, "product folder")
    references, _ = _find(root, product.references, "references", problems)
    pictures, others = _find(root, product.images, "images", problems)
    clean = {item.source for item in references}
    pictures = [item for item in pictures if item.source not in clean and not _is_mask(item, product)]
    if not pictures:
        problems.add(f"images {product.images!r} of product.yaml holds no photograph; put some there")
    sizes = _sizes(pictures, problems)
    table = read_table(root, product, pictures, problems)
    groups = {item.source: group_of(item, product, table, problems) for item in pictures}
    candidates = candidates_of(product, pictures, groups, references, table, problems)
    used = {source for names in candidates.values() for source in names}
    decoded = _references(root, [item for item in references if item.source in used], problems)
    if params.alignment.model == "off":
        _check_sizes(sizes, candidates, decoded, params, problems)
    labels = find_labels(root, product, pictures, sizes, problems)
    sources = [item.source for item in pictures]
    splits = assign_splits(sources, groups, labels.of, product, params, table, problems)
    problems.raise_all()
    return Material(
        root, product, pictures, sizes, decoded, candidates, groups, labels, splits, table, others
    )


def _find(root: Path, spec: str, what: str, problems: Problems) -> tuple[list[Picture], list[str]]:
    try:
        return find_pictures(root, spec)
    except FileNotFoundError as error:
        problems.add(f"{what}: {error}")
        return [], []


def _is_mask(item: Picture, product: Product) -> bool:
    """Whether a picture of the images folder is a mask."""
    labels = product.labels
    if labels is None or labels.format != "masks":
        return False
    if labels.path == product.images:
        return bool(labels.suffix) and item.name.endswith(labels.suffix)
    return item.source.startswith(f"{labels.path.rstrip('/')}/")


def _sizes(pictures: Sequence[Picture], problems: Problems) -> dict[str, Size]:
    sizes = {}
    for item in pictures:
        try:
            header = read_header(item.path)
        except ImageError as error:
            problems.add(str(error))
            continue
        sizes[item.source] = Size(header.width, header.height, header.turned)
    return sizes


def _references(root: Path, pictures: Sequence[Picture], problems: Problems) -> dict[str, Reference]:
    """Decode the references: there are few, and a broken one would spoil each of its photographs."""
    ids = safe_ids(pictures)

    def load(item: Picture) -> Reference | str:
        try:
            image = read_image(item.path)
        except (ImageError, OSError) as error:
            return str(error)
        height, width = image.shape[:2]
        path = item.path.relative_to(root).as_posix()
        return Reference(ids[item.source], item.source, path, width, height, signature(image))

    with ThreadPoolExecutor(2) as pool:
        loaded = dict(zip((item.source for item in pictures), pool.map(load, pictures), strict=True))
    for item in loaded.values():
        if isinstance(item, str):
            problems.add(item)
    return {source: item for source, item in loaded.items() if isinstance(item, Reference)}


def _check_sizes(
    sizes: Mapping[str, Size],
    candidates: Mapping[str, tuple[str, ...]],
    references: Mapping[str, Reference],
    params: PairsParams,
    problems: Problems,
) -> None:
    """Without alignment, a photograph has the size of its reference."""
    for source, size in sizes.items():
        names = candidates.get(source, ())
        if len(names) != 1 or names[0] not in references:
            continue
        reference = references[names[0]]
        own = scaled_size(size.width, size.height, params.scale)
        if own != scaled_size(reference.width, reference.height, params.scale):
            problems.add(
                unlike_reference(source, size[:2], reference.source, (reference.width, reference.height))
            )


def unlike_reference(source: str, size: tuple[int, int], reference: str, own: tuple[int, int]) -> str:
    """The message that a photograph and its reference differ in size (width, height), with the fix."""
    return (
        f"{source} is {size[0]} x {size[1]}, its reference {reference} {own[0]} x {own[1]}; switch "
        "alignment on (`alignment: {model: affine}` in params.yaml), or give it a reference of its size"
    )


def candidates_of(
    product: Product,
    pictures: Sequence[Picture],
    groups: Mapping[str, str],
    references: Sequence[Picture],
    table: Table,
    problems: Problems,
) -> dict[str, tuple[str, ...]]:
    """Return source of each photograph -> sources of the references it may be compared with.

    More than one means that the nearest of them is taken. What has none is a problem.
    """
    where = f"references {product.references!r}"
    if not references:
        problems.add(f"{where} of product.yaml holds no picture; put a photograph of a clean specimen there")
        return {}
    found: dict[str, tuple[str, ...]] = {}
    lost: dict[str, list[str]] = {}
    open_ones: list[str] = []
    for item in pictures:
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
        inside(stated)
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
