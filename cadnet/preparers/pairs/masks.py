"""Masks drawn by people and their programs: what their values mean."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from cadnet.images import ImageError, decode
from cadnet.preparers.pairs.pictures import read_header
from cadnet.types import IGNORE_INDEX

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
_SMOOTH = 8
"""More values than that outside the classes look like anti-aliasing."""


class MaskFile(NamedTuple):
    """One mask: its path, the class number that its folder names (None: none), and whether it belongs to the
    folder's class alone (masks/<class>/<photograph>.png) or lies like its photograph, in a sub-folder that
    happens to be called like a class."""

    path: str
    folder_class: int | None = None
    exclusive: bool = False


class MaskRules(NamedTuple):
    """``classes`` in mask order; ``white`` as in :class:`cadnet.preparers.pairs.product.LabelSource`."""

    classes: tuple[str, ...]
    white: str | None


class ReadMask(NamedTuple):
    """``labels`` uint8 (H, W), 0..K and 255; ``style`` "white" when 255 was taken for the only class without
    being told so, "numbers" when the mask holds class numbers, "" when it shows neither."""

    labels: np.ndarray
    style: str


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
    """Labels of one mask and its style."""
    held = {int(value) for value in np.flatnonzero(np.bincount(values.ravel(), minlength=256))}
    numbers = held - {0, IGNORE_INDEX}
    _refuse_unknown(numbers, rules.classes, path)
    if file.exclusive and numbers - {file.folder_class}:
        raise ImageError(
            f"mask {path} holds the numbers {sorted(numbers)} but lies in the folder of class "
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
            "marks what shall be ignored"
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
