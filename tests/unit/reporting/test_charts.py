"""What the charts draw, and that their legends cover nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fakes import (
    CLASSES,
    LETTERS,
    LEVELS,
    NAMES,
    NINE,
    THREE,
    TITLES,
    cross_trials,
    fake_trial,
    given,
    methods,
)
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from cadnet.evaluation.curves import curve
from cadnet.reporting import charts
from cadnet.reporting.published import published_results
from cadnet.reporting.style import (
    BETTER,
    COLOURS,
    SOFT,
    WORSE,
    blank_chart,
    figure_png,
    legend_below,
    method_colours,
    method_looks,
)
from cadnet.reporting.tables import CROSS_MEASURES, condition_table, cross_conditions, results_table


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures in the order in which they are rendered; no pixel is drawn."""
    figures: list[Figure] = []

    def keep(
        figure: Figure, title: str, numbers: dict[str, float | None], unit: str = " %"
    ) -> tuple[Any, ...]:
        figures.append(figure)
        return title, dict(numbers), unit

    monkeypatch.setattr(charts, "picture", keep)
    return figures


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def ticks(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_yticklabels()]


def test_validation_lines_are_means_over_seeds(drawn: list[Figure]) -> None:
    trials = [fake_trial("cadnet", seed) for seed in (0, 1)]
    charts.history_chart(methods(trials), "val_miou", "Validation mIoU", "mIoU (%)")
    lines = {line.get_label(): line for line in drawn[0].axes[0].lines}
    expected = np.mean([trial.history["val_miou"] for trial in trials], axis=0)
    assert np.asarray(lines["CADNet"].get_ydata()) == pytest.approx(100 * expected)
    assert drawn[0].axes[0].get_ylabel() == "mIoU (%)" and labels(drawn[0]) == ["CADNet"]
    assert charts.history_chart(methods(trials), "disagreement", "None", "") is None


def test_losses_show_total_and_parts(drawn: list[Figure]) -> None:
    for method, names in (("cadnet", ["total", "ce", "bcl"]), ("segformer", ["total"])):
        charts.loss_chart(fake_trial(method, 0), "Loss", "#000000")
        assert [line.get_label() for line in drawn[-1].axes[0].lines] == names
    bare = dataclasses.replace(fake_trial("cadnet", 0), history=None)
    assert charts.loss_chart(bare, "Loss", "#000000") is None


def test_curves_draw_the_numbers_and_name_the_average_precision(drawn: list[Figure]) -> None:
    trials = [fake_trial(method, 0) for method in ("cadnet", "fcn")]
    histograms = np.array([[6, 2, 0, 0], [0, 1, 0, 3]]), np.array([[5, 1], [0, 0]])
    scored = [
        dataclasses.replace(trial, result=dataclasses.replace(trial.result, curves=(curve(one),) * 2))
        for trial, one in zip(trials, histograms, strict=True)
    ]
    charts.curve_charts(methods(scored), 1)
    recall, fscore = (figure.axes[0] for figure in drawn)
    assert np.asarray(recall.lines[0].get_xdata()) == pytest.approx([100, 100, 75, 75])
    assert labels(drawn[0]) == ["CADNet, AP 91.7 %", "FCN, AP not defined"]
    assert np.asarray(fscore.lines[0].get_ydata()).max() == pytest.approx(600 / 7)
    assert fscore.get_ylabel() == "Fscore of abnormal points (%)"


@pytest.mark.parametrize("count", [1, 6])
def test_bars_and_dots_show_our_numbers_and_the_papers(drawn: list[Figure], count: int) -> None:
    """Few bars, and the lines of dots that many methods and classes get instead."""
    classes = [f"{name}{k}" for name in CLASSES for k in range(count)]
    trials = [given(method, seed, 50 + seed, classes=classes) for method in THREE for seed in (0, 1)]
    table = results_table(methods(trials), published_results("table5_mvtec", classes, THREE))
    charts.iou_chart(table, classes)
    axes = drawn[0].axes[0]
    assert len(ticks(drawn[0])) == 2 * count + 1 and ticks(drawn[0])[-1] == "mIoU"
    assert set(labels(drawn[0])) == {*(TITLES[m] for m in THREE), "paper, at its full scale"}
    assert labels(drawn[0])[-1] == "paper, at its full scale"
    assert bool(axes.patches) == (count == 1)
    widths = [patch.get_width() for patch in axes.patches]
    assert widths == pytest.approx([50.5] * len(widths))
    marks = {line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1}
    assert set(table["miou_paper"]) <= marks


def interval_row(
    label: str, image: tuple[float, float], group: tuple[float, float] | None = None
) -> dict[str, Any]:
    wide = group if group is not None and group[1] - group[0] > image[1] - image[0] else image
    low, high = group or (np.nan, np.nan)
    return {
        "label": label, "difference": 10.0, "low": wide[0], "high": wide[1], "image_low": image[0],
        "image_high": image[1], "group_low": low, "group_high": high,
    }  # fmt: skip


