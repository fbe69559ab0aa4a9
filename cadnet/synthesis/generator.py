"""SynLCD samples: a clean pattern, defects on it, and the screen's overall change (paper Eq. 1)."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import cv2
import numpy as np

from cadnet.config import SynLCDParams
from cadnet.synthesis.blend import Canvas
from cadnet.synthesis.defects import AbptDefect, EdgePoints, LineDefect, render_abpt, render_lines
from cadnet.synthesis.screen import NoiseTile, apply_effects, sample_effects
from cadnet.types import PairSample

CLASSES = ("line", "abpt")
"""Defect classes in mask order: 1 is line, 2 is abpt (abnormal points)."""

PALETTE = ((255, 128, 0), (0, 160, 255))
"""RGB colours in which the classes are shown."""

ATTEMPTS = 20


class Overlay(NamedTuple):
    """Defects on a clean pattern before the screen effects, and their list."""

    image: np.ndarray
    mask: np.ndarray
    defects: tuple[LineDefect | AbptDefect, ...]


def sample_name(subset: str, pattern: str, index: int, defective: bool) -> str:
    """Return the sample id, for example ``mixed-03-d0042`` (defective) or ``mixed-03-c0042`` (clean)."""
    return f"{subset}-{pattern}-{'d' if defective else 'c'}{index:04d}"


class SynLCDGenerator:
    """Generates samples; a sample has the same bytes in any order and in any process.

    ``patterns``: name -> uint8 RGB (size, size, 3), see :func:`cadnet.synthesis.patterns.load_patterns`.

    Raises:
        ValueError: a pattern has another shape or type.
    """

    def __init__(self, patterns: dict[str, np.ndarray], params: SynLCDParams) -> None:
        shape = (params.size, params.size, 3)
        for name, pattern in patterns.items():
            if pattern.shape != shape or pattern.dtype != np.uint8:
                raise ValueError(
                    f"pattern {name} is {pattern.dtype} of shape {pattern.shape} and must be uint8 of shape "
                    f"{shape}; load it with load_patterns(folder, {params.size})"
                )
        self._patterns = patterns
        self._params = params
        self._edges = EdgePoints(patterns, params.abpt)
        self._noise = NoiseTile(params.size, self._stream("noise"))

    def _stream(self, *key: str) -> np.random.Generator:
        """An independent random stream for ``key`` under the dataset's seed."""
        text = "/".join((str(self._params.seed), *key))
        words = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint32)
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words.tolist())))

    def _clean(self, pattern: str) -> np.ndarray:
        if pattern not in self._patterns:
            raise KeyError(f"no pattern {pattern!r}; loaded are {sorted(self._patterns)}")
        return self._patterns[pattern]

    def overlay(self, pattern: str, index: int) -> Overlay:
        """Render the defects of the defective sample ``index`` of ``pattern``, without screen effects.

        The mask is exact: a pixel has a class if and only if it differs from the clean pattern by at least
        ``params.min_change`` grey levels in some channel; smaller changes are undone. So a
        line has gaps where it crosses its own colour. Where defects overlap the class is the later
        one's, abpt over line. Every class of the subset is present.

        Raises:
            KeyError: no such pattern.
            ValueError: the pattern has no edges for abnormal points, or no defect is visible on it.
        """
        clean = self._clean(pattern)
        subset = self._params.subset
        wanted = {1, 2} if subset == "mixed" else {CLASSES.index(subset) + 1}
        rng = self._stream(subset, pattern, str(index), "defects")
        for _ in range(ATTEMPTS):
            image, mask = clean.copy(), np.zeros(clean.shape[:2], np.uint8)
            defects: list[LineDefect | AbptDefect] = []
            canvas = Canvas(image, mask, self._params.blur, self._params.min_change)
            if 1 in wanted:
                defects += render_lines(canvas, 1, self._params.line, rng)
            if 2 in wanted:
                defects += render_abpt(canvas, 2, self._edges.sample(pattern, rng), self._params.abpt, rng)
            _settle(image, mask, clean, self._params.min_change)
            if wanted <= set(np.flatnonzero(np.bincount(mask.ravel(), minlength=3)).tolist()):
                return Overlay(image, mask, tuple(defects))
        raise ValueError(
            f"no {subset} defect shows on pattern {pattern} after {ATTEMPTS} attempts; "
            "raise line.opacity / abpt.opacity or lower min_change"
        )

    def sample(self, pattern: str, index: int, defective: bool) -> PairSample:
        """Generate sample ``index`` of ``pattern``: defects (when ``defective``), then the screen effects.

        Raises:
            KeyError: no such pattern.
            ValueError: see :meth:`overlay`.
        """
        params = self._params
        clean = self._clean(pattern)
        if defective:
            image, mask, _ = self.overlay(pattern, index)
        else:
            image, mask = clean, np.zeros(clean.shape[:2], np.uint8)
        kind = "defective" if defective else "clean"
        rng = self._stream(params.subset, pattern, str(index), kind, "screen")
        effects = sample_effects(params.screen, rng)
        image = apply_effects(image, effects, self._noise, params.screen.noise_sigma, rng)
        return PairSample(sample_name(params.subset, pattern, index, defective), image, clean, mask, pattern)


def _settle(image: np.ndarray, mask: np.ndarray, clean: np.ndarray, min_change: int) -> None:
    """Make image and mask agree, in place: undo changes that are too small to be a defect."""
    red, green, blue = cv2.split(cv2.absdiff(image, clean))
    slight = (cv2.max(cv2.max(red, green), blue) < min_change).view(np.uint8)
    cv2.copyTo(clean, slight, image)
    mask[slight.view(bool)] = 0
