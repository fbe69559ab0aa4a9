"""Rendering units: the tiles of a reference, the tiles of a photograph with their masks."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cadnet.config import PairsParams
from cadnet.images import ImageError, read_image
from cadnet.images.labels import Regions, is_defective
from cadnet.images.matching import nearest, signature
from cadnet.images.resizing import scale_image, scale_mask
from cadnet.images.tiles import grid, padded
from cadnet.preparers.aligned import align_pair
from cadnet.preparers.pairs.labels import Label
from cadnet.preparers.pairs.masks import MaskRules, read_masks
from cadnet.preparers.pairs.material import Reference, unlike_reference
from cadnet.preparers.pairs.pictures import Size, mismatch
from cadnet.preparers.pairs.shapes import paint
from cadnet.types import IGNORE_INDEX, UNLABELLED
from cadnet.writing.units import Output, Unit, mask_pixels

HELD_BYTES = 192 * 2**20
"""Decoded references kept by a process; at least one."""
NOTES = "notes"
"""Side table of remarks: photograph, kind, note."""


class Photograph(NamedTuple):
    """A photograph before it is decoded.

    ``path`` in the product's folder as the disk spells it, ``source`` the same in Unicode's composed form;
    ``references`` are sources, the nearest of them counts; ``turned``: EXIF turns it by a right angle.
    """

    photo_id: str
    source: str
    path: str
    subset: str
    group: str
    split: str
    references: tuple[str, ...]
    label: Label | None
    turned: bool


class PairRenderer:
    """Makes the samples; a unit's payload is a :class:`Photograph`, or the source of a reference."""

    def __init__(
        self, root: Path, params: PairsParams, rules: MaskRules, references: dict[str, Reference]
    ) -> None:
        self._root, self._params, self._rules, self._references = root, params, rules, references
        self._held: OrderedDict[str, np.ndarray] = OrderedDict()

    def render(self, unit: Unit, output: Output) -> None:
        """Write the tiles of ``unit``.

        Raises:
            ImageError, OSError: the photograph or its mask is unusable, or they do not fit its reference.
        """
        if isinstance(unit.payload, str):
            self._render_reference(self._references[unit.payload], output)
        else:
            self._render_photograph(unit.payload, output)

    def _render_reference(self, reference: Reference, output: Output) -> None:
        image = padded(self._reference(reference.source), self._params.size)
        for suffix, x, y in self._grid(image):
            output.image("references", reference.reference_id + suffix, self._cut(image, x, y))

    def _render_photograph(self, photo: Photograph, output: Output) -> None:
        image = read_image(self._root / photo.path)
        mask = self._mask(photo, image)
        reference, chosen = self._chosen(photo, image)
        clean = self._reference(reference.source)
        full = (image.shape[1], image.shape[0])
        image, mask = scale_image(image, self._params.scale), self._scaled_mask(photo, mask, output)
        if self._params.alignment.model == "off" and image.shape != clean.shape:
            own = (reference.width, reference.height)
            raise ImageError(unlike_reference(photo.source, full, reference.source, own))
        pair = align_pair(image, mask, clean, self._params.alignment)
        columns: dict[str, Any] = {
            "source": photo.source, "reference_source": reference.source, **chosen, **pair.columns,
        }  # fmt: skip
        whole = padded(clean, self._params.size).copy()
        whole[: pair.image.shape[0], : pair.image.shape[1]] = pair.image
        mask = padded(pair.mask, self._params.size, IGNORE_INDEX)
        self._write_tiles(photo, reference.reference_id, whole, mask, columns, output)

    def _chosen(self, photo: Photograph, image: np.ndarray) -> tuple[Reference, dict[str, float]]:
        candidates = [self._references[source] for source in photo.references]
        if len(candidates) == 1:
            return candidates[0], {}
        found = nearest(signature(image), [item.signature for item in candidates])
        return candidates[found.position], {"reference_distance": found.distance}

    def _reference(self, source: str) -> np.ndarray:
        """The scaled reference, kept while there is room."""
        if source not in self._held:
            path = self._root / self._references[source].path
            image = scale_image(read_image(path), self._params.scale)
            while self._held and sum(item.nbytes for item in self._held.values()) + image.nbytes > HELD_BYTES:
                self._held.popitem(last=False)
            self._held[source] = image
        self._held.move_to_end(source)
        return self._held[source]

    def _mask(self, photo: Photograph, image: np.ndarray) -> np.ndarray:
        """The mask of the whole photograph, all 255 where there is no label."""
        height, width = image.shape[:2]
        if photo.label is None:
            return np.full((height, width), IGNORE_INDEX, np.uint8)
        if photo.label.masks:
            mask = read_masks(self._root, photo.label.masks, self._rules).labels
            size = Size(width, height, photo.turned)
            name = f"mask {self._root / photo.label.masks[0].path}"
            fault = mismatch(name, photo.source, size, mask.shape[1], mask.shape[0])
            if fault:
                raise ImageError(fault)
            return mask
        outlines = [shape.outline for shape in photo.label.shapes]
        if any(outline.kind == "rle" and sum(outline.parts[0]) != width * height for outline in outlines):
            raise ImageError(f"the annotation of {photo.source} is made for another size; export it again")
        return paint(photo.label.shapes, width, height).mask

    def _scaled_mask(self, photo: Photograph, mask: np.ndarray, output: Output) -> np.ndarray:
        small = scale_mask(mask, self._params.scale)
        if small is not mask and photo.label is not None:
            lost = [
                name
                for number, name in enumerate(self._rules.classes, start=1)
                if number not in small and number in mask
            ]
            if lost:
                note = f"{', '.join(lost)} is too thin to be left at scale {self._params.scale:g}"
                output.record(NOTES, photograph=photo.source, kind="lost class", note=note)
        return small

    def _write_tiles(
        self,
        photo: Photograph,
        reference_id: str,
        image: np.ndarray,
        mask: np.ndarray,
        columns: dict[str, Any],
        output: Output,
    ) -> None:
        size, labelled = self._params.size, photo.split != UNLABELLED
        tiles = self._grid(image)
        parts = Regions(mask).cut([(x, y) for _, x, y in tiles], size) if labelled else []
        cuts = {suffix: part for (suffix, _, _), part in zip(tiles, parts, strict=labelled)}
        kept = self._kept(photo, cuts, output) if labelled else {suffix for suffix, _, _ in tiles}
        for suffix, x, y in tiles:
            if suffix not in kept:
                continue
            sample = photo.photo_id + suffix
            labels = cuts[suffix] if labelled else np.zeros((size, size), np.uint8)
            output.row(
                sample_id=sample,
                image=output.image("images", sample, self._cut(image, x, y)),
                reference=f"references/{reference_id}{suffix}.png",
                mask=output.image("masks", sample, labels) if labelled else "",
                split=photo.split,
                subset=photo.subset,
                group=photo.group,
                has_defect=is_defective(labels),
                width=size,
                height=size,
                **mask_pixels(labels, self._rules.classes),
                x=x,
                y=y,
                **columns,
            )

    def _kept(self, photo: Photograph, cuts: dict[str, np.ndarray], output: Output) -> set[str]:
        """Suffixes of the tiles to write: those with a label, and in training few without a defect.

        ``cuts``: suffix -> labels.
        """
        shown = [suffix for suffix, labels in cuts.items() if (labels != IGNORE_INDEX).any()]
        if len(shown) < len(cuts):
            note = f"{len(cuts) - len(shown)} of {len(cuts)} tiles hold nothing but 255 and are left out"
            output.record(NOTES, photograph=photo.source, kind="tiles without a label", note=note)
        limit = self._params.clean_tiles_per_image
        if photo.split != "train" or limit is None:
            return set(shown)
        defective = {suffix for suffix in shown if is_defective(cuts[suffix])}

        def draw(suffix: str) -> str:
            return hashlib.sha256(f"{self._params.split.seed}/{photo.photo_id}{suffix}".encode()).hexdigest()

        return defective | set(sorted((s for s in shown if s not in defective), key=draw)[:limit])

    def _grid(self, image: np.ndarray) -> list[tuple[str, int, int]]:
        return grid(image.shape[1], image.shape[0], self._params.size, self._params.overlap)

    def _cut(self, image: np.ndarray, x: int, y: int) -> np.ndarray:
        size = self._params.size
        return np.ascontiguousarray(image[y : y + size, x : x + size])
