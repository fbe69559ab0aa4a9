"""Which clean reference a photograph is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from cadnet.preparers.pairs.pictures import Picture
from cadnet.preparers.pairs.problems import Problems
from cadnet.preparers.pairs.product import Product, inside
from cadnet.preparers.pairs.table import Table
from cadnet.writing.problems import shown

_SIDE = 64
"""Pixels of the small copies that are compared."""
_BLUR = 1.5
"""Standard deviation in their pixels."""
_REACH = 6
"""Their pixels, a tenth of the picture's side, by which a photograph may be shifted."""


class Reference(NamedTuple):
    """A clean picture; ``path`` in the product's folder as the disk spells it, ``signature`` float32 (64,
    64), see :func:`signature`."""

    reference_id: str
    source: str
    path: str
    width: int
    height: int
    signature: np.ndarray


class Nearest(NamedTuple):
    """``position`` among the candidates, and the distance 0..2 of the chosen one."""

    position: int
    distance: float


def signature(image: np.ndarray) -> np.ndarray:
    """Return a small blurred grey copy, float32 (64, 64) with mean 0 and norm 1 (0 for a blank picture).

    Args:
        image: uint8 RGB (H, W, 3).
    """
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    grey: np.ndarray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey = cv2.GaussianBlur(grey, (0, 0), _BLUR, borderType=cv2.BORDER_REPLICATE)
    grey -= grey.mean()
    norm = float(np.linalg.norm(grey))
    # A blank picture's rounding noise is no pattern.
    return grey / np.float32(norm) if norm > 1.0 else np.zeros((_SIDE, _SIDE), np.float32)


def nearest(image: np.ndarray, candidates: Sequence[np.ndarray]) -> Nearest:
    """Return which signature is closest to the image's; the first of equals wins.

    Brightness, contrast and small shifts do not count: the distance of two vectors of norm 1 follows
    from their correlation, which is taken at the best shift.

    Args:
        image: uint8 RGB (H, W, 3).
        candidates: signatures, at least one.
    """
    spectrum = np.fft.rfft2(signature(image))
    distances = []
    for other in candidates:
        correlation = np.fft.irfft2(spectrum * np.conj(np.fft.rfft2(other)), s=other.shape)
        best = float(np.roll(correlation, (_REACH, _REACH), (0, 1))[: 2 * _REACH + 1, : 2 * _REACH + 1].max())
        distances.append(round(float(np.sqrt(max(0.0, 2 - 2 * best))), 4))
    position = int(np.argmin(distances))
    return Nearest(position, distances[position])


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
    place = f"references {product.references!r}"
    if not references:
        problems.add(f"{place} of product.yaml holds no picture; put a photograph of a clean specimen there")
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
            f"{place} holds {len(references)} pictures ({shown(item.source for item in references)}); say in "
            "product.yaml how to choose: `reference: group`, `reference: nearest`, or a column reference in "
            "the table"
        )
    for group, sources in lost.items():
        problems.add(
            f"no reference is called {group!r} like the group of {shown(sources, 3)}; {place} has "
            f"{shown((item.name for item in references), 8)}"
        )
    return {source: names for source, names in found.items() if names}


def _of_group(group: str, references: Sequence[Picture]) -> tuple[str, ...]:
    """The reference of the group's name, or all in a folder of that name."""
    named = [item.source for item in references if item.name == group]
    return tuple(named or [item.source for item in references if item.name.rpartition("/")[0] == group])


def _named(stated: str, references: Sequence[Picture], place: str, problems: Problems) -> tuple[str, ...]:
    try:
        inside(stated)
    except ValueError as error:
        problems.add(f"{place}: {error}")
        return ()
    found = [item.source for item in references if stated == item.source]
    found = found or [
        item.source for item in references if stated in (item.name, item.name + item.path.suffix)
    ]
    if len(found) != 1:
        problems.add(f"{place}: {len(found)} references are called {stated!r}; correct it")
        return ()
    return (found[0],)
