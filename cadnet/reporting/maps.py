"""What a Siamese network sees: its DistMap and defect probability beside the pair (paper Fig. 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patheffects import withStroke

from cadnet.losses.contrastive import MARGIN_NG, MARGIN_OK
from cadnet.reporting.overlays import error_map, error_pixels, truth_map
from cadnet.reporting.style import INK, SOFT, figure_png

COLUMNS = ("inspected", "reference", "truth", "DistMap", "defect probability", "prediction")
LEGEND = (
    "DistMap: Euclidean distance between the features of image and reference (paper Eq. 7), one scale for "
    "all rows; the marks on its bar are the margins of the loss: background is to stay below "
    f"{MARGIN_OK}, defects are to come above {MARGIN_NG}. Defect probability: 1 minus the softmax of "
    "background. Prediction: white found, green missed, red false, blue wrong class; Err = wrong pixels in "
    "all."
)
"""Stated under the maps."""

OWN_SCALES = (
    "DistMap (paper Eq. 7) of each row on its own scale, from 0 to the largest distance: networks that no "
    "contrastive loss holds to its margins have far larger ones. Defect probability: 1 minus the softmax of "
    "background. Prediction: white found, green missed, red false, blue wrong class; Err = wrong pixels."
)
"""Stated under maps of several networks."""

_DISTANCE, _PROBABILITY = 3, 4
_CELL, _DPI = 1.75, 110
_WRITTEN: dict[str, Any] = {"fontsize": 9, "color": SOFT}


@dataclass(frozen=True)
class MapRow:
    """One sample.

    ``image``, ``reference``: uint8 RGB (H, W, 3); ``truth``, ``prediction``: uint8 labels (H, W), 255 in
    ``truth`` being ignored; ``distance``: float (h, w), non-negative; ``probability``: float (H, W) in
    [0, 1], of any defect. ``label`` says which sample it is and why it was chosen.
    """

    label: str
    image: np.ndarray
    reference: np.ndarray
    truth: np.ndarray
    distance: np.ndarray
    probability: np.ndarray
    prediction: np.ndarray


def map_figure(
    rows: Sequence[MapRow],
    title: str,
    margins: tuple[float, float] = (MARGIN_OK, MARGIN_NG),
    *,
    own_scales: bool = False,
) -> Figure:
    """Draw a row per sample under :data:`COLUMNS`, with colour bars for distance and probability.

    Args:
        rows: samples.
        title: one line above; it should say scale and seed.
        margins: marked on the bar of the distance, in its units.
        own_scales: draw each row's distance from 0 to its largest, which its label says; then no margins.

    Raises:
        ValueError: no rows.
    """
    if not rows:
        raise ValueError("there are no samples to draw maps of")
    shape = rows[0].truth.shape
    tall = _CELL * shape[0] / shape[1] + 0.24
    height = 0.75 + len(rows) * tall + 0.62
    width = (len(COLUMNS) + 0.05 * (len(COLUMNS) - 1)) * _CELL + 0.2
    figure = Figure(figsize=(width, height), facecolor="white")
    line = figure.text(0.1 / width, 1 - 0.12 / height, title, va="top", color=INK)
    line.set(fontsize=12, fontweight="bold")
    # A long title is written smaller instead of running out of the picture.
    room = (width - 0.2) * figure.dpi / line.get_window_extent(FigureCanvasAgg(figure).get_renderer()).width
    line.set_fontsize(12 * min(1.0, room))
    edges = {"left": 0.1 / width, "right": 1 - 0.1 / width, "wspace": 0.05, "hspace": 0.24 / (tall - 0.24)}
    grid = GridSpec(
        len(rows), len(COLUMNS), figure, top=1 - 0.75 / height, bottom=0.62 / height, **edges
    )  # fmt: skip
    scale = distance_scale([row.distance for row in rows], margins[1])
    for number, row in enumerate(rows):
        axes = [figure.add_subplot(grid[number, column]) for column in range(len(COLUMNS))]
        largest = float(row.distance.max())
        _draw(axes, row, Normalize(0.0, largest or 1.0) if own_scales else scale)
        label = f"{row.label}; distances up to {largest:.2g}" if own_scales else row.label
        axes[0].set_title(label, loc="left", pad=3, **_WRITTEN)
        if number == 0:
            for one, name in zip(axes, COLUMNS, strict=True):
                one.annotate(
                    name, (0, 1), (0, 17), "axes fraction", "offset points", fontsize=10, color=INK
                )  # fmt: skip
    _bars(figure, None if own_scales else scale, margins, height)
    return figure


def map_png(rows: Sequence[MapRow], title: str, *, own_scales: bool = False) -> bytes:
    """:func:`map_figure` as PNG bytes."""
    return figure_png(map_figure(rows, title, own_scales=own_scales), dpi=_DPI)


def distance_scale(distances: Sequence[np.ndarray], upper_margin: float) -> Normalize:
    """One colour scale from 0 to what all but 0.5 % of the pixels stay below, and beyond the upper margin."""
    pixels = np.concatenate([np.asarray(distance, np.float64).ravel() for distance in distances])
    return Normalize(0.0, max(1.2 * upper_margin, float(np.quantile(pixels, 0.995))), clip=True)


def _draw(axes: Sequence[Axes], row: MapRow, scale: Normalize) -> None:
    height, width = row.truth.shape
    look: dict[str, Any] = {"extent": (0, width, height, 0), "interpolation": "nearest"}
    axes[0].imshow(row.image, **look)
    axes[1].imshow(row.reference, **look)
    axes[2].imshow(truth_map(row.truth), **look)
    axes[_DISTANCE].imshow(row.distance, cmap="viridis", norm=scale, **look)
    axes[_PROBABILITY].imshow(row.probability, cmap="magma", vmin=0, vmax=1, **look)
    axes[5].imshow(error_map(row.truth, row.prediction), **look)
    wrong = error_pixels(row.truth, row.prediction)
    text = axes[5].text(0.02, 0.98, f"Err {wrong}", transform=axes[5].transAxes, va="top", fontsize=10)
    text.set(color="#ffd600", path_effects=[withStroke(linewidth=2, foreground="black")])
    for one in axes:
        one.set_axis_off()


def _bars(figure: Figure, scale: Normalize | None, margins: tuple[float, float], height: float) -> None:
    """Colour bars under their columns; without a ``scale`` that of the distance runs to the row's largest."""
    part = "share of the row's largest distance"
    distance: tuple[str, Normalize, list[float], str] = ("viridis", Normalize(0, 1), [0, 1], part)
    if scale is not None:
        distance = ("viridis", scale, [*margins, float(scale.vmax or 1.0)], "feature distance")
    ticks: dict[int, tuple[str, Normalize, list[float], str]] = {
        _DISTANCE: distance,
        _PROBABILITY: ("magma", Normalize(0, 1), [0, 0.5, 1], "probability of a defect"),
    }
    for column, (name, norm, values, text) in ticks.items():
        above = figure.axes[column].get_position()
        axes = figure.add_axes(
            (above.x0 + 0.05 * above.width, 0.44 / height, 0.9 * above.width, 0.1 / height)
        )
        bar = figure.colorbar(ScalarMappable(norm, name), cax=axes, orientation="horizontal")
        bar.set_ticks(values, labels=[f"{value:.2g}" for value in values])
        bar.set_label(text, labelpad=1, **_WRITTEN)
        axes.tick_params(labelsize=8, colors=INK, length=2, pad=1)
        bar.outline.set_visible(False)
        if column == _DISTANCE and scale is not None:
            for margin in margins:
                axes.axvline(margin, color="black", linewidth=3)
                axes.axvline(margin, color="white", linewidth=1.4)
