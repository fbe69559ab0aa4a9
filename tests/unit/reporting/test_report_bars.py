"""Figures of scores: bars or dots by class, and differences with their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from report_fakes import MVTEC, SCALE, SEVEN, fake_comparison, fake_run, fake_runs

from cadnet.evaluation.bootstrap import Difference, Interval
from cadnet.reporting.bars import BETTER, WORSE, interval_figure, iou_bar_figure
from cadnet.reporting.figures import interval_figures
from cadnet.reporting.plots import PAPER_MARK, SOFT

UNIT = {"image": "images", "group": "boards"}


def test_bars_carry_the_papers_marks() -> None:
    figure = iou_bar_figure(fake_runs(1), "table3_synlcd", SCALE)
    marks = [line.get_xdata()[0] for line in figure.axes[0].lines]
    assert 94.02 in marks and 83.78 in marks
    assert PAPER_MARK in [text.get_text() for text in figure.legends[0].get_texts()]
    assert not iou_bar_figure(fake_runs(1), None, SCALE).axes[0].lines


def test_many_classes_are_a_line_of_dots_each() -> None:
    runs = [fake_run(title, 0, MVTEC) for title in SEVEN]
    figure = iou_bar_figure(runs, "table5_mvtec", SCALE)
    axes = figure.axes[0]
    assert not axes.patches
    assert [text.get_text() for text in axes.get_yticklabels()] == [*(f"IoU {c}" for c in MVTEC), "mIoU"]
    assert figure.get_figheight() < 9
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [*SEVEN, PAPER_MARK]
    drawn = np.concatenate([np.atleast_1d(line.get_xdata()) for line in axes.lines])
    wanted = [100 * part.iou for run in runs for part in run.result.metrics.classes]
    assert all(np.isclose(drawn, value).any() for value in wanted)


def difference(low: float, high: float, group: tuple[float, float] | None = None) -> Difference:
    by_group = None if group is None else Interval(*group, 0.5, 100)
    return Difference("miou", 0.5, 0.4, Interval(low, high, 0.5, 100), by_group)


def test_intervals_are_coloured_by_where_zero_lies() -> None:
    shown = {
        "ahead": difference(0.02, 0.2),
        "open": difference(-0.1, 0.2, group=(0.05, 0.12)),
        "behind": difference(-0.2, -0.1),
        "undefined": Difference("miou", None, 0.4, None, None),
    }
    axes = interval_figure(shown, f"A against B ({SCALE}; 1 seed)", "A minus B", UNIT).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["ahead", "open", "behind"]
    assert axes.get_xlabel() == "A minus B\n(points of IoU)"
    lines = [
        line for line in axes.lines if len(line.get_xdata()) == 2 and not line.get_label().startswith("95")
    ]
    found = {tuple(np.round(line.get_xdata(), 6)): line for line in lines if line.get_color() != "#2a3036"}
    assert {ends: to_hex(line.get_color()) for ends, line in found.items()} == {
        (2, 20): BETTER,
        (5, 12): BETTER,
        (-10, 20): SOFT,
        (-20, -10): WORSE,
    }
    # The group's interval is the narrower one: it is drawn, but faintly.
    assert (found[5, 12].get_alpha(), found[-10, 20].get_alpha()) == (0.4, 1)
    dots = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert dots == pytest.approx([10, 10, 10])


def test_interval_figures_compare_with_each_other_method() -> None:
    runs = fake_runs(2)
    comparison = fake_comparison(runs)
    (group,) = interval_figures(comparison, runs, SCALE)
    assert len(group.pictures) == 2
    assert SCALE in group.caption and "2 seeds" in group.caption and "2,000 paired resamples" in group.caption
    miou = comparison.miou["DeepLabV3+"].interval
    assert f"DeepLabV3+ {100 * miou.low:.1f} to {100 * miou.high:.1f}" in group.pictures[1].alt
    pair = fake_runs(1, ("CADNet", "SegFormer"))
    assert len(interval_figures(fake_comparison(pair), pair, SCALE)[0].pictures) == 1
    assert interval_figures(None, runs, SCALE) == ()
