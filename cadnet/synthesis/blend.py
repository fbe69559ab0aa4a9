"""Fusing a coloured defect into a screen: Gaussian-blurred opacity, then Poisson seamless fusion.

A defect of colour c and opacity map alpha adds ``d = alpha (c - clean)``. The blurred opacity never quite
ends, so it is cut at ``TAIL`` of its peak, which leaves a small step around the defect's region. Poisson
fusion keeps the gradients of ``clean + d`` inside the region and takes the clean screen as its border, so the
fused picture is ``clean + d + h`` with h harmonic inside and ``h = -d`` on the border. Both solvers below
find that h; outside the region no byte changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

COLORS = ((0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255))
"""Defect colours of paper Table 1: black, white, red, green, blue."""

TAIL = 0.05
"""Fraction of the peak opacity below which a blurred defect ends."""

CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
"""A pixel and its four neighbours."""

TOLERANCE = 0.25
"""Grey levels of error allowed before rounding where the fusion is solved step by step."""


REFERENCE_SIZE = 512
"""Screen side in pixels for which widths, diameters and blurs are given."""


@dataclass(frozen=True)
class Canvas:
    """A screen that defects are rendered on, in place.

    ``image``: uint8 RGB (S, S, 3); ``labels``: uint8 (S, S), the class of the last defect at each pixel;
    ``blur``: standard deviation of the edge blur in pixels of a 512 px screen; ``min_change``: grey levels
    that count as a visible change.
    """

    image: np.ndarray
    labels: np.ndarray
    blur: float
    min_change: int

    @property
    def size(self) -> int:
        """Side in pixels."""
        return int(self.image.shape[0])

    @property
    def scale(self) -> float:
        """Pixels of this screen per pixel of a 512 px screen."""
        return self.size / REFERENCE_SIZE

    @property
    def sigma(self) -> float:
        """Standard deviation of the edge blur in pixels of this screen."""
        return self.blur * self.scale


def largest_change(image: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Return the largest difference over the channels of two uint8 pictures (H, W, 3), uint8 (H, W)."""
    red, green, blue = cv2.split(cv2.absdiff(image, clean))
    return np.asarray(cv2.max(cv2.max(red, green), blue))


def choose_color(
    covered: np.ndarray, opacity: float, min_change: int, rng: np.random.Generator
) -> tuple[int, int, int]:
    """Sample one of the five colours that is visible on at least half of the pixels it covers.

    A defect of the colour it covers (black on black) changes nothing and would be a label without a defect.
    ``covered``: (n, 3) values 0..255, n > 0. When none is visible, which needs a very low ``opacity``, the
    most visible one is taken.
    """
    values = covered.astype(np.float32)
    order = rng.permutation(len(COLORS))
    visible = []
    for i in order:
        red, green, blue = np.abs(values - np.asarray(COLORS[i], np.float32)).T
        change = np.maximum(np.maximum(red, green), blue)
        visible.append(float((opacity * change >= min_change + 0.5).mean()))
        if visible[-1] >= 0.5:
            return COLORS[i]
    return COLORS[order[int(np.argmax(visible))]]


@lru_cache(maxsize=256)
def line_profile(width: int, sigma: float) -> np.ndarray:
    """Opacity across a line of ``width`` pixels after a Gaussian blur, float32, peak 1.

    The first and the last value are below ``TAIL`` of the peak (the border of the region), all others above.
    """
    reach = int(np.ceil(3 * sigma)) + 1
    kernel = cv2.getGaussianKernel(2 * reach + 1, sigma, cv2.CV_64F).ravel()
    profile = np.convolve(np.ones(width), kernel)
    profile /= profile.max()
    inside = np.flatnonzero(profile >= TAIL)
    padded = np.pad(profile, 1)
    out = padded[inside[0] : inside[-1] + 3].astype(np.float32)
    out.flags.writeable = False
    return out


@lru_cache(maxsize=256)
def _strip_modes(length: int, width: int) -> np.ndarray:
    """Decay of each cosine mode across a strip, (length + 1, width): 1 at one border, 0 at the other."""
    cosh = 2 - np.cos(np.pi * np.arange(length + 1) / length)
    rate = np.arccosh(np.maximum(cosh, 1.0))[:, None]
    across = np.arange(1, width + 1)[None, :]
    with np.errstate(invalid="ignore"):
        # sinh(rate (width + 1 - x)) / sinh(rate (width + 1)), written so that nothing overflows.
        modes = (np.exp(-rate * across) - np.exp(-rate * (2 * (width + 1) - across))) / (
            1 - np.exp(-2 * rate * (width + 1))
        )
    modes[0] = 1 - across[0] / (width + 1)
    out = modes.astype(np.float32)
    out.flags.writeable = False
    return out


