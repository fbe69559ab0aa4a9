"""The label of each photograph: masks and what their values mean, or the objects of annotation files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from cadnet.images import SUFFIXES, ImageError
from cadnet.preparers.pairs.annotations import AnnotationReader
from cadnet.preparers.pairs.label_maps import Key, find_label_map, read_label_map
from cadnet.preparers.pairs.masks import MASK_SUFFIXES, Colors, MaskFile, MaskRules, mask_rules, read_masks
from cadnet.preparers.pairs.names import Picture
from cadnet.preparers.pairs.pictures import TABLE_FILE, ProductFolder, find_files, mismatch
from cadnet.preparers.pairs.product import PRODUCT_FILE, LabelSource, label_key
from cadnet.preparers.pairs.shapes import Shape
from cadnet.types import IGNORE_INDEX
from cadnet.writing.units import PreparationError, shown

GOOD = "good"
"""Photographs in a folder of this name are free of defects."""
_SUFFIXES = {
    "masks": SUFFIXES,
    "coco": (".json",),
    "labelme": (".json",),
    "voc": (".xml",),
    "yolo": (".txt",),
}
"""Of the label files of each format."""
_FOREIGN = (*SUFFIXES, ".json", ".xml", ".txt", ".npy", ".npz", ".gif", ".csv", ".mat", ".pkl", ".svg")
"""Suffixes of what may be a label in another format."""


class Label(NamedTuple):
    """A labelled photograph: its masks, or its objects; neither means free of defects.

    ``values`` are the mask values 1..K that occur, as far as they are known without painting.
    """

    masks: tuple[MaskFile, ...] = ()
    shapes: tuple[Shape, ...] = ()
    values: frozenset[int] = frozenset()


class Labels(NamedTuple):
    """``of``: source of each labelled photograph -> its label.

    ``files``: that they were read from; ``notes``: for the summary; ``rules``: of the masks.
    """

    of: dict[str, Label]
    files: list[Path]
    notes: list[str]
    rules: MaskRules


def find_labels(folder: ProductFolder) -> Labels:
    """Find the labels of all photographs; a photograph without one is not in ``of``.

    Masks are decoded, because splits are drawn by the classes in them and because wrong values are to be
    reported before hours of work.
    """
    labels = _read(folder)
    for item in folder.pictures:
        good = GOOD in (part.casefold() for part in PurePosixPath(item.name).parts[:-1])
        if good and item.source in labels.of and labels.of[item.source].values:
            folder.problems.add(
                f"{item.source} is in a folder '{GOOD}', for photographs without a defect, but its label "
                "marks some; move it, or clear the label"
            )
        if good or folder.product.missing_mask == "clean":
            labels.of.setdefault(item.source, Label())
    return labels


def _read(folder: ProductFolder) -> Labels:
    """The labels in the product's labels folder, of whose files every one is used, refused or noted."""
    source, problems = folder.product.labels, folder.problems
    labels = Labels({}, [], [], mask_rules(folder.product, None))
    if source is None:
        return labels
    try:
        present = find_files(folder.root, source.path)
        map_path = find_label_map(folder.root, source)
        names = read_label_map(map_path) if map_path else None
    except FileNotFoundError as error:
        problems.add(f"{error}, or say `labels: null` there if there are no labels")
        return labels
    except PreparationError as error:
        problems.add(str(error))
        return labels
    pictures = {item.source for item in (*folder.pictures, *folder.clean)}
    present = [item for item in present if item.source not in pictures and item.path != map_path]
    for item in present:
        if not _is_text(item.source):
            problems.add(f"the name of {item.source!r} is no UTF-8; rename it")
    present = [item for item in present if _is_text(item.source)]
    files = [item for item in present if item.path.suffix.lower() in _SUFFIXES[source.format]]
    if not files and folder.pictures:
        problems.add(
            f"labels {source.path!r} of product.yaml holds no file of the format {source.format}; "
            "put the labels there, correct `format` or `path`, or say `labels: null` if there are none"
        )
        return labels
    notes: list[str] = []
    if source.format == "masks":
        rules = mask_rules(folder.product, names)
        labels = labels._replace(of=_scan(folder, rules, _mask_files(folder, source, files)), rules=rules)
    else:
        labels = labels._replace(of=_drawn(folder, source, files, names, notes))
    others = [item for item in present if item.path.suffix.lower() not in _SUFFIXES[source.format]]
    _foreign(folder, source, others, labels.of, notes)
    read = [item.path for item in files] + ([map_path] if map_path else [])
    return labels._replace(files=read, notes=notes)


