"""Faces drawn by formula, for test patterns whose picture may be used by anybody.

A head is a relief: an ellipsoid with nose, brows, sockets, cheeks and lips added as smooth hills and hollows.
Its slopes are lit from one side; skin, eyes, hair of single strands and clothes are coloured on top.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

Color = tuple[int, int, int]
Paint = Callable[..., None]
"""(colour, cover 0..1 of shape (H, W), brightness) -> None: lays a colour over the picture."""

OVERSAMPLING = 2
"""Faces are drawn at this many times their size, so that edges come out smooth."""


@dataclass(frozen=True)
class Portrait:
    """A face: colours, the direction of the light (-1 left to 1 right) and what tells people apart.

    ``hair_length``: 0 ends at the brows, 1 at the shoulders. ``width`` and ``jaw`` are relative to an average
    face. ``seed`` decides strands, pores and the fabric.
    """

    skin: Color
    hair: Color
    iris: Color
    clothes: Color
    seed: int
    light: float = -0.6
    hair_length: float = 0.3
    width: float = 1.0
    jaw: float = 1.0
    beard: float = 0.0
    glasses: bool = False


def _hill(x: np.ndarray, y: np.ndarray, at: tuple[float, float], size: tuple[float, float]) -> np.ndarray:
    """A smooth hill of height 1."""
    return np.exp(-(((x - at[0]) / size[0]) ** 2) - ((y - at[1]) / size[1]) ** 2)


def _step(values: np.ndarray, width: float) -> np.ndarray:
    """0 below zero and 1 above, with a soft edge of ``width``."""
    return np.clip(values / width + 0.5, 0, 1)


def _strands(shape: tuple[int, int], along: float, across: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of mean 0 and deviation 1, ``along`` by ``across`` pixels fine, running down."""
    noise = rng.standard_normal(shape, np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), sigmaX=across, sigmaY=along)
    return np.asarray(smooth / smooth.std(), np.float32)


def _relief(x: np.ndarray, y: np.ndarray, who: Portrait) -> tuple[np.ndarray, np.ndarray]:
    """Height of the head, and how far inside its outline a point lies (1 in the middle, 0 at the outline)."""
    narrowing = 1 - 0.34 * who.jaw * np.clip(y - 0.05, 0, None) ** 1.6
    inside = 1 - (x / (0.47 * who.width * narrowing)) ** 2 - ((y + 0.02) / 0.64) ** 2
    height = 0.42 * np.sqrt(np.clip(inside, 0, None))
    side = np.abs(x)
    height += 0.10 * _hill(x, y, (0, 0.12), (0.085, 0.09)) + 0.055 * _hill(x, y, (0, -0.04), (0.05, 0.17))
    height += 0.022 * _hill(side, y, (0.065, 0.16), (0.045, 0.04))
    height -= 0.055 * _hill(side, y, (0.185, -0.08), (0.12, 0.075))
    height += 0.030 * _hill(side, y, (0.19, -0.2), (0.15, 0.05))
    height += 0.030 * _hill(side, y, (0.25, 0.12), (0.12, 0.1))
    height += 0.030 * _hill(x, y, (0, 0.325), (0.11, 0.025)) + 0.036 * _hill(x, y, (0, 0.39), (0.10, 0.03))
    height += 0.030 * _hill(x, y, (0, 0.52), (0.12, 0.07)) - 0.022 * _hill(x, y, (0, 0.357), (0.13, 0.012))
    return height, inside


def _lit(height: np.ndarray, pixel: float, light: float) -> np.ndarray:
    """Brightness of a matt relief, about 0.3 to 1.1, with a little gloss."""
    down, right = np.gradient(cv2.GaussianBlur(height, (0, 0), 1.5), pixel)
    length = np.sqrt(right**2 + down**2 + 1)
    toward = np.array([light, -0.55, 0.85]) / np.linalg.norm([light, -0.55, 0.85])
    matt = np.clip((-right * toward[0] - down * toward[1] + toward[2]) / length, 0, None)
    return 0.3 + 0.72 * matt + 0.12 * matt**24


def _paint_eyes(paint: Paint, x: np.ndarray, y: np.ndarray, iris: Color, lit: np.ndarray) -> None:
    side, up = np.abs(x) - 0.19, y + 0.075
    lid = 0.034 * np.clip(1 - (side / 0.085) ** 2, 0, None)
    open_eye = _step(lid - 0.004 - np.abs(up + 0.002), 0.008)
    paint((238, 232, 226), open_eye, np.clip(lit + 0.1, 0.3, 1))
    # Both eyes look the same way, so the iris is placed by x and not by its mirror image.
    from_pupil = np.hypot(np.minimum(np.abs(x - 0.192), np.abs(x + 0.188)), up)
    paint(iris, open_eye * _step(0.034 - from_pupil, 0.008), 0.55 + 14 * from_pupil)
    paint((8, 8, 10), open_eye * _step(0.016 - from_pupil, 0.006))
    glint = np.hypot(np.minimum(np.abs(x - 0.18), np.abs(x + 0.2)), up + 0.012)
    paint((255, 255, 255), open_eye * _step(0.007 - glint, 0.004))
    upper = np.abs(up + lid + 0.002) + 0.3 * np.clip(np.abs(side) - 0.085, 0, None)
    paint((35, 22, 18), 0.85 * _step(0.008 - upper, 0.008) * _step(0.095 - np.abs(side), 0.01))
    fold = np.abs(up + 1.25 * lid + 0.018)
    paint((70, 40, 32), 0.35 * _step(0.005 - fold, 0.008) * _step(0.09 - np.abs(side), 0.02))


