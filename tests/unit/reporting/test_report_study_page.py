"""Figures of studies and cross-tests, and their parts of the page."""

from __future__ import annotations

import dataclasses
from html import escape

import numpy as np
import pytest
from matplotlib.colors import to_hex
from page_reader import assert_accessible, assert_loads_nothing
from report_fakes import MVTEC, NINE, SCALE, fake_report, fake_run
from study_fakes import LABEL, STEPS, WEIGHTS, fake_cross, fake_study, given_cross

from cadnet.reporting.data import CrossTest, ReportData, Study
from cadnet.reporting.html import number, render_report
from cadnet.reporting.plots import COLOURS
from cadnet.reporting.study_figures import (
    axis_figure,
    axis_places,
    cross_bar_figure,
    cross_figures,
    study_figures,
)
from cadnet.reporting.study_finding import study_finding
from cadnet.reporting.study_views import cross_view, study_view


@pytest.fixture(scope="module")
def full() -> ReportData:
    studies = (fake_study("ablation", seeds=3), fake_study("lambda", seeds=1))
    return dataclasses.replace(fake_report(1), studies=studies, cross=fake_cross(NINE, seeds=3))


@pytest.fixture(scope="module")
def page(full: ReportData) -> str:
    return render_report(full)


def test_page_holds_studies_and_cross_tests_after_the_datasets(full: ReportData, page: str) -> None:
    assert_loads_nothing(page)
    assert_accessible(page)
    ids = ("data-1", "study-1", "study-2", "cross", "part-1", "settings")
    places = [page.index(f'<h2 id="{name}"') for name in ids]
    assert places == sorted(places)
    assert all(f'<a href="#{name}">' in page for name in ids)
    for study in full.studies:
        assert escape(study.title) in page
        assert escape(study_finding(study).headline, quote=False) in page
        assert all(f'<th scope="row">{title}</th>' in page for title in study.factors)
    assert '<a href="tables/synlcd-lambda.csv">' in page and '<a href="tables/cross.csv">' in page


def test_page_without_studies_has_no_such_parts() -> None:
    page = render_report(fake_report(1))
    assert 'id="study-' not in page and 'id="cross"' not in page


def test_table_of_variants_on_the_page(full: ReportData, page: str) -> None:
    view = study_view(full.studies[0], SCALE)
    assert view.factors == ("CE", "CL", "BCL", "CAD") and not view.same_costs
    assert [row.title for row in view.rows] == list(STEPS)
    ce, base = view.rows[0], view.rows[-1]
    assert ce.factors == ("✓", "", "", "") and ce.cells[0].paper == 84.21 and base.gap is None
    assert ce.gap is not None and ce.gap.interval is not None
    low, high = 100 * ce.gap.interval.low, 100 * ce.gap.interval.high
    assert (
        f"{number(ce.gap.points, signed=True)}<small>{number(low)} to {number(high)}<br>3 of 3 seeds</small>"
        in page
    )
    assert "CADNet minus it</th>" in page and "84.2 (" in page
    varied = study_view(full.studies[1], SCALE)
    assert varied.same_costs and "Every variant has 3.90 million parameters and takes 8.21 GMACs." in page
    best = [row.title for row in varied.rows if row.validation.best]
    assert best == ["CADNet"] and "Validation mIoU</th>" in page


def test_many_classes_leave_the_means() -> None:
    runs = [dataclasses.replace(fake_run("CADNet", 0, MVTEC), title=title) for title in ("plain", "CADNet")]
    study = Study("ablation", "MVTec", runs, "CADNet", {title: {} for title in ("plain", "CADNet")})
    view = study_view(study, SCALE)
    assert view.narrowed and view.header == ("mIoU", "mAcc", "mFscore")
    page = render_report(dataclasses.replace(fake_report(1), datasets=(), sections=(), studies=(study,)))
    assert "IoU by class is in the files of the table." in page


def test_bars_of_variants_lead_up_to_the_base() -> None:
    study = fake_study("ablation", seeds=2)
    (group,) = study_figures(study, SCALE)
    assert group.name == "ablation" and len(group.pictures) == 2
    assert SCALE in group.caption and "2 seeds" in group.caption and "95 % intervals" in group.caption
    interval = study.differences["CE"].interval
    assert f"CE {100 * interval.low:.1f} to {100 * interval.high:.1f}" in group.pictures[1].alt
    assert "CE seed 0 mIoU" in group.pictures[0].alt
    (bare,) = study_figures(dataclasses.replace(study, differences={}), SCALE)
    assert len(bare.pictures) == 1 and "interval" not in bare.caption


