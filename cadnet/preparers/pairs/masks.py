"""Mask files: their values, colours and palettes, and which classes those mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from cadnet.images import ImageError, decode, read_header
from cadnet.preparers.pairs.label_maps import Key
from cadnet.preparers.pairs.product import Product, label_key
from cadnet.types import BACKGROUND, IGNORE_INDEX
from cadnet.writing.units import shown

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
_SMOOTH = 8
"""More values than that outside the classes look like anti-aliasing."""
_BACKGROUND = ("background", "_background_")
"""Names of what is no object in label maps."""
Colors = dict[int, Key]


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
    """``classes`` in mask order; ``white`` as in :class:`LabelSource`.

    ``named``: colour or number -> its label and value in the prepared mask, None where that is not known;
    None without a label map.
    """

    classes: tuple[str, ...]
    white: str | None
    named: Mapping[Key, tuple[str, int | None]] | None = None


class ReadMask(NamedTuple):
    """``labels``: uint8 (H, W), 0..K and 255.

    ``style``: "white" when 255 was taken for the only class though product.yaml does not say so, "numbers"
    when the mask holds class numbers, "" when it shows neither. ``colors``: number -> colour, of the numbers
    that are taken as they are though the file gives them colours.
    """

    labels: np.ndarray
    style: str
    colors: Colors


def mask_rules(product: Product, names: Mapping[Key, str] | None) -> MaskRules:
    """Return the rules of a product, with the label map ``names`` of its masks, None for none."""
    white = product.labels.white if product.labels else None
    if names is None:
        return MaskRules(tuple(product.classes), white)
    values: dict[str, int | None] = dict.fromkeys(_BACKGROUND, BACKGROUND)
    values |= {key: value or BACKGROUND for key, value in product.label_values().items()}
    named = {key: (label, values.get(label_key(label))) for key, label in names.items()}
    return MaskRules(tuple(product.classes), white, named)


def read_masks(root: Path, files: tuple[MaskFile, ...], rules: MaskRules) -> ReadMask:
    """Read the masks of one photograph into one; where several overlap, the later class wins.

    Raises:
        ImageError: unreadable, of different sizes, values whose meaning is not certain, or a class that lies
            wholly under later ones.
    """
    whole: np.ndarray | None = None
    style, colors, held = "", Colors(), set[int]()
    for file in files:
        path = root / file.path
        if rules.named is not None and not file.exclusive:
            labels, found = _named(path, rules.named), ""
        else:
            values, shades = read_values(path)
            labels, found = _meaning(values, file, rules, path)
            colors |= shades
        style = style or found
        held |= set(np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).tolist())
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
    lost = held - {BACKGROUND, IGNORE_INDEX} - set(np.unique(whole).tolist())
    if lost:
        names = ", ".join(rules.classes[number - 1] for number in sorted(lost))
        raise ImageError(
            f"the masks {shown(str(root / file.path) for file in files)} overlap so that nothing is left of "
            f"{names}; clear the later class there"
        )
    return ReadMask(whole, style, colors)


def read_values(path: Path) -> tuple[np.ndarray, Colors]:
    """Read a mask's stored values as uint8 (H, W): palette numbers, or grey values.

    Returns:
        the values, and the colours of those that occur when a palette gives them other than grey ones.

    Raises:
        ImageError: undecodable, coloured, or not of 8 bits.
    """
    if read_header(path).mode == "P":
        values, colors = _with_palette(path)
        often = Counter(colors.values())
        told: Colors = {
            number: color for number, color in colors.items() if often[color] == 1 and len(color) == 3
        }
        grey = all(color == (number,) * 3 for number, color in told.items())
        return values, {} if grey else told
    values = _decoded(path)
    if values.ndim != 2:
        raise ImageError(
            f"mask {path} is coloured or transparent; save it as a single-channel 8-bit PNG of class "
            "numbers, or put a label map beside the masks that says which colour is which class "
            "(labelmap.txt with lines such as scratch:128,0,0)"
        )
    return values, {}


def _with_palette(path: Path) -> tuple[np.ndarray, Colors]:
    """The palette numbers of a picture and the colours of those that occur."""
    # OpenCV would give the colours only.
    try:
        with Image.open(path) as picture:
            values = np.array(picture)
            flat = picture.getpalette("RGB") or []
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"image {path} cannot be decoded ({error}); replace it") from error
    held = np.flatnonzero(np.bincount(values.ravel(), minlength=256)).tolist()
    return values, {number: tuple(flat[3 * number : 3 * number + 3]) for number in held}


def _decoded(path: Path) -> np.ndarray:
    """An 8-bit picture without a palette: (H, W), or (H, W, 3 or 4) where it is coloured or transparent."""
    values = decode(path, cv2.IMREAD_UNCHANGED)
    if values.dtype != np.uint8:
        raise ImageError(f"mask {path} is {values.dtype}; save it as a single-channel 8-bit PNG")
    if values.ndim == 3 and values.shape[2] == 4 and bool((values[..., 3] == 255).all()):
        values = values[..., :3]
    if values.ndim == 3 and values.shape[2] == 3:
        grey = all(np.array_equal(values[..., 0], values[..., channel]) for channel in (1, 2))
        values = np.ascontiguousarray(values[..., 0] if grey else values)
    return values


def _named(path: Path, named: Mapping[Key, tuple[str, int | None]]) -> np.ndarray:
    """The labels of a mask by the label map: of its colours, or of its numbers where the map has those."""
    numbered = all(len(key) == 1 for key in named)
    if read_header(path).mode == "P":
        values, colors = _with_palette(path)
        keys: dict[int, Key] = {number: (number,) if numbered else color for number, color in colors.items()}
        codes, held = values, list(keys)
    else:
        values = _decoded(path)
        if values.ndim == 3 and (values.shape[2] != 3 or numbered):
            kind = "coloured, though the label map gives numbers" if numbered else "transparent"
            raise ImageError(f"mask {path} is {kind}; export both anew")
        codes = values
        if values.ndim == 3:
            blue, green, red = (values[..., channel].astype(np.int32) for channel in range(3))
            codes = red << 16 | green << 8 | blue
        held = np.unique(codes).tolist()
        if values.ndim == 3:
            keys = {code: (code >> 16, code >> 8 & 255, code & 255) for code in held}
        else:
            keys = {code: (code,) if numbered else (code,) * 3 for code in held}
    labels = np.zeros(values.shape[:2], np.uint8)
    strange = []
    for code in held:
        label, value = named.get(keys[code], ("", None))
        if value is None and (label or any(keys[code]) or (numbered and code)):
            strange.append(f"{', '.join(map(str, keys[code]))}{f' ({label})' if label else ''}")
        elif value:
            labels[codes == code] = value
    if strange:
        raise ImageError(
            f"mask {path} holds {'numbers' if numbered else 'colours'} that mean no class: "
            f"{shown(strange, _SMOOTH)}; add them to the label map, or their names to the `labels` of a "
            "class, to `skip` or to `ignore` in product.yaml"
            + ("; so many look like a smoothed mask" if len(strange) > _SMOOTH else "")
        )
    return labels


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
