"""Pictures that are in two splits: found by perceptual hash, confirmed by their pixels.

All photographs of one product look alike, so that equal hashes alone mean nothing. Two pictures count as one

- when their decoded pixels are equal, unless they are of a single colour; or
- when their hashes differ in at most ``bits`` bits, their reduced and blurred copies differ nowhere by more
  than ``difference`` grey levels after the mean difference of each channel is taken away (a brighter copy is
  the same picture), and their defects overlap. Where one of them is unlabelled the pixels decide, and all
  defective pictures of the labelled one's group must have such a double in the other group.

Unlabelled pictures serve training, so they may be in the train split too.

Two defect-free photographs of one product are almost equal by nature and show the same nothing, so they count
only when they are equal bit by bit. The same holds for a faint defect beside a clean photograph. Even then
the photographs need not be copies: cut into tiles, pictures of a still product (screens, renderings, painted
defects) have equal clean tiles. So they count only where all tiles of one group are in the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations, islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from cadnet.images import decode, read_image
from cadnet.types import IGNORE_INDEX, UNLABELLED

SMALL = 64
"""Side of the reduced grey copies that are compared before any file is read again."""
_SIDE = 256
"""Longest side of the copies that confirm, at most half the picture's: JPEG may keep colours at half size."""
_BLUR = 1.8
"""Their blur in pixels. On windows of the PCB photographs, JPEG at quality 70 then differs by up to 5 grey
levels and a mouse bite of 33 pixels in 1,000 by 8 or more."""
_TRAINING = {"train", UNLABELLED}
_BLOCK = 1024
"""Pictures of one split compared with those of another at once."""


class Picture(NamedTuple):
    """One sample for the search; see :class:`cadnet.validation.facts.ImageFacts`.

    ``defective`` is None where it is not known (unlabelled); then ``mask`` is empty.
    """

    row: int
    split: str
    group: str
    image: str
    mask: str
    defective: bool | None
    digest: str
    flat: bool
    hash: int
    small: np.ndarray


