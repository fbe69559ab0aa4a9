"""The label of each photograph: masks and what their values mean, or the objects of annotation files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from cadnet.images import ImageError, decode, read_header
from cadnet.preparers.pairs.annotations import AnnotationReader
from cadnet.preparers.pairs.pictures import ProductFolder, composed, find_pictures, mismatch
from cadnet.preparers.pairs.product import LabelSource
from cadnet.preparers.pairs.shapes import Shape
from cadnet.types import IGNORE_INDEX
from cadnet.writing.units import shown

GOOD = "good"
"""Photographs in a folder of this name are free of defects."""
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
_SMOOTH = 8
"""More values than that outside the classes look like anti-aliasing."""


class MaskFile(NamedTuple):
    """One mask file of a photograph.

    ``folder_class``: number of the class that its folder is called like, None for no class; ``exclusive``:
    whether it is the mask of that class alone (masks/<class>/<photograph>.png), not one in a sub-folder like
    its photograph's that happens to be called like a class.
    """

    path: str
    folder_class: int | None = None
    exclusive: bool = False


class MaskRules(NamedTuple):
    """``classes`` in mask order; ``white`` as in :class:`LabelSource`."""

    classes: tuple[str, ...]
    white: str | None


class ReadMask(NamedTuple):
    """``labels``: uint8 (H, W), 0..K and 255.

    ``style``: "white" when 255 was taken for the only class though product.yaml does not say so, "numbers"
    when the mask holds class numbers, "" when it shows neither.
    """

    labels: np.ndarray
    style: str


class Label(NamedTuple):
    """A labelled photograph: its masks, or its objects; neither means free of defects.

    ``values`` are the mask values 1..K that occur, as far as they are known without painting.
    """

    masks: tuple[MaskFile, ...] = ()
    shapes: tuple[Shape, ...] = ()
    values: frozenset[int] = frozenset()


class Labels(NamedTuple):
    """``of``: source of each labelled photograph -> its label.

    ``files``: that they were read from; ``notes``: for the summary.
    """

    of: dict[str, Label]
    files: list[Path]
    notes: list[str]


def find_labels(folder: ProductFolder) -> Labels:
    """Find the labels of all photographs; a photograph without one is not in ``of``.

    Masks are decoded, because splits are drawn by the classes in them and because wrong values are to be
    reported before hours of work.
    """
    source = folder.product.labels
    labels = Labels({}, [], [])
    if source is not None:
        labels = (_mask_labels if source.format == "masks" else _shape_labels)(folder, source)
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


def _mask_labels(folder: ProductFolder, source: LabelSource) -> Labels:
    root, problems, classes = folder.root, folder.problems, tuple(folder.product.classes)
    try:
        masks = {item.name: item for item in find_pictures(root, source.path)[0]}
    except FileNotFoundError as error:
        problems.add(f"{error}, or say `labels: null` there if there are no labels")
        return Labels({}, [], [])
    own = {item.source for item in folder.pictures}
    masks = {name: item for name, item in masks.items() if item.source not in own}
    wrong = [item for item in masks.values() if item.path.suffix.lower() not in MASK_SUFFIXES]
    for item in wrong:
        problems.add(f"mask {item.path} is compressed with losses, which changes its values; save it as PNG")
    found: dict[str, tuple[MaskFile, ...]] = {}
    owners: dict[str, str] = {}
    for picture in folder.pictures:
        for name, folder_class, exclusive in _mask_names(picture.name + source.suffix, classes):
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
    of = _scan(folder, MaskRules(classes, source.white), found)
    return Labels(of, [item.path for item in masks.values()], [])


def _mask_names(name: str, classes: tuple[str, ...]) -> list[tuple[str, int | None, bool]]:
    """Names that the masks of a photograph may have, each with ``folder_class`` and ``exclusive``."""
    first = PurePosixPath(name).parts[0] if "/" in name else ""
    mirrored = classes.index(first) + 1 if first in classes else None
    return [
        (name, mirrored, False),
        *((f"{label}/{name}", number, True) for number, label in enumerate(classes, start=1)),
    ]


def _scan(
    folder: ProductFolder, rules: MaskRules, found: Mapping[str, tuple[MaskFile, ...]]
) -> dict[str, Label]:
    """Decode all masks once, to check them and to find the classes in them."""

    def look(source: str) -> tuple[frozenset[int], str] | str:
        try:
            mask, style = read_masks(folder.root, found[source], rules)
        except (ImageError, OSError) as error:
            return str(error)
        if source in folder.sizes:
            name = f"mask {folder.root / found[source][0].path}"
            fault = mismatch(name, source, folder.sizes[source], mask.shape[1], mask.shape[0])
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
            folder.problems.add(result)
            # Labelled all the same, so that nothing else is reported of it.
            of[source] = Label(masks=found[source])
            continue
        values, style = result
        styles[style].append(source)
        of[source] = Label(masks=found[source], values=values)
    if styles["white"] and styles["numbers"]:
        folder.problems.add(
            f"some masks use 255 alone (of {shown(styles['white'], 3)}), others class numbers (of "
            f"{shown(styles['numbers'], 3)}), so that 255 may mean defect or ignore; say `white: defect` or "
            "`white: ignore` under labels in product.yaml"
        )
    return of


def _shape_labels(folder: ProductFolder, source: LabelSource) -> Labels:
    target, reader = folder.root / source.path, AnnotationReader(folder)
    suffix = ".xml" if source.format == "voc" else ".json"
    files = sorted(target.rglob(f"*{suffix}")) if target.is_dir() else [target] if target.is_file() else []
    if not target.exists():
        folder.problems.add(
            f"{target} does not exist; put the annotations there, or correct labels.path in product.yaml"
        )
    drawn: dict[str, list[Shape]] = {}
    if source.format == "coco":
        for file in files:
            for name, shapes in reader.coco(file).items():
                drawn.setdefault(name, []).extend(shapes)
    else:
        read = reader.voc if source.format == "voc" else reader.labelme
        owned = _owned(folder, target, files, source.suffix)
        drawn = {owner: read(file, owner) for file, owner in owned.items() if owner in folder.sizes}
    reader.report_unknown()
    boxes = sum(shape.kind == "box" for shapes in drawn.values() for shape in shapes)
    notes = [f"{boxes} objects are boxes, not outlines: all pixels in them count as defect"] if boxes else []
    of = {
        name: Label(shapes=tuple(shapes), values=frozenset(shape.value for shape in shapes) - {IGNORE_INDEX})
        for name, shapes in drawn.items()
    }
    return Labels(of, files, notes)


def _owned(folder: ProductFolder, target: Path, files: Sequence[Path], suffix: str) -> dict[Path, str]:
    """Annotation file -> source of the photograph of its name."""
    owners: dict[str, list[str]] = {}
    for picture in folder.pictures:
        owners.setdefault(picture.name + suffix, []).append(picture.source)
    owned = {}
    for file in files:
        found = owners.get(composed(file.relative_to(target).with_suffix("").as_posix()), [])
        if len(found) == 1:
            owned[file] = found[0]
        else:
            which = " and ".join(found) or "no photograph"
            folder.problems.add(f"{file} belongs to {which}; name it like its one photograph")
    return owned


def read_masks(root: Path, files: tuple[MaskFile, ...], rules: MaskRules) -> ReadMask:
    """Read the masks of one photograph into one; where several overlap, the later class wins.

    Raises:
        ImageError: unreadable, of different sizes, or values whose meaning is not certain.
    """
    whole: np.ndarray | None = None
    style = ""
    for file in files:
        path = root / file.path
        values = read_values(path)
        labels, found = _meaning(values, file, rules, path)
        style = style or found
        if whole is None:
            whole = labels
        elif whole.shape != labels.shape:
            raise ImageError(
                f"mask {path} is {labels.shape[1]} x {labels.shape[0]}, {root / files[0].path} "
                f"{whole.shape[1]} x {whole.shape[0]}; draw both on the photograph's size"
            )
        else:
            whole[labels > 0] = labels[labels > 0]
    assert whole is not None
    return ReadMask(whole, style)


def read_values(path: Path) -> np.ndarray:
    """Read a mask's stored values as uint8 (H, W): palette numbers, or grey values.

    Raises:
        ImageError: undecodable, coloured, or not of 8 bits.
    """
    if read_header(path).mode == "P":
        # OpenCV would give the palette's colours.
        try:
            with Image.open(path) as picture:
                return np.array(picture)
        except (OSError, ValueError, SyntaxError) as error:
            raise ImageError(f"image {path} cannot be decoded ({error}); replace it") from error
    values = decode(path, cv2.IMREAD_UNCHANGED)
    if values.ndim == 3:
        grey = all(np.array_equal(values[..., 0], values[..., channel]) for channel in (1, 2))
        if grey and (values.shape[2] == 3 or bool((values[..., 3] == 255).all())):
            values = np.ascontiguousarray(values[..., 0])
    if values.ndim != 2 or values.dtype != np.uint8:
        kind = "coloured or transparent" if values.ndim != 2 else str(values.dtype)
        raise ImageError(
            f"mask {path} is {kind}; save it as a single-channel 8-bit PNG of class numbers, without colours"
        )
    return values


def _meaning(values: np.ndarray, file: MaskFile, rules: MaskRules, path: Path) -> tuple[np.ndarray, str]:
    """The labels of one mask, uint8 (H, W), and its style."""
    held = {int(value) for value in np.flatnonzero(np.bincount(values.ravel(), minlength=256))}
    numbers = held - {0, IGNORE_INDEX}
    _refuse_unknown(numbers, rules.classes, path)
    if file.exclusive and numbers - {file.folder_class}:
        raise ImageError(
            f"mask {path} holds the numbers {sorted(numbers)} but is in the folder of class "
            f"{file.folder_class}; save it as 0 and 255 there, or move it to the masks folder"
        )
    if IGNORE_INDEX not in held or rules.white == "ignore":
        return values, "numbers" if numbers else ""
    if numbers and rules.white is None:
        return values, "numbers"
    single = file.folder_class or (1 if len(rules.classes) == 1 else None)
    if single is None:
        raise ImageError(
            f"mask {path} holds {'0 and ' if 0 in held else 'only '}255, which names none of the "
            f"{len(rules.classes)} classes; put it into the folder of its class (masks/<class>/), save class "
            "numbers (1 is the first class), or say `white: ignore` under labels in product.yaml if 255 "
            "marks what is to be ignored"
        )
    labels = values.copy()
    labels[values == IGNORE_INDEX] = single
    guessed = rules.white is None and file.folder_class is None
    return labels, "white" if guessed else ""


def _refuse_unknown(numbers: set[int], classes: tuple[str, ...], path: Path) -> None:
    wrong = sorted(number for number in numbers if number > len(classes))
    if not wrong:
        return
    known = ", ".join(f"{number} {name}" for number, name in enumerate(classes, start=1))
    hint = (
        "; so many look like a smoothed mask, export it without anti-aliasing" if len(wrong) > _SMOOTH else ""
    )
    raise ImageError(
        f"mask {path} holds the values {wrong[:_SMOOTH]}, which name no class; allowed are 0 (background), "
        f"{known} and 255 (ignore){hint}"
    )
