"""Which photograph has which label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from cadnet.images import ImageError
from cadnet.preparers.pairs.coco import read_coco
from cadnet.preparers.pairs.masks import MASK_SUFFIXES, MaskFile, MaskRules, read_masks
from cadnet.preparers.pairs.names import LabelNames
from cadnet.preparers.pairs.pictures import Picture, composed, find_pictures
from cadnet.preparers.pairs.problems import Problems
from cadnet.preparers.pairs.product import LabelSource, Product
from cadnet.preparers.pairs.shapes import Shape
from cadnet.preparers.pairs.sidecars import Reader, read_labelme, read_voc
from cadnet.preparers.pairs.sizes import Size, mismatch
from cadnet.preparers.pairs.table import PictureFinder
from cadnet.types import IGNORE_INDEX
from cadnet.writing.problems import shown

GOOD = "good"
"""Photographs in a folder of this name are free of defects."""


class Label(NamedTuple):
    """What is known of a labelled photograph: its masks, or its objects; neither means free of defects.

    ``values`` are the mask values 1..K that occur, as far as they are known without drawing.
    """

    masks: tuple[MaskFile, ...] = ()
    shapes: tuple[Shape, ...] = ()
    values: frozenset[int] = frozenset()


class Labels(NamedTuple):
    """``of``: source of each labelled photograph -> its label; ``files`` they were read from; ``notes`` for
    the summary."""

    of: dict[str, Label]
    files: list[Path]
    notes: list[str]


def find_labels(
    root: Path, product: Product, pictures: Sequence[Picture], sizes: Mapping[str, Size], problems: Problems
) -> Labels:
    """Find the labels of all photographs; a photograph without one is not in ``of``.

    Masks are decoded, because splits are drawn by the classes in them and because wrong values shall be known
    before hours of work. ``sizes`` holds the photographs whose header could be read; the others are left out.
    """
    source = product.labels
    labels = Labels({}, [], [])
    if source is not None and source.format == "masks":
        labels = _mask_labels(root, product, source, pictures, sizes, problems)
    elif source is not None:
        labels = _shape_labels(root, product, source, pictures, sizes, problems)
    for item in pictures:
        good = GOOD in (part.casefold() for part in PurePosixPath(item.name).parts[:-1])
        if good and item.source in labels.of and labels.of[item.source].values:
            problems.add(
                f"{item.source} lies in a folder '{GOOD}', for photographs without a defect, but its label "
                "marks some; move it, or clear the label"
            )
        if good or product.missing_mask == "clean":
            labels.of.setdefault(item.source, Label())
    return labels


def _mask_labels(
    root: Path,
    product: Product,
    source: LabelSource,
    pictures: Sequence[Picture],
    sizes: Mapping[str, Size],
    problems: Problems,
) -> Labels:
    try:
        masks = {item.name: item for item in find_pictures(root, source.path)[0]}
    except FileNotFoundError as error:
        problems.add(f"{error}, or say `labels: null` there if there are no labels")
        return Labels({}, [], [])
    own = {item.source for item in pictures}
    masks = {name: item for name, item in masks.items() if item.source not in own}
    wrong = [item for item in masks.values() if item.path.suffix.lower() not in MASK_SUFFIXES]
    for item in wrong:
        problems.add(f"mask {item.path} is compressed with losses, which changes its values; save it as PNG")
    found: dict[str, tuple[MaskFile, ...]] = {}
    owners: dict[str, str] = {}
    for picture in pictures:
        for name, folder_class, exclusive in _mask_names(
            picture.name + source.suffix, tuple(product.classes)
        ):
            if name not in masks:
                continue
            owner = owners.setdefault(name, picture.source)
            if owner != picture.source:
                problems.add(
                    f"mask {masks[name].path} fits both {owner} and {picture.source}; rename one of them"
                )
            file = MaskFile(masks[name].path.relative_to(root).as_posix(), folder_class, exclusive)
            found[picture.source] = (*found.get(picture.source, ()), file)
    for name, item in masks.items():
        if name not in owners:
            problems.add(
                f"mask {item.path} belongs to no photograph; name it like its photograph"
                + (f" with {source.suffix!r} added" if source.suffix else "")
                + ", or remove it"
            )
    of = _scan(root, MaskRules(tuple(product.classes), source.white), found, sizes, problems)
    return Labels(of, [item.path for item in masks.values()], [])


def _mask_names(name: str, classes: tuple[str, ...]) -> list[tuple[str, int | None, bool]]:
    """Names under which the masks of a photograph may lie, the class of the folder, and if it is that class's
    own folder."""
    first = PurePosixPath(name).parts[0] if "/" in name else ""
    mirrored = classes.index(first) + 1 if first in classes else None
    return [
        (name, mirrored, False),
        *((f"{label}/{name}", number, True) for number, label in enumerate(classes, start=1)),
    ]


def _scan(
    root: Path,
    rules: MaskRules,
    found: Mapping[str, tuple[MaskFile, ...]],
    sizes: Mapping[str, Size],
    problems: Problems,
) -> dict[str, Label]:
    """Decode all masks once: are they usable, and which classes do they hold?"""

    def look(source: str) -> tuple[frozenset[int], str] | str:
        try:
            mask, style = read_masks(root, found[source], rules)
        except (ImageError, OSError) as error:
            return str(error)
        if source in sizes:
            fault = mismatch(
                f"mask {root / found[source][0].path}", source, sizes[source], mask.shape[1], mask.shape[0]
            )
            if fault:
                return fault
        values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist()
        return frozenset(values) - {0, IGNORE_INDEX}, style

    with ThreadPoolExecutor(2) as pool:
        seen = dict(zip(found, pool.map(look, found), strict=True))
    styles: dict[str, list[str]] = {"white": [], "numbers": [], "": []}
    of = {}
    for source, result in seen.items():
        if isinstance(result, str):
            problems.add(result)
            # Labelled all the same, so that nothing else is reported of it.
            of[source] = Label(masks=found[source])
            continue
        values, style = result
        styles[style].append(source)
        of[source] = Label(masks=found[source], values=values)
    if styles["white"] and styles["numbers"]:
        problems.add(
            f"some masks use 255 alone (of {shown(styles['white'], 3)}), others class numbers (of "
            f"{shown(styles['numbers'], 3)}), so that 255 may mean defect or ignore; say `white: defect` or "
            "`white: ignore` under labels in product.yaml"
        )
    return of


def _shape_labels(
    root: Path,
    product: Product,
    source: LabelSource,
    pictures: Sequence[Picture],
    sizes: Mapping[str, Size],
    problems: Problems,
) -> Labels:
    names = LabelNames(product)
    place = root / source.path
    suffix = ".xml" if source.format == "voc" else ".json"
    files = sorted(place.rglob(f"*{suffix}")) if place.is_dir() else [place] if place.is_file() else []
    if not place.exists():
        problems.add(
            f"{place} does not exist; put the annotations there, or correct labels.path in product.yaml"
        )
    drawn: dict[str, list[Shape]] = {}
    if source.format == "coco":
        finder = PictureFinder(pictures)
        for file in files:
            for name, shapes in read_coco(file, finder, sizes, names, problems).items():
                drawn.setdefault(name, []).extend(shapes)
    else:
        reader = read_voc if source.format == "voc" else read_labelme
        drawn = _read_sidecars(place, files, source.suffix, reader, pictures, sizes, names, problems)
    names.report(problems)
    boxes = sum(shape.kind == "box" for shapes in drawn.values() for shape in shapes)
    notes = [f"{boxes} objects are boxes, not outlines: all pixels in them count as defect"] if boxes else []
    of = {
        name: Label(shapes=tuple(shapes), values=frozenset(shape.value for shape in shapes) - {IGNORE_INDEX})
        for name, shapes in drawn.items()
    }
    return Labels(of, files, notes)


def _read_sidecars(
    place: Path,
    files: Sequence[Path],
    suffix: str,
    reader: Reader,
    pictures: Sequence[Picture],
    sizes: Mapping[str, Size],
    names: LabelNames,
    problems: Problems,
) -> dict[str, list[Shape]]:
    owners: dict[str, list[Picture]] = {}
    for picture in pictures:
        owners.setdefault(picture.name + suffix, []).append(picture)
    found = {}
    for file in files:
        belongs = owners.get(composed(file.relative_to(place).with_suffix("").as_posix()), [])
        if len(belongs) != 1:
            which = " and ".join(item.source for item in belongs) or "no photograph"
            problems.add(f"{file} belongs to {which}; name it like its one photograph")
            continue
        source = belongs[0].source
        if source in sizes:
            found[source] = reader(file, source, sizes[source], names, problems)
    return found