def _is_text(name: str) -> bool:
    """Whether a file's name could be decoded; bytes of other encodings are half of a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _foreign(
    folder: ProductFolder,
    source: LabelSource,
    others: Sequence[Picture],
    of: Mapping[str, Label],
    notes: list[str],
) -> None:
    """Refuse files of other formats that stand for a label, and note the rest."""
    unread = []
    for item in others:
        suffix = item.path.suffix.lower()
        if suffix not in _FOREIGN or item.path.name in (PRODUCT_FILE, TABLE_FILE):
            continue
        bare = [
            owner for owner in folder.finder.owners(item.name.removesuffix(source.suffix)) if owner not in of
        ]
        if bare:
            folder.problems.add(
                f"{item.path} is no label of the format {source.format}, and {shown(bare)} has no other; "
                "export it in that format, or remove it"
            )
        else:
            unread.append(item.source)
    if unread:
        notes.append(f"{len(unread)} files in the labels folder are not read: {shown(unread)}")


def _mask_files(
    folder: ProductFolder, source: LabelSource, files: Sequence[Picture]
) -> dict[str, tuple[MaskFile, ...]]:
    """Source of a photograph -> its masks, later classes later."""
    numbers = folder.product.label_values()
    found: dict[str, dict[tuple[bool, int], MaskFile]] = {}
    for item in files:
        if item.path.suffix.lower() not in MASK_SUFFIXES:
            folder.problems.add(
                f"mask {item.path} is compressed with losses, which changes its values; save it as PNG"
            )
        name = item.name.removesuffix(source.suffix)
        first, _, rest = name.partition("/")
        number = numbers.get(label_key(first)) if rest else None
        number = None if number == IGNORE_INDEX else number
        owned = [(owner, False) for owner in folder.finder.owners(name)]
        owned += [(owner, True) for owner in folder.finder.owners(rest)] if number else []
        if not item.name.endswith(source.suffix) or not owned:
            folder.problems.add(
                f"mask {item.path} belongs to no photograph; name it like its photograph"
                + (f" with {source.suffix!r} added" if source.suffix else "")
                + (f", and its folder like a class ({first!r} is none)" if rest and not number else "")
                + ", or remove it"
            )
        elif len(owned) > 1:
            both = " and ".join(sorted({owner for owner, _ in owned}))
            folder.problems.add(f"mask {item.path} fits both {both}; rename one of them")
        for owner, exclusive in owned:
            file = MaskFile(item.path.relative_to(folder.root).as_posix(), number, exclusive)
            kept = found.setdefault(owner, {}).setdefault((exclusive, (exclusive and number) or 0), file)
            if kept is not file:
                folder.problems.add(
                    f"{owner} has two masks, {folder.root / kept.path} and {item.path}; keep one of them"
                )
    return {owner: tuple(of[key] for key in sorted(of)) for owner, of in found.items()}


def _scan(
    folder: ProductFolder, rules: MaskRules, found: Mapping[str, tuple[MaskFile, ...]]
) -> dict[str, Label]:
    """Decode all masks once, to check them and to find the classes in them."""

    def look(source: str) -> tuple[frozenset[int], str, Colors] | str:
        try:
            mask, style, colors = read_masks(folder.root, found[source], rules)
        except (ImageError, OSError) as error:
            return str(error)
        if source in folder.sizes:
            name = f"mask {folder.root / found[source][0].path}"
            fault = mismatch(name, source, folder.sizes[source], mask.shape[1], mask.shape[0])
            if fault:
                return fault
        values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist()
        return frozenset(values) - {0, IGNORE_INDEX}, style, colors

    with ThreadPoolExecutor(2) as pool:
        seen = dict(zip(found, pool.map(look, found), strict=True))
    styles: dict[str, list[str]] = {"white": [], "numbers": [], "": []}
    shades: dict[tuple[int, Key], str] = {}
    of = {}
    for source, result in seen.items():
        if isinstance(result, str):
            folder.problems.add(result)
            # Labelled all the same, so that nothing else is reported of it.
            of[source] = Label(masks=found[source])
            continue
        values, style, colors = result
        styles[style].append(source)
        shades |= {entry: source for entry in colors.items() if entry not in shades}
        of[source] = Label(masks=found[source], values=values)
    if styles["white"] and styles["numbers"]:
        folder.problems.add(
            f"some masks use 255 alone (of {shown(styles['white'], 3)}), others class numbers (of "
            f"{shown(styles['numbers'], 3)}), so that 255 may mean defect or ignore; say `white: defect` or "
            "`white: ignore` under labels in product.yaml"
        )
    # A tool that drops unused colours from a palette gives the others new numbers.
    for side in (0, 1):
        often = Counter(entry[side] for entry in shades)
        apart = [(entry, source) for entry, source in shades.items() if often[entry[side]] > 1]
        if apart:
            folder.problems.add(
                "the masks' palettes disagree: "
                + shown((f"{number} is {color} in that of {source}" for (number, color), source in apart), 4)
                + "; put a label map beside the masks that says which colour is which class (labelmap.txt "
                "with lines such as scratch:128,0,0), or save class numbers without a palette"
            )
            break
    return of


def _drawn(
    folder: ProductFolder,
    source: LabelSource,
    files: Sequence[Picture],
    names: Mapping[Key, str] | None,
    notes: list[str],
) -> dict[str, Label]:
    """The labels of annotation files."""
    numbers = {key[0]: name for key, name in (names or {}).items() if len(key) == 1}
    if source.format == "yolo" and not numbers:
        folder.problems.add(
            f"the class numbers in {source.path!r} have no names; put classes.txt (a name per line) or "
            "data.yaml beside the labels, or say where it is (`map` under labels in product.yaml)"
        )
        return {}
    reader = AnnotationReader(folder, numbers)
    drawn: dict[str, list[Shape]] = {}
    owned: dict[str, Path] = {}
    for file in files:
        if source.format == "coco":
            for name, shapes in reader.coco(file.path).items():
                drawn.setdefault(name, []).extend(shapes)
            continue
        owners = folder.finder.owners(file.name.removesuffix(source.suffix))
        if len(owners) != 1 or not file.name.endswith(source.suffix):
            which = " and ".join(owners) or "no photograph"
            folder.problems.add(f"{file.path} belongs to {which}; name it like its one photograph")
        elif owned.setdefault(owners[0], file.path) != file.path:
            folder.problems.add(
                f"{owners[0]} has two labels, {owned[owners[0]]} and {file.path}; keep one of them"
            )
        elif owners[0] in folder.sizes:
            read = {"voc": reader.voc, "labelme": reader.labelme, "yolo": reader.yolo}[source.format]
            drawn |= read(file.path, owners[0])
    reader.report_unknown()
    for name, shapes in drawn.items():
        reader.check_painted(name, shapes)
    boxes = sum(shape.outline.kind == "box" for shapes in drawn.values() for shape in shapes)
    if boxes:
        notes.append(f"{boxes} objects are boxes, not outlines: all pixels in them count as defect")
    return {
        name: Label(shapes=tuple(shapes), values=frozenset(shape.value for shape in shapes) - {IGNORE_INDEX})
        for name, shapes in drawn.items()
    }