def test_line_of_a_varied_number() -> None:
    study = fake_study("lambda", seeds=3)
    figure = axis_figure(study, SCALE)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "0.001", "0.02", "0.1", "1"]
    bold = [text.get_text() for text in axes.get_xticklabels() if text.get_fontweight() == "bold"]
    assert bold == ["0.02"] and axes.get_xlabel() == LABEL and "(%)" in axes.get_ylabel()
    lines = {line.get_label(): line for line in axes.lines}
    runs = {title: [run for run in study.runs if run.title == title] for title in WEIGHTS}
    means = [100 * np.mean([run.result.metrics.miou for run in group]) for group in runs.values()]
    # The first value is 0, which the solid line does not reach.
    assert np.asarray(lines["test"].get_ydata()) == pytest.approx(means[1:])
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert np.asarray(dotted[0].get_ydata()) == pytest.approx(means[:2])
    assert lines["chosen by validation"].get_xdata()[0] == pytest.approx(np.log10(0.02))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "test",
        "validation",
        "chosen by validation",
    ]
    (group,) = study_figures(study, SCALE)
    assert f"mIoU by {LABEL}: at 0 test {means[0]:.1f} %, validation" in group.pictures[0].alt
    assert "at 0.001 " in group.pictures[1].alt and "single seeds" in group.caption
    with pytest.raises(ValueError, match="varies no number"):
        axis_figure(fake_study("ablation", seeds=1), SCALE)


def test_line_without_histories_has_no_choice() -> None:
    study = fake_study("lambda", seeds=1)
    blind = dataclasses.replace(study, runs=[dataclasses.replace(run, history=None) for run in study.runs])
    labels = [line.get_label() for line in axis_figure(blind, SCALE).axes[0].lines]
    assert "test" in labels and "validation" not in labels and "chosen by validation" not in labels
    (group,) = study_figures(blind, SCALE)
    assert "validation not known" in group.pictures[0].alt


def test_places_on_the_axis() -> None:
    places, zero = axis_places([0, 0.01, 0.1, 1])
    assert places == pytest.approx([-2.5, -2, -1, 0]) and zero
    assert axis_places([0, 2, 4, 8]) == ([0, 2, 4, 8], False)
    assert axis_places([-1, 1, 100]) == ([-1, 1, 100], False)
    assert axis_places([0.0]) == ([0.0], False)
    places, zero = axis_places([1, 10])
    assert places == pytest.approx([0, 1]) and not zero


def test_bars_of_cross_tests() -> None:
    cross = fake_cross(NINE, seeds=2)
    figure = cross_bar_figure(cross, SCALE)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == list(NINE)
    assert len(axes.patches) == 4 * len(NINE)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [
        "LL: line, tested on line",
        "AA: abpt, tested on abpt",
        "LA: line, tested on abpt",
        "AL: abpt, tested on line",
    ]
    la = [run.result.metrics.defect.iou for run in cross.runs["line", "abpt"] if run.title == "CADNet"]
    strong = [patch for patch in axes.patches if to_hex(patch.get_facecolor()) == COLOURS["CADNet"]]
    assert strong[0].get_width() == pytest.approx(100 * np.mean(la))
    assert f"{100 * np.mean(la):.1f}" in [text.get_text() for text in axes.texts]
    (group,) = cross_figures(cross, SCALE)
    assert f"LA {100 * np.mean(la):.1f} %" in group.pictures[0].alt
    assert "All defect classes are taken as one" in group.caption and "2 seeds" in group.caption
    assert cross_figures(CrossTest("Cross", {}, {}), SCALE) == ()


def test_cross_view_marks_the_best_of_each_pair() -> None:
    scores = {"CADNet": {"LL": [80], "LA": [30]}, "FCN": {"LL": [90], "LA": [0]}}
    view = cross_view(given_cross(scores), SCALE)
    assert [pair.letters for pair in view.pairs] == ["LL", "LA"]
    assert [[cell.best for cell in cells] for _, _, cells in view.rows] == [[False, True], [True, False]]
    empty = cross_view(CrossTest("Cross", {}, {}), SCALE)
    assert empty.rows == () and empty.figures == ()
    page = render_report(dataclasses.replace(fake_report(1), datasets=(), cross=CrossTest("Cross", {}, {})))
    assert "No method was tested on a kind of defect" in page
