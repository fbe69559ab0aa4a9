"""Colours of classes."""

from __future__ import annotations

import colorsys

# Okabe and Ito's colours, which people with any colour vision tell apart; black is left to the background.
_SAFE = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0),
    (204, 121, 167),
)  # fmt: skip
_GOLDEN = 0.618034


def palette(count: int) -> tuple[tuple[int, int, int], ...]:
    """Return ``count`` RGB colours: the colour-blind safe ones first, then hues by the golden angle."""
    more = []
    for index in range(count - len(_SAFE)):
        hue, light = (0.05 + index * _GOLDEN) % 1, (0.35, 0.65)[index % 2]
        red, green, blue = colorsys.hls_to_rgb(hue, light, 0.75)
        more.append((round(red * 255), round(green * 255), round(blue * 255)))
    return (*_SAFE[:count], *more)
