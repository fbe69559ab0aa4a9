"""Few labels: the table by hand, what is claimed at each share, the figures, and the part of the page."""

from __future__ import annotations

import dataclasses
from html import escape

import numpy as np
import pytest
from few_label_fakes import (
    CLASS,
    COMBINED,
    EMPTY,
    LEVELS,
    SCORES,
    SHARES,
    changed,
    counts_of,
    fake_few,
    given_few,
)
from page_reader import assert_accessible, assert_loads_nothing
from report_fakes import SCALE, fake_report, fake_run

from cadnet.evaluation.result import evaluation_result
from cadnet.reporting.data import FewLabelRun, FewLabels, MethodRun
from cadnet.reporting.few_label_figures import few_label_figures, method_looks, share_figure
from cadnet.reporting.few_label_finding import few_label_finding
from cadnet.reporting.few_labels import (
    few_label_markdown,
    few_label_methods,
    few_label_seeds,
    few_label_table,
    share_label,
)
from cadnet.reporting.html import number, render_report
from cadnet.reporting.plots import COLOURS
from cadnet.reporting.published import published_few_labels


@pytest.fixture(scope="module")
def few() -> FewLabels:
    return fake_few(seeds=2)


def test_table_by_hand_with_the_papers_numbers_beside() -> None:
    validated = changed("CADNet", 0.05, [84, 84, 84])
    table = few_label_table(given_few(SCORES, validated=validated), SCALE)
    assert list(table)[:7] == ["method", "seeds", "scale", "iou_0", "iou_0_std", "iou_0_paper", "iou_0_diff"]
    assert table["method"].tolist() == ["UAPS", "CPS", "CADNet"] and table["seeds"].tolist() == [3, 3, 3]
    ours = table.set_index("method").loc["CADNet"]
    assert (ours["iou_5"], ours["iou_5_std"]) == (pytest.approx(81), pytest.approx(1))
    # An Fscore f comes from an IoU j as 2j / (1 + j).
    fscores = [200 * j / (1 + j) for j in (0.8, 0.81, 0.82)]
    assert (ours["fscore_5"], ours["fscore_5_std"]) == pytest.approx(
        (np.mean(fscores), np.std(fscores, ddof=1))
    )
    assert (ours["iou_5_paper"], ours["iou_5_diff"]) == (82.93, pytest.approx(81 - 82.93))
    assert (ours["fscore_5_paper"], ours["fscore_0_paper"]) == (90.87, 63.84)
    assert (ours["iou_5_validated"], ours["iou_0_validated"]) == (pytest.approx(84), pytest.approx(41))
    assert table.set_index("method").loc["UAPS", "iou_0_paper"] == 0.44


def test_means_over_images_that_hold_a_defect() -> None:
    # Half, a quarter, and a clean image with false alarms.
    confusion = np.array([[[900, 0], [50, 50]], [[900, 0], [75, 25]], [[990, 10], [0, 0]]])
    result = evaluation_result(counts_of(confusion), CLASS)
    run = FewLabelRun(MethodRun("CADNet", 0, result), 0.5, result)
    row = few_label_table(dataclasses.replace(EMPTY, runs={0.1: [run]}), SCALE).iloc[0]
    assert row["iou_10_per_present_image"] == pytest.approx(100 * (0.5 + 0.25) / 2)
    assert row["fscore_10_per_present_image"] == pytest.approx(100 * (2 / 3 + 0.4) / 2)
    assert row["iou_10"] == pytest.approx(100 * 75 / 210)


def test_shares_and_methods_that_the_paper_does_not_have() -> None:
    scores = {"CPS": {0.05: [50]}, "CADNet + CPS": {0.075: [70]}, "CADNet": {0.05: [60], 0.075: [65]}}
    few = given_few(scores, combined=("CADNet + CPS",))
    table = few_label_table(few, SCALE).set_index("method")
    assert [share_label(share) for share in (0, 0.05, 0.075, 0.15)] == ["0", "5", "7.5", "15"]
    assert table.index.tolist() == ["CPS", "CADNet", "CADNet + CPS"]
    assert table["iou_7.5_paper"].isna().all() and np.isnan(table.loc["CADNet + CPS", "iou_5_paper"])
    assert np.isnan(table.loc["CPS", "iou_7.5"]) and table.loc["CADNet", "iou_7.5"] == 65
    assert few_label_seeds(few) == "1 seed"
    printed = published_few_labels()
    assert (printed.loc["UCC", "iou_0"], printed.loc["UAPS", "fscore_15"]) == (0.015, 89.22)


def test_wrong_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="no runs"):
        few_label_table(EMPTY, SCALE)
    run = fake_run("CADNet", 0)
    two = dataclasses.replace(EMPTY, runs={0.05: [FewLabelRun(run, 0.5, run.result)]})
    with pytest.raises(ValueError, match=r"CADNet at 5 % .* all defects are one class, 'defect'"):
        few_label_methods(two)
    once = given_few({"CADNet": {0.05: [60]}})
    twice = dataclasses.replace(once, runs={0.05: [*once.runs[0.05], *once.runs[0.05]]})
    with pytest.raises(ValueError, match="seed twice"):
        few_label_table(twice, SCALE)