def strip_membrane(first: np.ndarray, last: np.ndarray, width: int) -> np.ndarray:
    """Solve the discrete Laplace equation in a strip of ``width`` columns between two border columns.

    ``first`` and ``last``: (N, C) values on the borders. The ends of the strip are free (zero normal
    derivative), because a line runs off the screen there. Returns float32 (N, width, C). Exact: cosine modes.
    """
    length = len(first)
    modes = _strip_modes(length, width)
    # The mirrored signal turns the free ends into a periodic problem, whose modes the FFT gives.
    spectra = [np.fft.rfft(np.concatenate((b, b[::-1])).astype(np.float32), axis=0) for b in (first, last)]
    mixed = spectra[0][:, None] * modes[:, :, None] + spectra[1][:, None] * modes[:, ::-1, None]
    return np.fft.irfft(mixed, 2 * length, axis=0)[:length].astype(np.float32)


def region_membrane(known: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Solve the discrete Laplace equation in ``inside`` with ``known`` values around it.

    ``known``: float32 (H, W, C); ``inside``: bool (H, W), False on the frame. Returns the values of the
    inside pixels, float32 (n, C), in row order, to within ``TOLERANCE``. Jacobi steps with Chebyshev weights,
    which need about as many steps as the region is thick.
    """
    width = inside.shape[1]
    where = np.flatnonzero(inside)
    beside = where + np.array([[-1], [1], [-width], [width]])
    grown = cv2.dilate(inside.astype(np.uint8), CROSS)
    border = np.flatnonzero(grown.view(bool) & ~inside)
    # Unknowns first, then the border, so that a step writes one slice.
    slot = np.empty(inside.size, np.intp)
    slot[where] = np.arange(len(where))
    slot[border] = np.arange(len(where), len(where) + len(border))
    neighbours = slot[beside]
    values = np.zeros((len(where) + len(border), known.shape[2]), np.float32)
    values[len(where) :] = known.reshape(-1, known.shape[2])[border]
    unknown = values[: len(where)]
    largest = float(np.abs(values).max()) if values.size else 0.0
    if largest <= TOLERANCE:
        return unknown
    thickness = 2 * float(cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L1, 3).max())
    # After k steps the error is below 2 exp(-k pi / (thickness + 1)) of the largest border value.
    steps = int(np.ceil((thickness + 1) / np.pi * np.log(2 * largest / TOLERANCE)))
    radius = np.cos(np.pi / (thickness + 1)) ** 2
    before, weight = unknown.copy(), 1.0
    for step in range(steps):
        around = values.take(neighbours, axis=0)
        following = around[0] + around[1]
        following += around[2]
        following += around[3]
        following *= np.float32(0.25 * weight)
        following += np.float32(1 - weight) * before
        before = unknown.copy()
        unknown[:] = following
        weight = 1 / (1 - radius / 2) if step == 0 else 1 / (1 - radius * weight / 4)
    return unknown


def fuse_strip(
    clean: np.ndarray, profile: np.ndarray, opacity: float, color: tuple[int, int, int]
) -> np.ndarray:
    """Fuse a line into a strip of the screen that runs along the line.

    ``clean``: (N, w, 3), its first and last column being the border that stays; ``profile``: (w,) from
    :func:`line_profile`. Returns uint8 (N, w - 2, 3), the new values between the two border columns.
    """
    base = clean.astype(np.float32)
    added = (opacity * profile)[None, :, None] * (np.asarray(color, np.float32) - base)
    correction = strip_membrane(-added[:, 0], -added[:, -1], clean.shape[1] - 2)
    fused = base[:, 1:-1] + added[:, 1:-1] + correction
    return np.clip(np.rint(fused), 0, 255).astype(np.uint8)


def fuse_region(
    clean: np.ndarray, alpha: np.ndarray, inside: np.ndarray, opacity: float, color: tuple[int, int, int]
) -> np.ndarray:
    """Fuse a defect of any shape into a piece of the screen.

    ``clean``: (H, W, 3); ``alpha``: float32 (H, W), peak 1; ``inside``: bool (H, W), False on the frame.
    Returns the new uint8 values (n, 3) of the inside pixels in row order.
    """
    base = clean.astype(np.float32)
    added = (opacity * alpha)[..., None] * (np.asarray(color, np.float32) - base)
    correction = region_membrane(-added, inside)
    return np.clip(np.rint((base + added)[inside] + correction), 0, 255).astype(np.uint8)
