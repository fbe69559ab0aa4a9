"""Measurements of a product for the gate, with the code that judges images on the line."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from cadnet.config.operate import BehaviourParams, GateParams
from cadnet.datasets.cache import DecodedSplit
from cadnet.evaluation.counts import Counts
from cadnet.evaluation.gate import IDENTICAL, Measured
from cadnet.evaluation.slices import defect_contrast
from cadnet.images import read_image
from cadnet.inference.export import ExportError, export_onnx
from cadnet.inference.predictor import Predictor
from cadnet.inference.product import Product
from cadnet.models.weights import load_model
from cadnet.types import IGNORE_INDEX

SEED = 0
"""Of the noise; the same for every model."""
MOST = 32
"""References used, evenly chosen where there are more, and defects planted."""


def disturbances(image: np.ndarray, params: BehaviourParams) -> Iterator[tuple[str, np.ndarray]]:
    """Yield a clean image, uint8 RGB (H, W, 3), as it is and disturbed, each with a name.

    Shifted images repeat their last row or column, as if the scene continued.
    """
    yield IDENTICAL, image
    for name, amount in (("brighter", params.brightness), ("darker", -params.brightness)):
        yield name, _bytes(image + np.float32(amount))
    noise = np.random.default_rng(SEED).normal(0, params.noise, image.shape)
    yield "noisy", _bytes(image + noise)
    if params.shift:
        steps = params.shift
        moves = {"up": (-steps, 0), "down": (steps, 0), "left": (0, -steps), "right": (0, steps)}
        for side, (down, right) in moves.items():
            yield f"moved {side}", _moved(image, down, right)


def false_fractions(predictor: Predictor, params: BehaviourParams) -> dict[str, float]:
    """Return by disturbance the largest fraction of a reference's pixels classified as defective, in [0, 1].

    References of the product, :data:`MOST` at most, are compared with themselves, disturbed; nothing in them
    is a defect. Empty for a product without references.
    """
    worst: dict[str, float] = {}
    references = predictor.product.references
    chosen = np.linspace(0, len(references) - 1, min(MOST, len(references))).round().astype(int)
    for reference in (references[number] for number in chosen):
        clean = read_image(predictor.product.folder / reference.file)
        for name, image in disturbances(clean, params):
            fraction = predictor.predict(image, reference.name).defect_pixels / (
                clean.shape[0] * clean.shape[1]
            )
            worst[name] = max(worst.get(name, 0.0), fraction)
    return worst


def _bytes(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)


def _moved(image: np.ndarray, down: float, right: float) -> np.ndarray:
    motion = np.array([[1, 0, right], [0, 1, down]], np.float64)
    size = image.shape[1], image.shape[0]
    return cv2.warpAffine(image, motion, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def planted_found(predictor: Predictor, decoded: DecodedSplit) -> float | None:
    """Return which fraction of planted defects, in [0, 1], the product finds; None where none can be planted.

    The :data:`MOST` defective images whose defects are the most visible give theirs: what distinguishes them
    from their reference is moved by half the image and added to that clean reference, where bright pixels get
    darker and dark ones brighter, so that they are as visible there. So the defects are of kinds that the
    product must know, on pairs that differ by nothing else. One is found when the image is judged defective
    and one of its pixels is among those classified as such.
    """
    contrast = defect_contrast(decoded.images, decoded.references, decoded.reference_index, decoded.masks)
    planted = found = 0
    # NaN, where an image has no defect, comes last.
    for row in np.argsort(-contrast, kind="stable"):
        if planted == MOST or not contrast[row] > 0:
            break
        defects = (decoded.masks[row] > 0) & (decoded.masks[row] != IGNORE_INDEX)
        if defects.sum() < predictor.min_pixels:
            continue
        clean = _picture(decoded.references[decoded.reference_index[row]])
        image, place = _planted(clean, _picture(decoded.images[row]), defects)
        judged = predictor.predict(image, clean)
        planted += 1
        found += judged.verdict == "defective" and bool(judged.labels[place].any())
    return found / planted if planted else None


def _planted(clean: np.ndarray, image: np.ndarray, defects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the clean picture with another image's defects, moved by half of it, and bool (H, W) where."""
    middle = clean.shape[0] // 2, clean.shape[1] // 2
    place = np.roll(defects, middle, axis=(0, 1))
    strength = np.roll(np.abs(image.astype(np.float32) - clean), middle, axis=(0, 1)) * place[..., None]
    return _bytes(clean + np.where(clean < 128, strength, -strength)), place


