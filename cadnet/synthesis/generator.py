"""SynLCD samples: a clean pattern, defects on it, and the screen's overall change (paper Eq. 1)."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from cadnet.config import SynLCDParams
from cadnet.synthesis.blend import Canvas, largest_change
from cadnet.synthesis.defects import (
    AbptDefect,
    EdgePoints,
    LineDefect,
    MuraDefect,
    PixelDefect,
    render_abpt,
    render_lines,
    render_mura,
    render_pixels,
)
from cadnet.synthesis.screen import apply_effects, frame, sample_effects
from cadnet.types import PairSample

CLASSES = ("line", "abpt", "mura", "pixel")
"""Defect classes in mask order: 1 is line, 2 is abpt (abnormal points)."""

PALETTE = ((255, 128, 0), (0, 160, 255), (160, 220, 60), (255, 60, 160))
"""RGB colours in which the classes are shown."""

ATTEMPTS = 20

BEZEL = (16, 16, 18)
"""Colour of the frame around a display."""


Defect = LineDefect | AbptDefect | MuraDefect | PixelDefect


class Overlay(NamedTuple):
    """Defects on a clean pattern before the screen effects, and their list."""

    image: np.ndarray
    mask: np.ndarray
    defects: tuple[Defect, ...]


def classes_of(params: SynLCDParams) -> tuple[str, ...]:
    """Return the classes of a dataset: the paper's two, or with kinds beyond the paper's all four."""
    return CLASSES[:2] if set(params.defects) <= set(CLASSES[:2]) else CLASSES


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
        self._params = params
        framed = {
            name: frame(pattern, params.screen, self._stream("frame", name))
            for name, pattern in patterns.items()
        }
        self._edges = EdgePoints({name: screen for name, (screen, _) in framed.items()}, params.abpt)
        self._hidden = {name: hidden for name, (_, hidden) in framed.items()}
        self._patterns = {name: self._behind(name, screen.copy()) for name, (screen, _) in framed.items()}

    def _behind(self, pattern: str, image: np.ndarray) -> np.ndarray:
        """Put the frame of ``pattern`` over ``image``, in place."""
        image[self._hidden[pattern]] = BEZEL
        return image

    def _stream(self, *key: str) -> np.random.Generator:
        """An independent random stream for ``key`` under the dataset's seed."""
        text = "/".join((str(self._params.seed), *key))
        words = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint32)
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words.tolist())))

    def reference(self, pattern: str) -> np.ndarray:
        """Return the clean screen of ``pattern`` with its frame, uint8 RGB (size, size, 3).

        Raises:
            KeyError: no such pattern.
        """
        if pattern not in self._patterns:
            raise KeyError(f"no pattern {pattern!r}; loaded are {sorted(self._patterns)}")
        return self._patterns[pattern]

    def overlay(self, pattern: str, index: int) -> Overlay:
        """Render the defects of the defective sample ``index`` of ``pattern``, without screen effects.

        Mura, a fault of the light behind, lies under lines, these under abnormal points and single pixels.
        A defect is masked as a whole, or with ``masks: visible`` where it changed the screen by at least
        ``min_change`` grey levels in some channel. Elsewhere only Mura changes anything, by less. Every kind
        of the subset is present and visible.

        Raises:
            KeyError: no such pattern.
            ValueError: the pattern has no edges for abnormal points, or no defect is visible on it.
        """
        clean, params = self.reference(pattern), self._params
        rng = self._stream(params.subset, pattern, str(index), "defects")
        for _ in range(ATTEMPTS):
            image, mask = clean.copy(), np.zeros(clean.shape[:2], np.uint8)
            canvas = Canvas(image, mask, params.blur, params.min_change)
            defects = self._render(canvas, pattern, rng)
            self._behind(pattern, image)
            mask[self._hidden[pattern]] = 0
            seen = mask.copy()
            seen[largest_change(image, clean) < params.min_change] = 0
            present = np.bincount(seen.ravel(), minlength=len(CLASSES) + 1) > 0
            if all(present[CLASSES.index(kind) + 1] for kind in params.defects):
                return Overlay(image, seen if params.masks == "visible" else mask, tuple(defects))
        raise ValueError(
            f"no {params.subset} defect shows on pattern {pattern} after {ATTEMPTS} attempts; "
            "raise its opacity or strength, or lower min_change"
        )

    def _render(self, canvas: Canvas, pattern: str, rng: np.random.Generator) -> list[Defect]:
        """Render each kind of the subset on ``canvas``."""
        params, defects = self._params, list[Defect]()
        if "mura" in params.defects:
            defects += render_mura(canvas, 3, params.mura, rng)
        if "line" in params.defects:
            defects += render_lines(canvas, 1, params.line, rng)
        if "abpt" in params.defects:
            defects += render_abpt(canvas, 2, self._edges.sample(pattern, rng), params.abpt, rng)
        if "pixel" in params.defects:
            defects += render_pixels(canvas, 4, params.pixel, rng)
        return defects

    def sample(self, pattern: str, index: int, defective: bool) -> PairSample:
        """Generate sample ``index`` of ``pattern``: defects (when ``defective``), then the screen effects.

        Raises:
            KeyError: no such pattern.
            ValueError: see :meth:`overlay`.
        """
        params = self._params
        clean = self.reference(pattern)
        if defective:
            image, mask, _ = self.overlay(pattern, index)
        else:
            image, mask = clean, np.zeros(clean.shape[:2], np.uint8)
        kind = "defective" if defective else "clean"
        rng = self._stream(params.subset, pattern, str(index), kind, "screen")
        effects = sample_effects(params.screen, rng)
        image = apply_effects(image, effects, params.screen.noise_sigma, rng)
        return PairSample(sample_name(params.subset, pattern, index, defective), image, clean, mask, pattern)
