"""How every chart looks: colours by method id, one size, titles and legends that cover no line.

Charts are drawn on the object interface of matplotlib with the Agg canvas, so nothing global is touched and
threads or a missing display do not matter. They are small on purpose: a page shows them side by side, a
telephone one below the other at a size where their text can still be read.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cadnet.reporting.pages import Picture
from cadnet.reporting.published import PAPER_NAMES

COLOURS = {
    "CADNet": "#0b6e8f", "SegFormer": "#d97b29", "DeepLabV3+": "#6a9a3b", "OCRNet": "#8a62a8",
    "DANet": "#b8475a", "PSPNet": "#8c7a5b", "FCN": "#7f8790",
    "DCT": "#8c7a5b", "UAMT": "#b8475a", "CPS": "#6a9a3b", "UCC": "#8a62a8", "UAPS": "#d97b29",
}  # fmt: skip
"""One colour per method of the paper, the same in every chart; methods that never meet in one share them."""
FURTHER_COLOURS = ("#1f2a44", "#d4b106", "#58b4e0", "#e08fb9", "#5a3a1e", "#2fb5a5")
"""For methods that the paper does not have, in order; readers with colour blindness can tell them apart."""
INK, FAINT, SOFT = "#2a3036", "#d9dee3", "#5b6570"
BETTER, WORSE = "#1d7a46", "#b03a3a"
PAPER_MARK = "paper, at its full scale"
MARKERS, DASHES = "oDs^vPX<>p*h", ("-", "--", "-.", ":")
FEW_LINES = 4
"""Of more lines than this not all readers can tell the colours apart; dashes help."""
_NARROW = 30
"""Longest label of a legend in two columns."""

Looks = Mapping[str, Mapping[str, Any]]
"""Properties of each method's line, by method id."""


def method_colours(methods: Sequence[str]) -> dict[str, str]:
    """Assign a colour to every method id."""
    further = [method for method in methods if method not in PAPER_NAMES]
    return {
        method: COLOURS[PAPER_NAMES[method]]
        if method in PAPER_NAMES
        else FURTHER_COLOURS[further.index(method) % len(FURTHER_COLOURS)]
        for method in methods
    }


def method_looks(methods: Sequence[str], reference: str) -> dict[str, dict[str, Any]]:
    """Colour, dash, marker and weight of every method's line; the reference is solid, thick and on top."""
    dashes = DASHES if len(methods) > FEW_LINES else DASHES[:1]
    colours, looks = method_colours(methods), {}
    for number, method in enumerate(sorted(methods, key=lambda method: method != reference)):
        weight = {"linewidth": 2.2, "zorder": 3} if method == reference else {"linewidth": 1.4}
        mark = {"marker": MARKERS[number % len(MARKERS)], "markersize": 5}
        looks[method] = {
            "color": colours[method], "linestyle": dashes[number % len(dashes)], **mark, **weight
        }  # fmt: skip
    return {method: looks[method] for method in methods}


def plain_line(look: Mapping[str, Any]) -> dict[str, Any]:
    """A method's look without its marker, for lines of many points."""
    return {key: value for key, value in look.items() if not key.startswith("marker")}


def blank_chart(title: str, height: float = 3.3) -> tuple[Figure, Axes]:
    """A figure of one axes under its title, which is broken into lines where it is long."""
    figure = Figure(figsize=(4.7, height), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    text = "\n".join(textwrap.wrap(title, 46))
    axes.set_title(text, loc="left", fontsize=11, fontweight="bold", color=INK, pad=9)
    axes.grid(color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#9aa4ad")
    axes.tick_params(colors=INK, labelsize=9, length=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_color(INK)
    return figure, axes


def legend_below(axes: Axes) -> None:
    """A legend under the axes, where it covers nothing, the paper's mark last; none without labels."""
    handles, labels = axes.get_legend_handles_labels()
    if not labels or not isinstance(axes.figure, Figure):
        return
    order = sorted(range(len(labels)), key=lambda k: labels[k] == PAPER_MARK)
    columns = 2 if max(map(len, labels)) <= _NARROW and len(labels) > 1 else 1
    lines = -(-len(labels) // columns)
    axes.figure.set_figheight(axes.figure.get_figheight() + 0.2 * lines)
    axes.figure.legend(
        [handles[k] for k in order], [labels[k] for k in order],
        loc="outside lower center", ncols=columns, frameon=False, fontsize=9,
    )  # fmt: skip


def figure_png(figure: Figure, dpi: int = 160) -> bytes:
    """Render a figure as PNG bytes; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def picture(figure: Figure, title: str, numbers: Mapping[str, float | None], unit: str = " %") -> Picture:
    """Render a chart; its text names what it shows and its main numbers."""
    known = [f"{name} {value:.1f}{unit}" for name, value in numbers.items() if value is not None]
    return Picture(figure_png(figure), f"{title}: {'; '.join(known) or 'not defined'}.")
