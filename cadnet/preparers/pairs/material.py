"""Finding and checking everything that a product folder holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from cadnet.config import PairsParams
from cadnet.images import ImageError, read_image
from cadnet.preparers.pairs.grouping import group_of
from cadnet.preparers.pairs.labels import Labels, find_labels
from cadnet.preparers.pairs.pictures import Picture, find_pictures, read_header, safe_ids
from cadnet.preparers.pairs.problems import Problems
from cadnet.preparers.pairs.product import Product
from cadnet.preparers.pairs.references import Reference, candidates_of, signature
from cadnet.preparers.pairs.shares import Shares, share_out
from cadnet.preparers.pairs.sizes import Size, unlike_reference
from cadnet.preparers.pairs.table import Table, read_table
from cadnet.preparers.pairs.tiles import reduced_size


class Material(NamedTuple):
    """What was found in a product folder."""

    root: Path
    product: Product
    pictures: list[Picture]
    sizes: dict[str, Size]
    references: dict[str, Reference]
    candidates: dict[str, tuple[str, ...]]
    groups: dict[str, str]
    labels: Labels
    shares: Shares
    table: Table
    others: list[str]


def find_material(root: Path, product: Product, params: PairsParams) -> Material:
    """Find and check everything; all that is wrong is raised together."""
    problems = Problems(root)
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
    shares = share_out(sources, groups, labels.of, product, params, table, problems)
    problems.raise_all()
    return Material(
        root, product, pictures, sizes, decoded, candidates, groups, labels, shares, table, others
    )


def _find(root: Path, spec: str, what: str, problems: Problems) -> tuple[list[Picture], list[str]]:
    try:
        return find_pictures(root, spec)
    except FileNotFoundError as error:
        problems.add(f"{what}: {error}")
        return [], []


def _is_mask(item: Picture, product: Product) -> bool:
    """Whether a picture in the images folder is a mask that lies there too."""
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
        own = reduced_size(size.width, size.height, params.scale)
        if own != reduced_size(reference.width, reference.height, params.scale):
            problems.add(
                unlike_reference(source, size[:2], reference.source, (reference.width, reference.height))
            )
