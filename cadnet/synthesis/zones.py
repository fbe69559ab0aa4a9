"""The zones of a display test pattern (paper Fig. 4): blocks, text, chromaticity chart, grey transition.

Every function returns a new uint8 RGB array of the asked height and width and is deterministic.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

Color = tuple[int, int, int]

GAMUT = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255))
"""The six saturated corners of the RGB cube in hue order."""


def _canvas(height: int, width: int, color: Color = (0, 0, 0)) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)


def _steps(length: int, count: int) -> list[int]:
    """Borders of ``count`` nearly equal parts of ``length`` pixels, count + 1 values."""
    return [round(length * i / count) for i in range(count + 1)]


def block_grid(height: int, width: int, colors: Sequence[Color], columns: int) -> np.ndarray:
    """Solid blocks, row by row, ``columns`` to a row."""
    out = _canvas(height, width)
    rows = _steps(height, -(-len(colors) // columns))
    for i, color in enumerate(colors):
        row, column = divmod(i, columns)
        in_row = min(columns, len(colors) - row * columns)
        edges = _steps(width, in_row)
        out[rows[row] : rows[row + 1], edges[column] : edges[column + 1]] = color
    return out


def block_frames(height: int, width: int, colors: Sequence[Color]) -> np.ndarray:
    """Solid rectangles inside each other, the first colour outermost."""
    out = _canvas(height, width)
    for i, color in enumerate(colors):
        top, left = round(height * i / (2 * len(colors))), round(width * i / (2 * len(colors)))
        out[top : height - top, left : width - left] = color
    return out


def block_windows(height: int, width: int, colors: Sequence[Color], columns: int) -> np.ndarray:
    """A grid of blocks, each with a window of the colour half the list further on."""
    out = block_grid(height, width, colors, columns)
    rows = _steps(height, -(-len(colors) // columns))
    edges = _steps(width, columns)
    for i in range(len(colors)):
        row, column = divmod(i, columns)
        tall, wide = rows[row + 1] - rows[row], edges[column + 1] - edges[column]
        top, left = rows[row] + tall // 3, edges[column] + wide // 3
        out[top : top + tall // 3, left : left + wide // 3] = colors[(i + len(colors) // 2) % len(colors)]
    return out


def chart_wheel(height: int, width: int, paper: Color = (0, 0, 0)) -> np.ndarray:
    """Hue by angle and saturation by radius, in an ellipse on ``paper``."""
    y = (np.arange(height, dtype=np.float32)[:, None] + 0.5) / height * 2 - 1
    x = (np.arange(width, dtype=np.float32)[None, :] + 0.5) / width * 2 - 1
    radius = np.sqrt(x * x + y * y) / 0.94
    hsv = np.empty((height, width, 3), np.float32)
    hsv[..., 0] = np.degrees(np.arctan2(y, x)) % 360
    hsv[..., 1] = np.minimum(radius, 1)
    hsv[..., 2] = 1
    out = np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8)
    out[radius > 1] = paper
    return out


def chart_spectrum(height: int, width: int, paper: Color = (0, 0, 0)) -> np.ndarray:
    """Hue from left to right, white at the top over full colour to black at the bottom; ``paper`` margins."""
    margin = max(1, height // 16)
    inner_height, inner_width = height - 2 * margin, width - 2 * margin
    down = np.linspace(0, 2, inner_height, dtype=np.float32)[:, None]
    hsv = np.empty((inner_height, inner_width, 3), np.float32)
    hsv[..., 0] = np.linspace(0, 359, inner_width, dtype=np.float32)[None, :]
    hsv[..., 1] = np.minimum(down, 1)
    hsv[..., 2] = np.minimum(2 - down, 1)
    out = _canvas(height, width, paper)
    picture = np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8)
    out[margin : height - margin, margin : width - margin] = picture
    return out


def chart_triangle(height: int, width: int, paper: Color = (0, 0, 0)) -> np.ndarray:
    """The chromaticity triangle: red left, green top, blue right, every colour at full brightness."""
    y = (np.arange(height, dtype=np.float32)[:, None] + 0.5) / height
    x = (np.arange(width, dtype=np.float32)[None, :] + 0.5) / width
    green = (0.96 - y) / 0.92
    blue = (x - 0.06) / 0.88 - green / 2
    weights = np.stack(np.broadcast_arrays(1 - green - blue, green, blue), axis=-1)
    inside = (weights >= 0).all(axis=-1)
    bright = weights / np.maximum(weights.max(axis=-1, keepdims=True), 1e-6)
    out = np.rint(np.clip(bright, 0, 1) * 255).astype(np.uint8)
    out[~inside] = paper
    return out


def chart_ramps(height: int, width: int, colors: Sequence[Color] = GAMUT) -> np.ndarray:
    """One row per colour, running from black over the colour to white."""
    out = _canvas(height, width)
    rows = _steps(height, len(colors))
    along = np.linspace(0, 2, width, dtype=np.float32)[:, None]
    for i, color in enumerate(colors):
        full = np.asarray(color, np.float32)
        row = np.minimum(along, 1) * full + np.maximum(along - 1, 0) * (255 - full)
        out[rows[i] : rows[i + 1]] = np.rint(row).astype(np.uint8)[None]
    return out


def chart_patches(height: int, width: int, rows: int, columns: int, paper: Color) -> np.ndarray:
    """Separate patches, hue along the row and falling brightness from row to row."""
    out = _canvas(height, width, paper)
    down, along = _steps(height, rows), _steps(width, columns)
    gap = max(1, min(height // rows, width // columns) // 10)
    for i in range(rows):
        for j in range(columns):
            pixel = np.array([[[360 * j / columns, 1 - 0.25 * (i % 2), 1 - 0.7 * i / rows]]], np.float32)
            color = np.rint(cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0] * 255)
            out[down[i] + gap : down[i + 1] - gap, along[j] + gap : along[j + 1] - gap] = color
    return out


def _grey(levels: np.ndarray) -> np.ndarray:
    """Levels in 0..1 (H, W) as RGB."""
    return np.repeat(np.rint(np.clip(levels, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=-1)


def grey_horizontal(height: int, width: int, steps: int = 0) -> np.ndarray:
    """Black at the left to white at the right; ``steps`` > 1 gives that many equal bars instead."""
    level = np.linspace(0, 1, width)
    if steps > 1:
        level = np.minimum(np.floor(level * steps), steps - 1) / (steps - 1)
    return _grey(np.broadcast_to(level, (height, width)))


def grey_vertical(height: int, width: int, steps: int = 0) -> np.ndarray:
    """White at the top to black at the bottom; ``steps`` > 1 gives that many equal bars instead."""
    return np.ascontiguousarray(np.rot90(grey_horizontal(width, height, steps)))


def grey_opposed(height: int, width: int, bands: int, steps: int = 0) -> np.ndarray:
    """Bands of horizontal transitions, every other one reversed; ``steps`` bars in every second band."""
    out = _canvas(height, width)
    edges = _steps(height, bands)
    for i in range(bands):
        band = grey_horizontal(edges[i + 1] - edges[i], width, steps if i % 2 else 0)
        out[edges[i] : edges[i + 1]] = band[:, ::-1] if i % 2 else band
    return out


def grey_radial(height: int, width: int) -> np.ndarray:
    """White in the middle to black at the corners."""
    y = (np.arange(height, dtype=np.float32)[:, None] + 0.5) / height * 2 - 1
    x = (np.arange(width, dtype=np.float32)[None, :] + 0.5) / width * 2 - 1
    return _grey(1 - np.sqrt((x * x + y * y) / 2))


def text_block(
    height: int, width: int, lines: Sequence[str], inks: Sequence[Color], paper: Color, font: int
) -> np.ndarray:
    """Lines of ASCII text, each as large as fits its row; ``inks`` repeat from line to line."""
    out = _canvas(height, width, paper)
    margin = max(2, width // 24)
    rows = _steps(height - 2 * margin, len(lines))
    for i, line in enumerate(lines):
        tall = rows[i + 1] - rows[i]
        (unit_width, unit_height), _ = cv2.getTextSize(line, font, 1.0, 1)
        scale = min((width - 2 * margin) / unit_width, 0.62 * tall / unit_height)
        weight = 2 if scale > 1 else 1
        # Glyphs do not scale in proportion, so the size found is checked and, rarely, lowered.
        while cv2.getTextSize(line, font, scale, weight)[0][0] > width - 2 * margin and scale > 0.1:
            scale *= 0.97
        origin = (margin, margin + rows[i] + round(0.72 * tall))
        cv2.putText(out, line, origin, font, scale, inks[i % len(inks)], weight, cv2.LINE_AA)
    return out
