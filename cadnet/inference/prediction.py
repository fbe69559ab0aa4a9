"""Types of prediction: images in, judged images out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from cadnet.images import ImageError, read_image

Verdict = Literal["good", "defective"]

Picture = np.ndarray | Path | str
"""An image file, or uint8 pixels: grey (H, W) or (H, W, 1), RGB (H, W, 3), RGBA (H, W, 4)."""


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
    """How the image was aligned with its reference.

    ``residual``: remaining misalignment in pixels; ``shift``: pixels by which the corner that moved
    farthest moved; ``confidence``: correlation of the pair in 0..1; ``covered``: fraction of the image that
    the reference shows too, the rest is judged good unseen.
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


def as_picture(image: Picture) -> np.ndarray:
    """Return uint8 RGB (H, W, 3), a copy: grey becomes three equal channels, transparency is left out.

    Raises:
        FileNotFoundError: no such file.
        ImageError: the file cannot be decoded, or the array is of another type or shape.
    """
    if isinstance(image, str | Path):
        return read_image(image)
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or channels not in (1, 3, 4) or not image.size:
        raise ImageError(
            f"an image of shape {image.shape} and type {image.dtype} cannot be used; give uint8 of 0..255, "
            "(H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA"
        )
    if channels == 1:
        return np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    # Cameras fill one buffer again and again, while a batch is still being collected.
    return np.array(image[:, :, :3], order="C")