def test_intervals_are_coloured_by_where_zero_lies(drawn: list[Figure]) -> None:
    rows = [
        interval_row("ahead", (2, 20)), interval_row("open", (-10, 20), (5, 12)),
        interval_row("behind", (-20, -10)),
        interval_row("undefined", (np.nan, np.nan)),
    ]  # fmt: skip
    charts.interval_chart(pd.DataFrame(rows), "A against B", "A minus B", "boards")
    axes = drawn[0].axes[0]
    assert ticks(drawn[0]) == ["ahead", "open", "behind"]
    assert set(labels(drawn[0])) == {"95 % over images", "95 % over boards"}
    found = {tuple(line.get_xdata()): line for line in axes.lines if len(set(line.get_xdata())) == 2}
    assert {ends: to_hex(line.get_color()) for ends, line in found.items()} == {
        (2, 20): BETTER, (5, 12): BETTER, (-10, 20): SOFT, (-20, -10): WORSE,
    }  # fmt: skip
    # The group's interval is the narrower one: it is drawn, but faintly.
    assert (found[5, 12].get_alpha(), found[-10, 20].get_alpha()) == (0.4, 1)
    assert charts.interval_chart(pd.DataFrame(rows[3:]), "", "") is None


def test_a_varied_number_is_drawn_with_what_validation_chooses(drawn: list[Figure]) -> None:
    trials = [
        given(m, s, test, 60 + test) for m, test in (("w0", 30), ("cadnet", 20), ("w1", 10)) for s in (0, 1)
    ]
    values = {"w0": 0.0, "cadnet": 0.02, "w1": 1.0}
    charts.axis_chart(methods(trials), "weight lambda_2", values, "w0")
    axes = drawn[0].axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "0.02", "1"]
    assert [text.get_fontweight() for text in axes.get_xticklabels()] == ["normal", "bold", "normal"]
    (ring,) = [line for line in axes.lines if line.get_label() == "chosen by validation"]
    assert ring.get_ydata()[0] == pytest.approx(30)
    assert charts.axis_positions([1, 2, 3]) == ([1, 2, 3], False)
    positions, zero = charts.axis_positions([0, 0.01, 1])
    assert zero and positions == pytest.approx([-2.5, -2, 0])


def test_cross_tests_have_a_bar_per_pair_and_method(drawn: list[Figure]) -> None:
    trials = cross_trials({"cadnet": {"LL": [80], "LA": [40]}, "fcn": {"LL": [60], "LA": [1]}})
    conditions = cross_conditions(trials, LETTERS)
    table = condition_table(methods(trials), conditions, CROSS_MEASURES)
    charts.cross_chart(table, conditions, NAMES, CROSS_MEASURES[0])
    assert [patch.get_width() for patch in drawn[0].axes[0].patches] == pytest.approx([80, 60, 40, 1])
    assert labels(drawn[0]) == ["LL: line, tested on line", "LA: line, tested on abnormal points"]


def test_few_labels_are_drawn_over_the_fraction(drawn: list[Figure]) -> None:
    looks = method_looks(list(LEVELS), "cadnet-few")
    points = {"cadnet-few": {0.0: [40.0, 42.0], 0.05: [80.0]}, "uaps": {0.05: [50.0]}}
    charts.fraction_chart(points, looks, TITLES, "IoU by labelled fraction")
    axes = drawn[0].axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines["CADNet"].get_ydata()) == [41, 80]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "5"]


def test_colours_go_by_id_and_stay_the_same_in_every_chart() -> None:
    assert method_colours(["cadnet", "segformer"]) == {
        "cadnet": COLOURS["CADNet"],
        "segformer": COLOURS["SegFormer"],
    }
    assert method_colours(["cadnet-few"])["cadnet-few"] == COLOURS["CADNet"]
    nine = method_colours(NINE)
    assert len(set(nine.values())) == len(NINE)
    looks = method_looks(NINE, "cadnet")
    assert len({(look["linestyle"], look["color"]) for look in looks.values()}) == len(NINE)
    assert looks["cadnet"]["linewidth"] > looks["segformer"]["linewidth"]
    variants = charts.variant_colours(["w0", "cadnet", "w1"], "cadnet")
    assert variants["cadnet"] == COLOURS["CADNet"] and variants["w0"] != variants["w1"]


def test_legends_are_below_the_axes_and_titles_within_the_picture() -> None:
    figure, axes = blank_chart("A rather long title of a chart that would run out of the picture in one line")
    for name in NINE:
        axes.plot([0, 1], [0, 1], label=TITLES[name])
    legend_below(axes)
    png = figure_png(figure, dpi=60)
    assert png == figure_png(figure, dpi=60) and png.startswith(b"\x89PNG")
    renderer = figure.canvas.get_renderer()
    (legend,) = figure.legends
    assert legend.get_window_extent(renderer).y1 <= axes.get_window_extent(renderer).y0
    title = axes.get_title(loc="left")
    assert "\n" in title
    texts = [text for text in axes.get_children() if getattr(text, "get_text", str)() == title]
    assert texts[0].get_window_extent(renderer).x1 <= figure.bbox.width
