"""What prediction gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

Verdict = Literal["good", "defective"]


class PredictionError(ValueError):
    """An image cannot be judged; the message says why and what to do."""


class Defect(NamedTuple):
    """A connected piece of one defect class.

    ``box``: x0, y0, x1, y1 in whole pixels, the last two just outside; ``area`` in pixels; ``confidence``:
    mean probability of any defect over its pixels, in 0..1; ``centroid``: x, y in pixels, the centre of the
    image's first pixel being 0, 0.
    """

    class_name: str
    box: tuple[int, int, int, int]
    area: int
    confidence: float
    centroid: tuple[float, float]


class Compared(NamedTuple):
    """The reference an image was compared with.

    ``name``: of the product's reference, or "given" for one that was handed over; ``sha256``: of its file,
    or of its pixels; ``difference``: grey levels as :func:`cadnet.images.matching.difference` measures
    them, None where the caller chose.
    """

    name: str
    sha256: str
    difference: float | None


class Placed(NamedTuple):
    """How the image was brought onto its reference.

    ``residual``: pixels by which the pair is still apart; ``shift``: pixels by which the corner that moved
    farthest moved; ``confidence``: correlation of the pair in 0..1; ``covered``: share of the image that the
    reference shows too, the rest being judged good unseen.
    """

    residual: float
    shift: float
    confidence: float
    covered: float


@dataclass(frozen=True, eq=False)
class Prediction:
    """One judged image; all in its own pixels, as it was given.

    ``image``: uint8 RGB (H, W, 3); ``labels``: uint8 (H, W), 0 good, 1..K the defect's class;
    ``probability``: float32 (H, W) of any defect, in 0..1; ``defects``: largest first; ``reference``: None
    for networks that look at the image alone; ``alignment``: None where it was not asked for;
    ``seconds``: time it took, its share of the batch; ``notes``: what the reader should know.
    """

    image: np.ndarray
    labels: np.ndarray
    probability: np.ndarray
    defects: tuple[Defect, ...]
    verdict: Verdict
    reference: Compared | None
    alignment: Placed | None
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def defect_pixels(self) -> int:
        """Pixels of all defects."""
        return sum(defect.area for defect in self.defects)


class Failure(NamedTuple):
    """An image that could not be judged: what was raised, and the reason as one line."""

    error: Exception
    reason: str
