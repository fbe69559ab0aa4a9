"""Images prepared for the network, and its maps brought back to the images' own pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cadnet.alignment import align, estimate_alignment
from cadnet.config import AlignmentParams
from cadnet.images.tiles import Mosaic, Position, Tiling, cut, padded, plan_tiles
from cadnet.inference.network import ReferenceTile
from cadnet.inference.prediction import Placed, PredictionError
from cadnet.inference.references import Chosen
from cadnet.models.mit import MIN_SIZE


@dataclass(frozen=True, eq=False)
class PairInput:
    """One image prepared for the network.

    ``image``: as given, uint8 RGB (H, W, 3). ``work``: what the network is given, aligned with the
    reference if wanted, and padded to the encoder's smallest size;
    ``reference``: the same of the reference, or None. ``matrix``: float64 (3, 3), takes pixels of the
    reference to those of the image; None where no alignment is needed.
    """

    image: np.ndarray
    work: np.ndarray
    reference: np.ndarray | None
    chosen: Chosen | None
    tiling: Tiling
    matrix: np.ndarray | None
    placed: Placed | None

    def image_tile(self, position: Position) -> np.ndarray:
        """Return the tile (h, w, 3) of the image at ``position``."""
        return cut(self.work, position, self.tiling.tile)

    def reference_tile(self, position: Position) -> ReferenceTile:
        """Return the tile of the reference at ``position``."""
        assert self.reference is not None and self.chosen is not None
        return ReferenceTile(self.chosen.key, position, cut(self.reference, position, self.tiling.tile))

    def mosaic(self, classes: int) -> Mosaic:
        """Return an empty mosaic for the results of the tiles."""
        return Mosaic(self.tiling, classes)

    def own_pixels(self, maps: np.ndarray) -> np.ndarray:
        """Bring finished maps (K, h, w) back to the image's own pixels, float32 (K, H, W).

        0 where the reference shows nothing.
        """
        height, width = self.image.shape[:2]
        if self.matrix is None:
            return maps[:, :height, :width]
        assert self.chosen is not None
        rows, columns = self.chosen.pixels.shape[:2]
        warped = []
        for layer in maps:
            own = np.ascontiguousarray(layer[:rows, :columns])
            warped.append(cv2.warpPerspective(own, self.matrix, (width, height), flags=cv2.INTER_LINEAR))
        return np.stack(warped)


def prepare_input(
    image: np.ndarray,
    chosen: Chosen | None,
    alignment: AlignmentParams | None,
    side: int,
    overlap: float,
) -> PairInput:
    """Align an image with its reference, if wanted, and plan its tiles.

    Args:
        image: uint8 RGB (H, W, 3).
        chosen: its reference; None for networks that look at the image alone.
        alignment: None for an aligned pair.
        side: of the tiles, in pixels.
        overlap: fraction of a tile that neighbours have in common.

    Raises:
        PredictionError: image and reference differ in size, or cannot be aligned.
    """
    work, matrix, placed = image, None, None
    reference = None if chosen is None else chosen.pixels
    if chosen is not None and reference is not None:
        if alignment is not None:
            work, matrix, placed = _placed(image, chosen, alignment)
        elif image.shape != reference.shape:
            raise PredictionError(
                f"the image has {_size(image)} pixels, reference {chosen.compared.name!r} has "
                f"{_size(reference)}; give images of that size, or switch alignment on"
            )
        reference = padded(reference, MIN_SIZE)
    work = padded(work, MIN_SIZE)
    tiling = plan_tiles(work.shape[0], work.shape[1], side, overlap)
    return PairInput(image, work, reference, chosen, tiling, matrix, placed)


def _placed(
    image: np.ndarray, chosen: Chosen, params: AlignmentParams
) -> tuple[np.ndarray, np.ndarray | None, Placed]:
    found = estimate_alignment(image, chosen.pixels, params)
    if not found.accepted:
        raise PredictionError(
            f"the image cannot be aligned with reference {chosen.compared.name!r}: residual "
            f"{found.residual:.1f} px (at most {params.max_residual:g}), correlation {found.confidence:.2f} "
            f"(at least {params.min_confidence:g}), shift {found.shift:.0f} px (at most {params.max_shift:g})"
        )
    still = image.shape == chosen.pixels.shape and np.array_equal(found.matrix, np.eye(3))
    if still:
        return image, None, Placed(found.residual, found.shift, found.confidence, 1.0)
    height, width = image.shape[:2]
    shown = cv2.warpPerspective(
        np.ones(chosen.pixels.shape[:2], np.uint8), found.matrix, (width, height), flags=cv2.INTER_NEAREST
    )
    placed = Placed(found.residual, found.shift, found.confidence, float(shown.mean()))
    return align(image, None, chosen.pixels, found).image, found.matrix, placed


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"