def test_markdown_has_a_table_per_measure() -> None:
    lines = few_label_markdown(given_few(SCORES, text=("Why.",)), SCALE).splitlines()
    assert lines[0] == f"## Few labels ({SCALE}; 3 seeds)" and "Why." in lines
    start = lines.index("### IoU")
    assert lines[start + 2] == "| Method | Seeds | 0 % | 5 % |"
    assert lines[start + 6] == "| CADNet | 3 | 41.00 ± 1.00 (46.89, -5.89) | 81.00 ± 1.00 (82.93, -1.93) |"
    assert [line[4:] for line in lines if line.startswith("### ")] == [
        "IoU",
        "Fscore",
        "IoU at thresholds chosen on validation images",
        "IoU, mean over the images with a defect",
        "Fscore, mean over the images with a defect",
    ]


def test_figures_of_shares_thresholds_and_training(few: FewLabels) -> None:
    groups = {group.name: group for group in few_label_figures(few, SCALE)}
    assert [(name, len(group.pictures)) for name, group in groups.items()] == [
        ("few_labels", 2),
        ("few_labels_intervals", 4),
        ("few_labels_thresholds", 4),
        ("few_labels_training_5", 3),
        ("few_labels_training_10", 3),
        ("few_labels_training_15", 3),
    ]
    assert all(SCALE in group.caption and "2 seeds" in group.caption for group in groups.values())
    row = few_label_table(few, SCALE).set_index("method").loc["CADNet"]
    shown, paper = groups["few_labels"].pictures
    assert f"CADNet {row['iou_0']:.1f} at 0 %, {row['iou_5']:.1f} at 5 %" in shown.alt
    assert "CADNet 46.9 at 0 %, 82.9 at 5 %" in paper.alt and "CADNet + CPS" not in paper.alt
    thresholds = groups["few_labels_thresholds"].pictures[0].alt
    assert f"CADNet {row['iou_0']:.1f} and {row['iou_0_validated']:.1f} %" in thresholds
    precision, _, disagreement = groups["few_labels_training_5"].pictures
    assert "UAMT" in precision.alt and "DCT" not in precision.alt and "DCT" in disagreement.alt
    assert "CADNet " not in disagreement.alt.replace("CADNet + ", "")
    assert few_label_figures(EMPTY, SCALE) == ()


def test_equal_thresholds_and_histories_that_are_not_known_give_no_figures() -> None:
    few = given_few(SCORES, validated=changed("UAPS", 0.05, [50.5, 51.5, 52.5]))
    assert [group.name for group in few_label_figures(few, SCALE)] == ["few_labels"]


def test_lines_by_share() -> None:
    titles = [title for title in LEVELS if title not in COMBINED]
    looks = method_looks([*titles, *COMBINED])
    points = {title: {share: [10.0, 20.0] for share in SHARES} for title in looks}
    points["CPS"] = {0.05: [40.0]}
    figure = share_figure(points, looks, f"IoU ({SCALE}; 2 seeds)")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "5", "10", "15"]
    assert "(%)" in axes.get_xlabel() and "(%)" in axes.get_ylabel()
    lines = {line.get_label(): line for line in axes.lines}
    assert np.asarray(lines["CADNet"].get_ydata()) == pytest.approx([15.0] * 4)
    assert np.asarray(lines["CPS"].get_ydata()) == pytest.approx([40.0])
    assert np.asarray(lines["CADNet"].get_xdata()) == pytest.approx([0, 5, 10, 15], abs=1)
    widths = {title: lines[title].get_linewidth() for title in titles}
    assert max(widths, key=lambda title: widths[title]) == "CADNet"
    assert lines["CADNet"].get_color() == COLOURS["CADNet"] and lines["CADNet"].get_linestyle() == "-"
    seen = {(look["color"], look["linestyle"], look["marker"]) for look in looks.values()}
    assert len({look["color"] for look in looks.values()}) == len(seen) == len(looks)


def test_page_holds_few_labels_after_the_cross_tests(few: FewLabels) -> None:
    page = render_report(dataclasses.replace(fake_report(1), datasets=(), few_labels=few))
    assert_loads_nothing(page)
    assert_accessible(page)
    places = [page.index(f'<h2 id="{name}"') for name in ("few-labels", "part-1")]
    assert places == sorted(places) and '<a href="#few-labels">Few labels: PKU-PCB</a>' in page
    part = page[places[0] : places[1]]
    found = few_label_finding(few)
    assert escape(found.headline, quote=False) in part
    assert part.index('class="headline"') < part.index("<table") < part.index("<figure")
    assert all(f'<th scope="row">{title}' in part for title in LEVELS)
    assert part.count("<small>combined</small>") == 5 * len(COMBINED)
    assert "<small>46.9 (" in part and "<summary>Pseudo-labels in training</summary>" in part
    assert few.overlays[0].caption in part and '<a href="tables/few-labels.csv">' in part
    assert "see 80&nbsp;% of them besides" in part and "Scored on 24 test images" in part
    # Next to no difference from the paper, as without labels, is not written as minus zero.
    assert (number(-0.04, signed=True), number(-0.06, signed=True)) == ("+0.0", "−0.1")
    assert "(−0.0)" not in page
    # The caption says how many seeds there are; only if methods differ they need a column.
    assert ">Seeds</th>" not in part


def test_page_without_few_labels_or_with_few_of_them() -> None:
    assert "few-labels" not in render_report(dataclasses.replace(fake_report(1), datasets=()))
    empty = render_report(dataclasses.replace(fake_report(1), datasets=(), few_labels=EMPTY))
    assert "Nothing was trained with few labels." in empty
    uneven = given_few({"CADNet": {0.05: [60, 61]}, "CPS": {0.05: [50]}})
    page = render_report(dataclasses.replace(fake_report(1), datasets=(), few_labels=uneven))
    assert ">Seeds</th>" in page and "1-2 seeds per method" in page
