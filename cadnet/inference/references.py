"""Choosing the clean reference that an image is compared with."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from cadnet.images import read_image
from cadnet.images.matching import Appearance, appearance, difference
from cadnet.inference.caching import ByteCache
from cadnet.inference.prediction import Compared, PredictionError, as_picture
from cadnet.inference.product import Product, ReferenceFile

GIVEN = "given"
"""Name of a reference that the caller handed over as pixels."""
MAX_DIFFERENCE = 25.0
"""Grey levels from which on an image is of another product. Drawn screens with the strongest effects differ
by up to 17 from their own pattern and by at least 34 from another one; a transistor lying askew by 14, an
image of another kind of product by 36, a black one by 79."""
_AMBIGUOUS = (1.5, 1.0)
"""A runner-up is hardly farther than the best within this factor and these grey levels."""
_KEPT_BYTES = 2**28
"""Decoded references that are kept."""


class Chosen(NamedTuple):
    """A reference, uint8 RGB (H, W, 3); ``key`` names its pixels; ``notes`` are for the reader."""

    compared: Compared
    key: str
    pixels: np.ndarray
    notes: tuple[str, ...] = ()


class References:
    """The references of a product, decoded when they are needed."""

    def __init__(self, product: Product) -> None:
        self._product = product
        self._files = {reference.name: reference for reference in product.references}
        self._kept: ByteCache[np.ndarray] = ByteCache(_KEPT_BYTES)

    def __len__(self) -> int:
        return len(self._files)

    def resolve(self, reference: np.ndarray | str) -> Chosen:
        """Return the product's reference of that name, or an array of pixels as a reference of its own.

        Raises:
            PredictionError: the product has no reference of that name.
            cadnet.images.ImageError: the array is no image.
        """
        if isinstance(reference, np.ndarray):
            pixels = as_picture(reference)
            digest = hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
            return Chosen(Compared(GIVEN, digest, None), digest, pixels)
        if reference not in self._files:
            close = difflib.get_close_matches(reference, self._files, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise PredictionError(
                f"product {self._product.name!r} has no reference {reference!r}{hint}; it has "
                f"{sorted(self._files)}"
            )
        file = self._files[reference]
        return Chosen(Compared(reference, file.sha256, None), file.sha256, self._pixels(file))

    def choose(self, image: np.ndarray, any_size: bool = False) -> Chosen:
        """Return the reference that differs least from ``image``, uint8 RGB (H, W, 3).

        Args:
            image: to be compared with it.
            any_size: also take references of another size, which alignment can bring together.

        Raises:
            PredictionError: the product has no reference, none of the image's size, or all differ by more
                than ``MAX_DIFFERENCE``.
        """
        candidates = self._candidates(image, any_size)
        own = appearance(image)
        measured = [(round(difference(own, self._appearances[file.name]), 2), file) for file in candidates]
        ranked = sorted(measured, key=lambda item: item[0])
        best, file = ranked[0]
        if best > MAX_DIFFERENCE:
            raise PredictionError(
                f"the image fits no reference of product {self._product.name!r}: it differs from the "
                f"nearest, {file.name!r}, by {best:.0f} grey levels, and {MAX_DIFFERENCE:.0f} are allowed; "
                "if it is of this product all the same, name the reference"
            )
        notes: tuple[str, ...] = ()
        if len(ranked) > 1 and ranked[1][0] <= best * _AMBIGUOUS[0] + _AMBIGUOUS[1]:
            notes = (
                f"two references fit: {file.name} differs by {best:.1f} grey levels, {ranked[1][1].name} by "
                f"{ranked[1][0]:.1f}; name the right one to be sure",
            )
        return Chosen(Compared(file.name, file.sha256, best), file.sha256, self._pixels(file), notes)

    def _candidates(self, image: np.ndarray, any_size: bool) -> Sequence[ReferenceFile]:
        height, width = image.shape[:2]
        files = list(self._files.values())
        if not files:
            raise PredictionError(
                f"product {self._product.name!r} holds no reference and its network needs one; give one"
            )
        fitting = [file for file in files if any_size or (file.width, file.height) == (width, height)]
        if not fitting:
            sizes = sorted({(file.width, file.height) for file in files})
            raise PredictionError(
                f"the image has {width} x {height} pixels, the references of product {self._product.name!r} "
                f"have {', '.join(f'{w} x {h}' for w, h in sizes)}; give images of that size, or switch "
                "alignment on"
            )
        return fitting

    @cached_property
    def _appearances(self) -> dict[str, Appearance]:
        # The pixels are not kept: all references at once may be more than fits.
        return {file.name: appearance(read_image(self._path(file))) for file in self._files.values()}

    def _pixels(self, file: ReferenceFile) -> np.ndarray:
        pixels = self._kept.get(file.name, "")
        if pixels is None:
            pixels = read_image(self._path(file))
            self._kept.put(file.name, "", pixels, pixels.nbytes)
        return pixels

    def _path(self, file: ReferenceFile) -> str:
        return str(self._product.folder / file.file)