def perceptual_hash(grey: np.ndarray) -> int:
    """64-bit hash of a uint8 picture (H, W): signs of its 8 x 8 lowest cosine frequencies about their median.

    Method: pHash (Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010).
    """
    reduced = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(reduced)[:8, :8].ravel()
    # The first term is the mean brightness, which does not describe the picture.
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def small_copy(grey: np.ndarray) -> np.ndarray:
    """Reduce a uint8 picture (H, W) to 64 x 64, slightly blurred."""
    reduced = cv2.resize(grey, (SMALL, SMALL), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(reduced, (0, 0), 1.0)


def find_duplicates(root: Path, pictures: Sequence[Picture], bits: int, difference: float) -> dict[int, int]:
    """Return for each picture that has a double in an earlier split the row of the first such double.

    Splits are taken in the order in which they first occur in ``pictures``. Files are read again only where
    hashes and reduced copies agree already.
    """
    found: dict[int, int] = {}
    for later, earlier in _copies(pictures, list(_equal_pixels(pictures))):
        found.setdefault(later.row, earlier.row)
    suspects: dict[str, list[Picture]] = {}
    for picture in pictures:
        suspects.setdefault(picture.split, [])
        if picture.defective is not False:
            suspects[picture.split].append(picture)
    compare = _Comparison(root, difference)
    for before, after in combinations(suspects, 2):
        if {before, after} == _TRAINING:
            continue
        todo = [picture for picture in suspects[after] if picture.row not in found]
        near = _similar(suspects[before], todo, bits, difference)
        unlabelled = UNLABELLED in (before, after)
        same = _same(near, compare, every=unlabelled)
        for later, double in _whole_photographs(list(same), pictures) if unlabelled else same:
            found.setdefault(later.row, double.row)
    return found


def _same(
    near: Iterator[tuple[Picture, list[Picture]]], compare: _Comparison, every: bool
) -> Iterator[tuple[Picture, Picture]]:
    """Pairs that show the same: of each picture the first, or ``every`` one."""
    for later, candidates in near:
        doubles = (candidate for candidate in candidates if compare.is_same(candidate, later))
        yield from ((later, double) for double in (doubles if every else islice(doubles, 1)))


def _whole_photographs(
    alike: Sequence[tuple[Picture, Picture]], pictures: Sequence[Picture]
) -> Iterator[tuple[Picture, Picture]]:
    """Of pairs with an unlabelled member those whose groups have every defective picture in common.

    A tile with a faint defect looks like the same tile without one; a whole photograph does not.
    """
    shared: dict[tuple[str, str], set[int]] = {}
    for pair in alike:
        labelled, other = sorted(pair, key=lambda picture: picture.defective is None)
        shared.setdefault((labelled.group, other.group), set()).add(labelled.row)
    defective: dict[str, set[int]] = {}
    for picture in pictures:
        if picture.defective:
            defective.setdefault(picture.group, set()).add(picture.row)
    for pair in alike:
        labelled, other = sorted(pair, key=lambda picture: picture.defective is None)
        if defective.get(labelled.group, set()) <= shared[labelled.group, other.group]:
            yield pair


def _copies(
    pictures: Sequence[Picture], equal: Sequence[tuple[Picture, Picture]]
) -> Iterator[tuple[Picture, Picture]]:
    """Of the pairs of ``equal`` pixels those that are not just parts of two different photographs.

    Equal tiles with defects are found all the same, by their hashes.
    """
    digests: dict[str, set[str]] = {}
    for picture in pictures:
        if not picture.flat:
            digests.setdefault(picture.group, set()).add(picture.digest)
    for later, earlier in equal:
        one, other = digests[later.group], digests[earlier.group]
        if (one <= other or other <= one) and {later.split, earlier.split} != _TRAINING:
            yield later, earlier


def _equal_pixels(pictures: Sequence[Picture]) -> Iterator[tuple[Picture, Picture]]:
    first: dict[str, Picture] = {}
    for split in dict.fromkeys(picture.split for picture in pictures):
        members = [picture for picture in pictures if picture.split == split and not picture.flat]
        for picture in members:
            earlier = first.get(picture.digest)
            if earlier is not None and earlier.split != split:
                yield picture, earlier
        for picture in members:
            first.setdefault(picture.digest, picture)


def _similar(
    before: Sequence[Picture], after: Sequence[Picture], bits: int, difference: float
) -> Iterator[tuple[Picture, list[Picture]]]:
    """Each of ``after`` with those of ``before`` that have nearly its hash and its reduced copy."""
    if not before:
        return
    hashes = np.array([picture.hash for picture in before], np.uint64)
    small = np.stack([picture.small for picture in before])
    coarse = _block_means(small)
    for start in range(0, len(after), _BLOCK):
        block = after[start : start + _BLOCK]
        other = np.array([picture.hash for picture in block], np.uint64)
        near = np.bitwise_count(other[:, None] ^ hashes[None]) <= bits
        for row in np.flatnonzero(near.any(axis=1)).tolist():
            columns = np.flatnonzero(near[row])
            # Means over blocks differ by no more than the pixels, so nothing that would pass is lost.
            later = block[row].small[None]
            columns = columns[_largest(coarse[columns] - _block_means(later)) <= difference]
            alike = columns[_largest(small[columns].astype(np.float32) - later) <= difference]
            if alike.size:
                yield block[row], [before[column] for column in alike.tolist()]


def _block_means(small: np.ndarray) -> np.ndarray:
    """Reduced copies (N, 64, 64) as float32 (N, 16, 16)."""
    blocks = small.reshape(len(small), SMALL // 4, 4, SMALL // 4, 4)
    return blocks.mean(axis=(2, 4), dtype=np.float32)


def _largest(apart: np.ndarray) -> np.ndarray:
    """Largest difference in each of (N, H, W), beside the mean one."""
    apart -= apart.mean(axis=(1, 2), keepdims=True)
    largest: np.ndarray = np.abs(apart, out=apart).max(axis=(1, 2))
    return largest


class _Comparison:
    """Whether two files show the same; the copies read last are kept, because partners recur."""

    def __init__(self, root: Path, difference: float) -> None:
        self._root = root
        self._difference = difference
        self._image = lru_cache(maxsize=64)(self._reduced)
        self._mask = lru_cache(maxsize=64)(self._defect)

    def is_same(self, one: Picture, other: Picture) -> bool:
        if one.defective and other.defective:
            masks = self._mask(one.mask), self._mask(other.mask)
            if masks[0].shape == masks[1].shape and not (masks[0] & masks[1]).any():
                return False
        images = self._image(one.image), self._image(other.image)
        if images[0].shape != images[1].shape:
            return False
        apart = images[0] - images[1]
        apart -= apart.mean(axis=(0, 1))
        return bool(np.abs(apart).max() <= self._difference)

    def _reduced(self, name: str) -> np.ndarray:
        image = read_image(self._root / name)
        scale = min(0.5, _SIDE / max(image.shape[:2]))
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        reduced = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        return cv2.GaussianBlur(reduced, (0, 0), _BLUR).astype(np.float32)

    def _defect(self, name: str) -> np.ndarray:
        mask = decode(self._root / name, cv2.IMREAD_UNCHANGED)
        return (mask > 0) & (mask != IGNORE_INDEX)
