"""Judging images by a product's network and references."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from torch import nn

from cadnet.config import AlignmentParams
from cadnet.inference.jobs import Job, make_job
from cadnet.inference.network import PairNetwork, choose_device
from cadnet.inference.pictures import Picture, as_picture
from cadnet.inference.prediction import Failure, Prediction, PredictionError
from cadnet.inference.product import Product, read_product
from cadnet.inference.references import Chosen, References
from cadnet.inference.regions import decide, find_defects
from cadnet.models.weights import ModelDescription, load_model

CACHE_BYTES = 2**29
"""Encoded references that are kept, in bytes on the device: those of MiT-B0 for 130 tiles of 512 px."""
OVERLAP = 0.25

_Timed = tuple[Job, float]
"""A job, and the seconds spent on it so far."""


class Predictor:
    """Judges images, one thread at a time.

    A network that looks at the image alone needs no reference: what is said below about references and
    alignment does not concern it.

    Args:
        product: a product or its folder.
        device: "auto" (a GPU where there is one), "cpu" or "cuda".
        batch_size: tiles that go through the network at once; also the most images held at a time.
        threshold: instead of the product's, in (0, 1).
        min_pixels: instead of the product's.
        alignment: None does as the product says, False takes every pair as it lies; True brings images
            onto the reference by the product's limits, else by the defaults.
        overlap: share of a tile, 0 to 0.9, that neighbours of a large image have in common.
        cache_bytes: limit of encoded references; 0 encodes the reference with every image.
        network: instead of the folder's, with the same classes.

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
            reference: name of one of the product's, or pixels like ``image``; None takes that of the product
                which differs least from the image.

        Raises:
            FileNotFoundError: no such file.
            cadnet.images.ImageError: the image cannot be used.
            PredictionError: there is no such reference, none of the image's size, none that the image fits,
                the pair cannot be brought together, or the network's output is not finite.
        """
        return next(self.predict_many([image], reference))

    def predict_many(
        self, images: Iterable[Picture], reference: np.ndarray | str | None = None
    ) -> Iterator[Prediction]:
        """Judge images in order, a batch of tiles at a time; the first that fails ends it.

        No more than ``batch_size`` images are held at once, however many there are.

        Raises:
            as :meth:`predict`.
        """
        return (_raised(outcome) for outcome in self.try_many(images, reference))

    def try_many(
        self, images: Iterable[Picture], reference: np.ndarray | str | None = None
    ) -> Iterator[Prediction | Failure]:
        """As :meth:`predict_many`, but an image that fails gives a :class:`Failure` instead.

        Raises:
            PredictionError: there is no such reference.
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
            job = make_job(picture, chosen, self.alignment, self.product.size, self._overlap)
        except (OSError, ValueError, cv2.error) as error:
            return Failure(error, str(error))
        return job, time.perf_counter() - started

    def _flushed(self, waiting: list[_Timed | Failure]) -> Iterator[Prediction | Failure]:
        """What becomes of the waiting ones; each is taken from the list, so that it can be let go of."""
        jobs = [entry[0] for entry in waiting if not isinstance(entry, Failure)]
        started = time.perf_counter()
        maps = self._maps(jobs)
        seconds = (time.perf_counter() - started) / max(1, sum(len(job.tiling.positions) for job in jobs))
        del jobs
        while waiting:
            entry = waiting.pop(0)
            if isinstance(entry, Failure):
                yield entry
                continue
            job, before = entry
            yield self._finished(job, maps.pop(0), before + seconds * len(job.tiling.positions))

    def _maps(self, jobs: Sequence[Job]) -> list[np.ndarray]:
        """Probabilities (K, h, w) of every job."""
        mosaics = [job.mosaic(self._network.classes) for job in jobs]
        work = [(slot, position) for slot, job in enumerate(jobs) for position in job.tiling.positions]
        for start in range(0, len(work), self.batch_size):
            batch = work[start : start + self.batch_size]
            images = [jobs[slot].image_tile(position) for slot, position in batch]
            references = None
            if self._network.compares:
                references = [jobs[slot].reference_tile(position) for slot, position in batch]
            results = self._network.probabilities(images, references)
            for (slot, position), result in zip(batch, results, strict=True):
                mosaics[slot].add(position, result)
        return [mosaic.maps for mosaic in mosaics]

    def _finished(self, job: Job, maps: np.ndarray, seconds: float) -> Prediction | Failure:
        started = time.perf_counter()
        if not np.isfinite(maps).all():
            error = PredictionError("the network's output is not finite; its training diverged; train again")
            return Failure(error, str(error))
        labels, probability = decide(job.own_pixels(maps), self.threshold)
        defects = find_defects(labels, probability, self.product.class_names)
        defective = sum(defect.area for defect in defects) >= self.min_pixels
        return Prediction(
            image=job.image,
            labels=labels,
            probability=probability,
            defects=defects,
            verdict="defective" if defective else "good",
            reference=None if job.chosen is None else job.chosen.compared,
            alignment=job.placed,
            seconds=seconds + time.perf_counter() - started,
            notes=() if job.chosen is None else job.chosen.notes,
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
    """What to align by; a motion model "off" is no alignment."""
    if asked is None or asked is True:
        params = own or (AlignmentParams() if asked else None)
    else:
        params = asked or None
    return None if params is None or params.model == "off" else params