def draw_portrait(backdrop: np.ndarray, who: Portrait) -> np.ndarray:
    """Draw a head and shoulders before ``backdrop``, uint8 RGB (H, W, 3), which is not changed."""
    tall, wide = (side * OVERSAMPLING for side in backdrop.shape[:2])
    out = cv2.resize(backdrop, (wide, tall), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    pixel = 2.0 / min(tall, wide) * 0.92
    y, x = np.mgrid[:tall, :wide].astype(np.float32)
    x, y = (x - wide / 2) * pixel, (y - tall / 2) * pixel + 0.14
    rng = np.random.default_rng(who.seed)
    soft, shape = 3 * pixel, (tall, wide)

    def paint(color: Color | np.ndarray, cover: np.ndarray, shade: np.ndarray | float = 1.0) -> None:
        full = np.asarray(color, np.float32) * np.asarray(shade, np.float32)[..., None]
        out[:] += cover[..., None] * (full - out)

    strands = _strands(shape, 30, 1.1, rng)
    height, inside = _relief(x, y, who)
    side = np.abs(x)
    # Hair behind the head, shoulders, neck, then the face itself.
    falls = _step(1.15 * who.hair_length - 0.12 - y + 0.06 * strands, 0.08)
    mane = np.where(y < 0, 1 - (x / 0.57) ** 2 - ((y + 0.08) / 0.72) ** 2, 1 - (x / (0.57 + 0.12 * y)) ** 2)
    wisps = 0.05 * strands
    behind = _step(mane + wisps, 0.05) * falls
    paint(who.hair, behind, np.clip(0.5 + 0.22 * strands, 0.05, 1.4))
    shoulder = y - 0.72 - 0.42 * np.clip(side - 0.2, 0, None) ** 1.5
    weave = 0.1 * np.sin(x * 90) * np.sin(y * 90) + 0.05 * _strands(shape, 2, 2, rng)
    paint(who.clothes, _step(shoulder, soft), np.clip(0.85 + weave + 0.35 * who.light * x, 0.1, 1.3))
    neck = _step(0.24 - side, soft) * _step(y - 0.3, soft) * _step(0.86 - 0.9 * side**1.5 - y, soft)
    paint(
        who.skin,
        neck,
        np.clip(0.55 + 0.9 * who.light * x - 0.25 * _hill(x, y, (0, 0.62), (0.3, 0.1)), 0.2, 1),
    )
    skin = np.empty((tall, wide, 3), np.float32)
    skin[:] = who.skin
    red = 0.12 * _hill(side, y, (0.24, 0.15), (0.12, 0.11)) + 0.08 * _hill(x, y, (0, 0.14), (0.08, 0.07))
    pores = 1 + 0.018 * _strands(shape, 1.2, 1.2, rng)
    skin *= pores[..., None] * (1 - red[..., None] * np.array([0.0, 0.9, 0.8], np.float32))
    face = _step(inside, 0.02)
    lit = _lit(height, pixel, who.light)
    paint(skin, face, lit)
    lips = np.maximum(
        _step(1 - (x / 0.135) ** 2 - ((y - 0.33) / 0.032) ** 2, 0.5),
        _step(1 - (x / 0.12) ** 2 - ((y - 0.385) / 0.036) ** 2, 0.5),
    )
    paint(np.asarray(who.skin) * (0.86, 0.52, 0.52), 0.75 * lips, lit)
    paint((60, 20, 20), 0.7 * _hill(x, y, (0, 0.357), (0.12, 0.008)))
    paint((40, 20, 15), 0.6 * _hill(side, y, (0.045, 0.195), (0.022, 0.012)))
    _paint_eyes(paint, x, y, who.iris, lit)
    dark = np.clip(0.55 + 0.25 * strands, 0.1, 1.2)
    arch = y + 0.18 + 0.05 * np.cos((side - 0.2) * 9)
    brow = _step(1 - ((side - 0.19) / 0.125) ** 2 - (arch / 0.024) ** 2 + 0.35 * strands, 0.5)
    paint(who.hair, 0.85 * brow, dark)
    if who.beard:
        chin = _step(0.62 * (y - 0.24 + 0.5 * side**2 + 0.8 * np.clip(side - 0.2, 0, None)), 0.14) * (
            1 - lips
        )
        paint(who.hair, who.beard * face * chin * np.clip(0.75 + 0.3 * strands, 0, 1), dark * lit)
    if who.glasses:
        ring = np.abs(np.sqrt(((side - 0.19) / 0.145) ** 2 + ((y + 0.08) / 0.115) ** 2) - 1)
        bridge = _step(0.012 - np.abs(y + 0.1 - 0.4 * x**2), soft) * _step(0.05 - side, soft)
        paint((25, 25, 28), np.maximum(_step(0.09 - ring, 0.05), bridge))
    # The hairline: a fringe that falls from the crown over the forehead and down beside the cheeks.
    crown = np.sqrt((x / 0.5) ** 2 + ((y + 0.08) / 0.66) ** 2)
    line = -0.36 - 0.10 * np.cos(7 * x + who.seed) + 0.9 * np.clip(side - 0.28, 0, None) + 0.02 * strands
    front = np.maximum(_step(line - y, 0.06), _step(side - 0.43 * who.width + 0.02 * strands, 0.03) * falls)
    shine = 0.62 + 0.26 * strands + 0.35 * _hill(crown, y, (0.62, -0.45), (0.1, 0.2)) + 0.25 * who.light * x
    paint(who.hair, front * _step(mane + wisps, 0.05) * _step(0.55 - y, 0.2), np.clip(shine, 0.05, 1.6))
    small = cv2.resize(out, backdrop.shape[1::-1], interpolation=cv2.INTER_AREA)
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)