PAIRS = 20
"""Single pairs that are timed."""


def measure(
    product: Product, decoded: DecodedSplit, params: GateParams, advance: Callable[[int], None] | None = None
) -> Measured:
    """Measure everything a challenger is checked on.

    Args:
        product: the challenger.
        decoded: the acceptance set, of the product's classes.
        params: the disturbances.
        advance: called with 1 after each image.

    Raises:
        cadnet.inference.PredictionError: images and network do not fit, or the network diverged.
    """
    predictor = Predictor(product, alignment=False)
    return Measured(
        counts=acceptance_counts(predictor, decoded, advance),
        min_pixels=product.min_pixels,
        planted=planted_found(predictor, decoded),
        latency_ms=latency_ms(predictor, decoded),
        false_fractions=false_fractions(predictor, params.behaviour),
        export_difference=export_difference(product),
    )


def acceptance_counts(
    predictor: Predictor, decoded: DecodedSplit, advance: Callable[[int], None] | None = None
) -> Counts:
    """Count a product's decisions on a split, with its threshold and tiles.

    Args:
        predictor: as on the line, but without alignment: pairs of a prepared dataset are aligned.
        decoded: the split; its masks hold the product's classes.
        advance: called with 1 after each image.

    Raises:
        cadnet.inference.PredictionError: images and network do not fit, or the network diverged.
    """
    side = len(predictor.product.class_names) + 1
    confusion = np.zeros((len(decoded.rows), side, side), np.int64)
    for reference, rows in _by_reference(decoded):
        images = (_picture(decoded.images[row]) for row in rows)
        for row, found in zip(rows, predictor.predict_many(images, reference), strict=True):
            confusion[row] = _confusion(decoded.masks[row], found.labels, side)
            if advance is not None:
                advance(1)
    return Counts(np.arange(len(confusion)), confusion, np.zeros((side - 1, 2, 0), np.int64))


def latency_ms(predictor: Predictor, decoded: DecodedSplit, pairs: int = PAIRS) -> float:
    """Return the median milliseconds of single pairs whose reference is cached."""
    reference, rows = next(_by_reference(decoded))
    timed = [_picture(decoded.images[row]) for row in rows[:pairs]]
    predictor.predict(timed[0], reference)
    return 1000 * statistics.median(predictor.predict(image, reference).seconds for image in timed)


def export_difference(product: Product) -> float:
    """Return how far the network as an ONNX file is from the network, as a fraction of its largest output.

    Infinite where it cannot be exported or differs by more than an export may.

    Raises:
        ImportError: the extra ``cadnet[onnx]`` is not installed.
    """
    network, _ = load_model(product.folder)
    with tempfile.TemporaryDirectory(prefix="cadnet-") as folder:
        try:
            return export_onnx(network, Path(folder) / "network.onnx", product.size).difference
        except ExportError:
            return float("inf")


def _by_reference(decoded: DecodedSplit) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield each reference, uint8 (H, W, 3), with the rows that are compared with it."""
    for number, reference in enumerate(decoded.references):
        rows = np.flatnonzero(decoded.reference_index == number)
        if len(rows):
            yield _picture(reference), rows


def _picture(planes: np.ndarray) -> np.ndarray:
    """Return uint8 (3, H, W) as (H, W, 3)."""
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def _confusion(truth: np.ndarray, labels: np.ndarray, side: int) -> np.ndarray:
    """Return int64 (side, side) pixels by [truth, label] without ignored ones."""
    counted = truth != IGNORE_INDEX
    cells = truth[counted].astype(np.int64) * side + labels[counted]
    return np.bincount(cells, minlength=side * side).reshape(side, side)
