"""How much a photograph differs from its clean board, in units of its own noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from cadnet.preparers.pku_pcb.annotations import Box

PATCH = 64
"""Side in pixels of the patches that noise is measured on."""
PATCHES = 8
"""Patches along each axis."""
STEEPNESS = (0.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""Lower ends of the classes of edge steepness, in grey levels per pixel."""
LEAST_SD = 1.0
"""Grey levels below which no noise is believed: an exact copy would make every rounding a defect."""
_MAD = 1.4826
_MIN_PIXELS = 200
_THIN = (slice(None, None, 2), slice(None, None, 2))
"""Every other pixel of a patch: after blurring, neighbours tell nearly the same."""


class NoiseModel(NamedTuple):
    """Difference between a photograph and its board where there is no defect.

    ``gain`` and ``offset`` (3,): photograph = gain * board + offset in each channel; ``sd`` (steps, 3):
    robust standard deviation in grey levels of what is left after slight blurring, for each class of
    :data:`STEEPNESS`. Edges are noisier than flat areas the more the pair is misaligned.
    """

    gain: np.ndarray
    offset: np.ndarray
    sd: np.ndarray


def measure_noise(image: np.ndarray, board: np.ndarray, boxes: Sequence[Box]) -> NoiseModel:
    """Estimate the noise of a photograph from patches that no box touches.

    Args:
        image, board: uint8 RGB (H, W, 3), aligned.
        boxes: where defects are; left out.
    """
    pairs = [(image[place], board[place]) for place in _patches(image.shape, boxes)]
    gain, offset = _tone(pairs)
    differences, steps = [], []
    for patch, clean in pairs:
        differences.append(_difference(patch, clean, gain, offset)[_THIN].reshape(-1, 3))
        steps.append(_steepness(clean)[_THIN].ravel())
    left, step_of = np.concatenate(differences), np.concatenate(steps)
    sd = np.full((len(STEEPNESS), 3), LEAST_SD, np.float32)
    for step in range(len(STEEPNESS)):
        members = left[step_of == step]
        if len(members) >= _MIN_PIXELS:
            sd[step] = _MAD * np.median(np.abs(members), axis=0)
    # Steeper edges are never taken for quieter; this also fills the classes with too few pixels.
    return NoiseModel(gain, offset, np.maximum.accumulate(np.maximum(sd, LEAST_SD), axis=0))


def compare(image: np.ndarray, board: np.ndarray, noise: NoiseModel) -> tuple[np.ndarray, np.ndarray]:
    """Return the difference of two uint8 RGB crops (H, W, 3) as two float32 arrays (H, W).

    The first is in robust standard deviations, the second in grey levels; each is that of the channel which
    differs most.
    """
    difference = np.abs(_difference(image, board, noise.gain, noise.offset))
    deviations = difference / noise.sd[_steepness(board)]
    return deviations.max(axis=2), difference.max(axis=2)


def _patches(shape: tuple[int, ...], boxes: Sequence[Box]) -> list[tuple[slice, slice]]:
    """Places of patches on a regular grid, without those that touch a box; all of them if none is left."""
    side_y, side_x = (min(PATCH, side) for side in shape[:2])
    rows = np.unique(np.linspace(0, shape[0] - side_y, PATCHES).astype(int))
    columns = np.unique(np.linspace(0, shape[1] - side_x, PATCHES).astype(int))
    places = [(int(y), int(x)) for y in rows for x in columns]
    free = [
        (y, x)
        for y, x in places
        if not any(b.x0 < x + side_x and x < b.x1 and b.y0 < y + side_y and y < b.y1 for b in boxes)
    ]
    return [(slice(y, y + side_y), slice(x, x + side_x)) for y, x in free or places]


def _tone(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Gain and offset of each channel: a line through the median difference of each eighth of the tones."""
    images, boards = (np.concatenate([pair[k][_THIN].reshape(-1, 3) for pair in pairs]) for k in (0, 1))
    gain, offset = np.ones(3, np.float32), np.zeros(3, np.float32)
    for channel in range(3):
        seen, clean = images[:, channel].astype(np.int16), boards[:, channel]
        groups = [(clean // 32) == eighth for eighth in range(8)]
        groups = [group for group in groups if group.sum() >= _MIN_PIXELS]
        if not groups:
            continue
        tones = [float(np.mean(clean[group])) for group in groups]
        shifts = [float(np.median(seen[group] - clean[group])) for group in groups]
        if len(groups) < 2:
            offset[channel] = shifts[0]
            continue
        weights = np.sqrt([group.sum() for group in groups])
        slope, offset[channel] = np.polyfit(tones, shifts, 1, w=weights)
        gain[channel] = 1 + slope
    return gain, offset


def _difference(image: np.ndarray, board: np.ndarray, gain: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Signed, slightly blurred difference, float32 (H, W, 3)."""
    difference = image.astype(np.float32) - (board.astype(np.float32) * gain + offset)
    # 3 x 3 halves the noise of single pixels and moves no edge by more than half a pixel.
    return cv2.GaussianBlur(difference, (3, 3), 0)


def _steepness(board: np.ndarray) -> np.ndarray:
    """Index into :data:`STEEPNESS` of each pixel, (H, W): the steepest channel in its 3 x 3 neighbourhood."""
    blurred = cv2.GaussianBlur(board, (3, 3), 0)
    dx, dy = (cv2.Sobel(blurred, cv2.CV_32F, *order, ksize=3, scale=1 / 8) for order in ((1, 0), (0, 1)))
    steepest = np.maximum(np.abs(dx), np.abs(dy)).max(axis=2)
    steepest = cv2.dilate(steepest, np.ones((3, 3), np.uint8))
    return np.searchsorted(STEEPNESS, steepest, side="right") - 1
