"""Estimating the motion between an image and its reference."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from cadnet.alignment.align import Alignment, Method, check_picture
from cadnet.alignment.levels import Level, Pyramid, sides_for
from cadnet.alignment.motion import Model, displacement, match, refine, search
from cadnet.alignment.quality import Quality, measure, settle
from cadnet.config import AlignmentParams

_LARGEST_SIDE = 1024
"""Longer side in pixels of the finest level, which keeps the time of large photographs within bounds."""
_QUALITY_SIDES = (256, 1024)
"""Quality is measured at half size, where noise has averaged out, within these limits of the longer side."""
_MIN_SIDE = 32
"""Pictures with a shorter side hold no patch to measure on."""
_KEEP = 0.1
"""Pixels of residual within the measurement error: no better motion is sought."""
_NEGLIGIBLE = 0.25
"""Pixels; resampling by a smaller motion costs more sharpness than it gains."""
_CERTAIN = 0.95
"""Correlation on the coarse level after which no second start is tried."""
_CONVERGED = 0.2
"""Pixels of residual above which the finest level is refined again."""
_NEAR = 1.0
"""Pixels of residual below which one more iteration of ECC is enough."""
_ROUNDS = 2
"""Largest number of such refinements."""


class _Limits(NamedTuple):
    """Limits of acceptance; ``shape`` is the reference's (H, W)."""

    params: AlignmentParams
    shape: tuple[int, ...]
    same_size: bool

    def judge(self, matrix: np.ndarray, method: Method, quality: Quality) -> Alignment:
        # The reference's diagonal stands for an unknown residual.
        residual = math.hypot(*self.shape) if quality.residual is None else quality.residual
        shift = displacement(matrix, np.eye(3), self.shape)
        within = (
            residual <= self.params.max_residual
            and quality.confidence >= self.params.min_confidence
            and shift <= self.params.max_shift
        )
        accepted = self.same_size if method == "off" else within
        return Alignment(matrix, method, residual, quality.confidence, shift, accepted)


class _Pair(NamedTuple):
    """Reduced copies of a pair from coarse to fine, the copy quality is measured on, and the limits."""

    levels: list[Level]
    quality: Level
    limits: _Limits


def estimate_alignment(image: np.ndarray, reference: np.ndarray, params: AlignmentParams) -> Alignment:
    """Estimate the motion that aligns ``image`` with ``reference``.

    Args:
        image: uint8 RGB (h, w, 3).
        reference: uint8 RGB (H, W, 3); sizes may differ, pixels must be of about the same size.
        params: the motion model and the limits of acceptance.

    A pair that is already aligned as well as by the estimate gives exactly the
    identity. A pair that cannot be aligned (blank, noise, another product, too small) is no error: it
    gives the best guess and ``accepted`` False.

    Raises:
        ValueError: shapes or types are not as above.
    """
    check_picture("image", image)
    check_picture("reference", reference)
    grey = cv2.cvtColor(reference, cv2.COLOR_RGB2GRAY), cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    sides = sorted([*grey[0].shape, *grey[1].shape])
    limits = _Limits(params, grey[0].shape, grey[0].shape == grey[1].shape)
    model = params.model
    identity = Quality(None, 0.0)
    if sides[0] >= _MIN_SIDE:
        pyramid = Pyramid(*grey)
        quality = pyramid.level(int(np.clip(sides[-1] // 2, *_QUALITY_SIDES)))
        identity = measure(quality, np.eye(3))
    kept = limits.judge(np.eye(3), "off" if model == "off" else "identity", identity)
    if model == "off" or sides[0] < _MIN_SIDE or (kept.accepted and kept.residual <= _KEEP):
        return kept
    levels = [pyramid.level(side) for side in sides_for(sides[0], sides[-1], _LARGEST_SIDE)]
    pair = _Pair(levels, quality, limits)
    best = _by_correlation(pair, model)
    if not best.accepted and model != "translation":
        best = _better(best, _by_features(pair, model))
    needless = kept.residual <= best.residual or best.shift <= _NEGLIGIBLE
    return kept if needless and kept.accepted >= best.accepted else best


def _by_correlation(pair: _Pair, model: Model) -> Alignment:
    coarse = pair.levels[0]
    matrix, correlation = np.eye(3), -2.0
    for start in search(coarse, model, pair.limits.params.max_shift):
        found, reached = refine(coarse, start.matrix, model, 0)
        if reached > correlation:
            matrix, correlation = found, reached
        if correlation > _CERTAIN:
            break
    return _refined(pair, coarse.to_full(matrix), model, model)


def _by_features(pair: _Pair, model: Model) -> Alignment | None:
    level = pair.levels[-1]
    found = match(level)
    return None if found is None else _refined(pair, level.to_full(found), model, "features")


def _refined(pair: _Pair, matrix: np.ndarray, model: Model, method: Method) -> Alignment:
    """Refine a full-size motion on all levels but the coarse one and measure it."""
    for step, level in enumerate(pair.levels[1:], start=1):
        matrix = level.to_full(refine(level, level.to_level(matrix), model, step)[0])
    quality = measure(pair.quality, matrix)
    for _ in range(_ROUNDS):
        if quality.residual is not None and quality.residual <= _CONVERGED:
            break
        # Fewer iterations near convergence.
        step = 2 if quality.residual is not None and quality.residual < _NEAR else 1
        again = _refined_again(pair.levels[-1], matrix, model, step)
        improved = _measured_again(pair.quality, again)
        if improved.residual is None or improved.residual > (quality.residual or np.inf):
            break
        matrix, quality = again, improved
    return pair.limits.judge(matrix, method, quality)


def _refined_again(level: Level, matrix: np.ndarray, model: Model, step: int) -> np.ndarray:
    """Refine a full-size motion on its level once more, large changes left out when they are few."""
    settled = settle(level, matrix)
    if settled is None:
        return level.to_full(refine(level, level.to_level(matrix), model, step)[0])
    usable = settled.usable.view(np.uint8)
    onward = refine(settled.level, np.eye(3), model, step, usable)[0]
    composed = matrix @ settled.level.to_full(onward)
    return composed / composed[2, 2]


def _measured_again(level: Level, matrix: np.ndarray) -> Quality:
    settled = settle(level, matrix)
    return measure(level, matrix) if settled is None else measure(settled.level, np.eye(3), settled.usable)


def _better(first: Alignment, second: Alignment | None) -> Alignment:
    if second is None or (first.accepted, -first.residual) >= (second.accepted, -second.residual):
        return first
    return second
