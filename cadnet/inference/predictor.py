"""Judging images by a product's network and references."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from torch import nn

from cadnet.config import AlignmentParams
from cadnet.inference.inputs import PairInput, prepare_input
from cadnet.inference.network import PairNetwork, choose_device
from cadnet.inference.prediction import Failure, Picture, Prediction, PredictionError, as_picture
from cadnet.inference.product import Product, read_product
from cadnet.inference.references import Chosen, References
from cadnet.inference.regions import decide, find_defects
from cadnet.models.weights import ModelDescription, load_model

CACHE_BYTES = 2**29
"""Bytes of encoded references kept on the device: those of MiT-B0 for 130 tiles of 512 px."""
OVERLAP = 0.25

_Timed = tuple[PairInput, float]
"""A pair, and the seconds spent on it so far."""


class Predictor:
    """Judges images, one thread at a time.

    Networks that take only the image ignore references and alignment.

    Args:
        product: a product or its folder.
        device: "auto" (a GPU where there is one), "cpu" or "cuda".
        batch_size: tiles that go through the network at once; also the most images held at a time.
        threshold: replaces the product's, in (0, 1).
        min_pixels: replaces the product's.
        alignment: None does as the product says, False aligns nothing; True aligns by the product's
            parameters, or by the defaults.
        overlap: fraction of a tile, 0 to 0.9, that neighbours of a large image have in common.
        cache_bytes: limit of encoded references; 0 encodes the reference with every image.
        network: replaces the folder's, with the same classes.

    Raises:
        FileNotFoundError, cadnet.inference.product.ProductError, cadnet.models.tensors.WeightsError: see
            :func:`read_product`.
        ValueError: an argument out of its range, or no such device.
    """

    def __init__(
        self,
        product: Product | Path | str,
        device: str = "auto",
        batch_size: int = 8,
        *,
        threshold: float | None = None,
        min_pixels: int | None = None,
        alignment: AlignmentParams | bool | None = None,
        overlap: float = OVERLAP,
        cache_bytes: int = CACHE_BYTES,
        network: nn.Module | None = None,
    ) -> None:
        self.product = product if isinstance(product, Product) else read_product(product)
        self.threshold = self.product.threshold if threshold is None else threshold
        self.min_pixels = self.product.min_pixels if min_pixels is None else min_pixels
        _check_ranges(self.threshold, self.min_pixels, batch_size, overlap, cache_bytes)
        self.batch_size = batch_size
        self.alignment = _alignment(alignment, self.product.alignment)
        self.description = ModelDescription.read(self.product.folder)
        self._overlap = overlap
        self._references = References(self.product)
        if network is None:
            network, _ = load_model(self.product.folder)
        classes = len(self.product.class_names)
        self._network = PairNetwork(network, classes, choose_device(device), cache_bytes)

    def predict(self, image: Picture, reference: np.ndarray | str | None = None) -> Prediction:
        """Judge one image.

        Args:
            image: file, or uint8 pixels (H, W), (H, W, 3) RGB or (H, W, 4) RGBA.
            reference: name of one of the product's, or pixels like ``image``; None takes the nearest one of
                the product.

        Raises:
            FileNotFoundError: no such file.
            cadnet.images.ImageError: the image cannot be used.
            PredictionError: no such reference, none of the image's size, none that the image fits,
                the pair cannot be aligned, or the network's output is not finite.
        """
        return next(self.predict_many([image], reference))

    def predict_many(
        self, images: Iterable[Picture], reference: np.ndarray | str | None = None
    ) -> Iterator[Prediction]:
        """Judge images in order, a batch of tiles at a time; the first that fails ends it.

        No more than ``batch_size`` images are held at once, for any number.

        Raises:
            as :meth:`predict`.
        """
        return (_raised(outcome) for outcome in self.try_many(images, reference))

    def try_many(
        self, images: Iterable[Picture], reference: np.ndarray | str | None = None
    ) -> Iterator[Prediction | Failure]:
        """As :meth:`predict_many`, but an image that fails gives a :class:`Failure` instead.

        Raises:
            PredictionError: no such reference.
        """
        fixed = None
        if reference is not None and self._network.compares:
            fixed = self._references.resolve(reference)
        return self._outcomes(images, fixed)

    def _outcomes(self, images: Iterable[Picture], fixed: Chosen | None) -> Iterator[Prediction | Failure]:
        waiting: list[_Timed | Failure] = []
        tiles, shape = 0, (0, 0)
        for image in images:
            entry = self._prepared(image, fixed)
            if not isinstance(entry, Failure):
                if tiles and entry[0].tiling.tile != shape:
                    # Only tiles of one shape make a batch.
                    yield from self._flushed(waiting)
                    tiles = 0
                shape = entry[0].tiling.tile
                tiles += len(entry[0].tiling.positions)
            waiting.append(entry)
            del entry
            if max(tiles, len(waiting)) >= self.batch_size:
                yield from self._flushed(waiting)
                tiles = 0
        yield from self._flushed(waiting)

    def _prepared(self, image: Picture, fixed: Chosen | None) -> _Timed | Failure:
        started = time.perf_counter()
        try:
            picture = as_picture(image)
            chosen = fixed
            if chosen is None and self._network.compares:
                chosen = self._references.choose(picture, any_size=self.alignment is not None)
            pair = prepare_input(picture, chosen, self.alignment, self.product.size, self._overlap)
        except (OSError, ValueError, cv2.error) as error:
            return Failure(error, str(error))
        return pair, time.perf_counter() - started

    def _flushed(self, waiting: list[_Timed | Failure]) -> Iterator[Prediction | Failure]:
        """Yield the results of the waiting inputs, removing each from the list to free its memory."""
        inputs = [entry[0] for entry in waiting if not isinstance(entry, Failure)]
        started = time.perf_counter()
        maps = self._maps(inputs)
        seconds = (time.perf_counter() - started) / max(1, sum(len(pair.tiling.positions) for pair in inputs))
        del inputs
        while waiting:
            entry = waiting.pop(0)
            if isinstance(entry, Failure):
                yield entry
                continue
            pair, before = entry
            yield self._finished(pair, maps.pop(0), before + seconds * len(pair.tiling.positions))

    def _maps(self, inputs: Sequence[PairInput]) -> list[np.ndarray]:
        """Return the probabilities (K, h, w) of every input."""
        mosaics = [pair.mosaic(self._network.classes) for pair in inputs]
        work = [(slot, position) for slot, pair in enumerate(inputs) for position in pair.tiling.positions]
        for start in range(0, len(work), self.batch_size):
            batch = work[start : start + self.batch_size]
            images = [inputs[slot].image_tile(position) for slot, position in batch]
            references = None
            if self._network.compares:
                references = [inputs[slot].reference_tile(position) for slot, position in batch]
            results = self._network.probabilities(images, references)
            for (slot, position), result in zip(batch, results, strict=True):
                mosaics[slot].add(position, result)
        return [mosaic.maps for mosaic in mosaics]

    def _finished(self, pair: PairInput, maps: np.ndarray, seconds: float) -> Prediction | Failure:
        started = time.perf_counter()
        if not np.isfinite(maps).all():
            error = PredictionError("the network's output is not finite; its training diverged; train again")
            return Failure(error, str(error))
        labels, probability = decide(pair.own_pixels(maps), self.threshold)
        defects = find_defects(labels, probability, self.product.class_names)
        defective = sum(defect.area for defect in defects) >= self.min_pixels
        return Prediction(
            image=pair.image,
            labels=labels,
            probability=probability,
            defects=defects,
            verdict="defective" if defective else "good",
            reference=None if pair.chosen is None else pair.chosen.compared,
            alignment=pair.placed,
            seconds=seconds + time.perf_counter() - started,
            notes=() if pair.chosen is None else pair.chosen.notes,
        )


def _raised(outcome: Prediction | Failure) -> Prediction:
    if isinstance(outcome, Failure):
        raise outcome.error
    return outcome


def _check_ranges(
    threshold: float, min_pixels: int, batch_size: int, overlap: float, cache_bytes: int
) -> None:
    for name, value, fits, limits in (
        ("threshold", threshold, 0 < threshold < 1, "between 0 and 1, both excluded"),
        ("min_pixels", min_pixels, min_pixels >= 1, "at least 1"),
        ("batch_size", batch_size, batch_size >= 1, "at least 1"),
        ("overlap", overlap, 0 <= overlap <= 0.9, "between 0 and 0.9"),
        ("cache_bytes", cache_bytes, cache_bytes >= 0, "at least 0"),
    ):
        if not fits:
            raise ValueError(f"{name} must be {limits}, got {value}")


def _alignment(asked: AlignmentParams | bool | None, own: AlignmentParams | None) -> AlignmentParams | None:
    """Return the parameters of alignment; None for none, or where the motion model is "off"."""
    if asked is None or asked is True:
        params = own or (AlignmentParams() if asked else None)
    else:
        params = asked or None
    return None if params is None or params.model == "off" else params
