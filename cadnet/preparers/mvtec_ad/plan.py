"""MVTec AD planned as a prepared dataset: pooled, split 70/30 anew, class = category."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

import cadnet.alignment
import cadnet.images
import cadnet.preparers.aligned
import cadnet.preparers.mvtec_ad
from cadnet.config import MvtecAdParams
from cadnet.fetching.unpacking import extracted
from cadnet.images import ImageError, decode, read_image
from cadnet.images.labels import palette
from cadnet.images.resizing import resize_image, resize_mask
from cadnet.preparers.aligned import align_pair, failures_note
from cadnet.preparers.mvtec_ad.layout import CATEGORIES, GOOD, Photograph, find_categories, list_photographs
from cadnet.types import SPLITS
from cadnet.writing.splits import draw_splits
from cadnet.writing.units import Output, Plan, PreparationError, Unit, mask_pixels, source_digests, tools

_CODE = (cadnet.preparers.mvtec_ad, cadnet.preparers.aligned, cadnet.alignment, cadnet.images)
"""Modules that decide the bytes."""
RAW_CACHE = Path("cache/raw")
"""Where archives are unpacked."""


class Item(NamedTuple):
    """A photograph to prepare, in its split; the split "" makes it its category's reference."""

    photograph: Photograph
    split: str


class MvtecRenderer:
    """Writes photographs at one size, with masks of class numbers."""

    def __init__(
        self, root: Path, params: MvtecAdParams, classes: tuple[str, ...], references: Mapping[str, Path]
    ) -> None:
        self._root, self._params, self._classes = root, params, classes
        self._references = dict(references)

    def render(self, unit: Unit, output: Output) -> None:
        """Write one photograph, as sample or as reference.

        Raises:
            ImageError: its files cannot be used.
        """
        item: Item = unit.payload
        photograph, size = item.photograph, self._params.size
        if not item.split:
            output.image("references", photograph.category, _reference(photograph.image, size))
            return
        image = read_image(photograph.image)
        mask = self._mask(photograph, image.shape[:2])
        reference = _reference(self._references[photograph.category], size)
        image, mask, alignment = align_pair(
            resize_image(image, size), resize_mask(mask, size), reference, self._params.alignment
        )
        name = photograph.sample_id
        pixels = mask_pixels(mask, self._classes)
        output.row(
            sample_id=name,
            image=output.image("images", name, image),
            reference=f"references/{photograph.category}.png",
            mask=output.image("masks", name, mask),
            split=item.split,
            subset=photograph.category,
            group=name,
            has_defect=any(pixels.values()),
            width=size,
            height=size,
            **pixels,
            defect=photograph.defect,
            source=photograph.image.relative_to(self._root).as_posix(),
            **alignment,
        )

    def _mask(self, photograph: Photograph, shape: tuple[int, ...]) -> np.ndarray:
        """The distributed 0/255 mask as class numbers, uint8 (H, W)."""
        if photograph.mask is None:
            return np.zeros(shape, np.uint8)
        mask = decode(photograph.mask, cv2.IMREAD_UNCHANGED)
        if mask.ndim != 2 or mask.dtype != np.uint8 or set(np.unique(mask)) - {0, 255}:
            raise ImageError(f"mask {photograph.mask} is not an 8-bit picture of 0 and 255; replace it")
        if mask.shape != shape:
            raise ImageError(
                f"mask {photograph.mask} is {mask.shape[1]} x {mask.shape[0]}, "
                f"its image {shape[1]} x {shape[0]}"
            )
        if not mask.any():
            raise ImageError(
                f"mask {photograph.mask} marks nothing, though its image is in test/{photograph.defect}"
            )
        return np.where(mask > 0, np.uint8(self._classes.index(photograph.category) + 1), np.uint8(0))


@lru_cache(maxsize=32)
def _reference(path: Path, size: int) -> np.ndarray:
    return resize_image(read_image(path), size)


def plan_mvtec_ad(params: MvtecAdParams) -> Plan:
    """Pool the photographs below ``params.raw``, split them and choose each category's reference.

    The split is stratified by category and kind of defect. A category's reference is one of its good training
    images, drawn by the seed; it is not a sample, neither trained on nor scored.

    Raises:
        PreparationError: no raw data, or files that are missing or do not belong together, all listed.
        ArchiveError: ``params.raw`` is an archive that cannot be unpacked safely.
    """
    root = _root(Path(params.raw))
    classes = find_categories(root, params.categories)
    photographs = list_photographs(root, classes)
    splits = draw_splits({p.sample_id: p.stratum for p in photographs}, params.split)
    references = {name: _choose_reference(photographs, splits, name, params.split.seed) for name in classes}
    chosen = {photograph.sample_id for photograph in references.values()}
    items = [Item(p, "" if p.sample_id in chosen else splits[p.sample_id]) for p in photographs]
    items.sort(key=lambda item: (("", *SPLITS).index(item.split), item.photograph.sample_id))
    files = [path for p in photographs for path in (p.image, p.mask) if path is not None]
    return Plan(
        preparer="mvtec_ad",
        name="mvtec_ad",
        classes=classes,
        palette=palette(len(classes)),
        units=tuple(Unit(item.photograph.sample_id, item) for item in items),
        renderer=MvtecRenderer(root, params, classes, {n: p.image for n, p in references.items()}),
        tools=tools(*_CODE),
        description={
            "params": params.model_dump(mode="json", exclude={"raw"}),
            "splits": {item.photograph.sample_id: item.split or "reference" for item in items},
            "sources": source_digests(files, root),
        },
        chunk=4,
        summarise=lambda rows, _: {"notes": _notes(photographs, splits, classes) + failures_note(rows)},
    )


def _root(raw: Path) -> Path:
    if not raw.exists():
        raise PreparationError(
            f"there is no MVTec AD at {raw}: put its categories there ({raw}/bottle/train/good/000.png ...), "
            "or let `raw:` name the archive mvtec_anomaly_detection.tar.xz, or run "
            "`make fetch-data DATASET=mvtec_ad`"
        )
    folder = extracted(raw, RAW_CACHE)
    nested = folder / "mvtec_anomaly_detection"
    return nested if nested.is_dir() else folder


def _choose_reference(
    photographs: Sequence[Photograph], splits: Mapping[str, str], category: str, seed: int
) -> Photograph:
    good = [p for p in photographs if p.category == category and p.defect == GOOD]
    # From the training images where there is one, so that the test split loses none.
    training = [p for p in good if splits[p.sample_id] == "train"] or good

    def draw(photograph: Photograph) -> str:
        return hashlib.sha256(f"{seed}/reference/{photograph.sample_id}".encode()).hexdigest()

    return min(training, key=draw)


def _notes(photographs: Sequence[Photograph], splits: Mapping[str, str], classes: Sequence[str]) -> list[str]:
    """Notes for the reader: the pooled counts beside the paper's."""
    test = sum(split == "test" for split in splits.values())
    train = len(splits) - test
    missing = [name for name in CATEGORIES if name not in classes]
    return [
        f"{len(photographs)} photographs pooled: {train} for training (validation among them) and {test} for "
        "test; the paper: 5,354, 3,747 and 1,607",
        f"{len(classes)} of these photographs, one per category, are references and no samples",
        f"missing categories: {', '.join(missing)}" if missing else "all fifteen categories are there",
    ]
