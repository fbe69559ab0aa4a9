"""Rotated copies: how a photograph was turned, found from the recorded angle and proven from the pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from cadnet.writing.units import PreparationError

BORDER = (151, 148, 143)
"""RGB around a turned photograph (rotate.py of the data set's authors)."""
REDUCED = 512
"""Longer side in pixels of the copies that are compared."""
LEAST_CORRELATION = 0.9
"""Correlation below which two pictures are not the same photograph turned."""
SEARCHED = 30
"""Degrees up to which an angle is looked for, by tenths, when no right one is recorded."""


class Turn(NamedTuple):
    """How a photograph was turned.

    ``matrix``: float64 (2, 3), from pixels of the photograph to those of the copy; ``size``: width and height
    of the copy; ``angle``: degrees clockwise; ``method``: "recorded" or "searched".
    """

    matrix: np.ndarray
    size: tuple[int, int]
    angle: float
    method: str


def read_angles(path: Path) -> tuple[dict[str, float], list[str]]:
    """Read an angle file: on each line the name of a photograph, with or without extension, and degrees.

    Of several lines for a photograph the last counts: the authors' script adds lines and replaces copies.

    Returns:
        stem -> degrees, and one sentence for each line that cannot be read.
    """
    angles: dict[str, float] = {}
    faults = []
    for number, line in enumerate(path.read_text("utf-8-sig", errors="replace").splitlines(), start=1):
        # The originals part the two with a tab; a name may hold spaces.
        name, _, last = line.strip().replace(",", " ").replace("\t", " ").rpartition(" ")
        if not line.strip():
            continue
        try:
            angle = float(last)
        except ValueError:
            angle = math.nan
        stem = Path(name.strip()).name
        stem = stem.rsplit(".", 1)[0] if stem.lower().endswith((".jpg", ".jpeg")) else stem
        if not stem or not -360 <= angle <= 360:
            faults.append(f"{path}, line {number}: {line[:80]!r} is no photograph and angle; correct it")
        else:
            angles[stem] = angle
    return angles, faults


def turn_by(width: int, height: int, angle: float, grown: bool) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the (2, 3) matrix of turning clockwise by ``angle`` degrees, and the copy's width and height.

    About (width // 2, height // 2), as the data set's authors did; their canvas has ``grown`` to hold all.
    """
    centre = (width // 2, height // 2)
    matrix = cv2.getRotationMatrix2D(centre, -angle, 1.0)
    if not grown:
        return matrix, (width, height)
    cosine, sine = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = int(height * sine + width * cosine), int(height * cosine + width * sine)
    matrix[0, 2] += size[0] / 2 - centre[0]
    matrix[1, 2] += size[1] / 2 - centre[1]
    return matrix, size


def find_turn(photograph: np.ndarray, copy: np.ndarray, angle: float | None, name: str) -> Turn:
    """Find how ``copy`` came from ``photograph``, both uint8 RGB (H, W, 3).

    The canvas follows from the copy's size, the direction from the pixels of reduced copies. When neither
    direction fits, or no angle is recorded, angles up to :data:`SEARCHED` degrees are tried.

    Raises:
        PreparationError: nothing fits.
    """
    reduced = _Reduced(photograph, copy)
    best, correlation = None, -1.0
    if angle is not None:
        best, correlation = reduced.best([angle, -angle], "recorded")
    if correlation < LEAST_CORRELATION:
        tenths = range(-10 * SEARCHED, 10 * SEARCHED + 1)
        best, correlation = reduced.best([tenth / 10 for tenth in tenths], "searched")
    if best is None or correlation < LEAST_CORRELATION:
        raise PreparationError(
            f"rotated copy {name} is not its original turned by {angle} degrees or any up to {SEARCHED} "
            f"(best correlation {max(correlation, 0):.2f}); replace it, or set rotated: false"
        )
    return best


def turn_image(image: np.ndarray, turn: Turn) -> np.ndarray:
    """Turn a uint8 RGB image (H, W, 3) as the photograph was."""
    return cv2.warpAffine(image, turn.matrix, turn.size, flags=cv2.INTER_LINEAR, borderValue=BORDER)


def turn_labels(labels: np.ndarray, turn: Turn, outside: int) -> np.ndarray:
    """Turn uint8 labels (H, W), which keep their values; ``outside`` fills what the photograph lacks."""
    return cv2.warpAffine(labels, turn.matrix, turn.size, flags=cv2.INTER_NEAREST, borderValue=outside)


class _Reduced:
    """Grey reduced copies of a photograph and its turned copy, compared under candidate turns."""

    def __init__(self, photograph: np.ndarray, copy: np.ndarray) -> None:
        self._size = photograph.shape[1], photograph.shape[0]
        self._copy_size = copy.shape[1], copy.shape[0]
        self._scale = min(1.0, REDUCED / max(*self._size, *self._copy_size))
        self._photograph, self._copy = self._reduce(photograph), self._reduce(copy)

    def best(self, angles: Sequence[float], method: str) -> tuple[Turn | None, float]:
        """The turn among ``angles`` under which the two correlate most, and that correlation."""
        best: tuple[Turn | None, float] = (None, -1.0)
        for angle in angles:
            for grown in (True, False):
                matrix, size = turn_by(*self._size, angle, grown)
                if max(abs(size[k] - self._copy_size[k]) for k in (0, 1)) > 1:
                    continue
                correlation = self._correlation(matrix)
                if correlation > best[1] + 1e-9:
                    best = Turn(matrix, self._copy_size, float(angle), method), correlation
        return best

    def _correlation(self, matrix: np.ndarray) -> float:
        small = (_scaling(self._copy, self._copy_size) @ np.vstack([matrix, (0, 0, 1)]))[:2]
        small = small @ np.linalg.inv(_scaling(self._photograph, self._size))
        size = self._copy.shape[1], self._copy.shape[0]
        turned = cv2.warpAffine(self._photograph, small, size)
        inside = cv2.warpAffine(np.ones_like(self._photograph), small, size, flags=cv2.INTER_NEAREST) > 0
        seen, wanted = turned[inside].astype(np.float64), self._copy[inside].astype(np.float64)
        deviation = float(seen.std() * wanted.std())
        if deviation < 1e-6:
            return 0.0
        return float(np.mean((seen - seen.mean()) * (wanted - wanted.mean()))) / deviation

    def _reduce(self, image: np.ndarray) -> np.ndarray:
        size = (round(image.shape[1] * self._scale), round(image.shape[0] * self._scale))
        return cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)


def _scaling(reduced: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The (3, 3) matrix from pixels of a picture of ``size`` to those of its ``reduced`` copy."""
    x, y = reduced.shape[1] / size[0], reduced.shape[0] / size[1]
    # Pixel centres are at whole coordinates, so that the corner of the picture is at -0.5.
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
