"""The page: what it says, and that it loads nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from page_reader import assert_accessible, assert_loads_nothing, read
from report_fakes import MVTEC, NINE, SCALE, fake_report, fake_run

from cadnet.reporting.data import Link, ReportData, Section
from cadnet.reporting.html import breakable, least_width, number, render_report, write_report
from cadnet.reporting.views import WIDE, dataset_view


@pytest.fixture(scope="module")
def report() -> ReportData:
    return fake_report(seeds=3)


@pytest.fixture(scope="module")
def page(report: ReportData) -> str:
    return render_report(report)


@pytest.fixture(scope="module")
def wide() -> ReportData:
    """More classes than fit side by side."""
    return fake_report(1, MVTEC[:8], ("CADNet", "SegFormer"))


@pytest.fixture(scope="module")
def wide_page(wide: ReportData) -> str:
    return render_report(wide)


def test_page_loads_nothing_and_needs_no_script(page: str) -> None:
    assert_loads_nothing(page)


def test_page_is_accessible(page: str) -> None:
    assert_accessible(page)
    assert page.count("<img ") == 13 and page.count("<figure") == 7


def test_page_says_scale_numbers_and_where_they_come_from(report: ReportData, page: str) -> None:
    assert f"<title>{report.title} ({SCALE})</title>" in page
    assert page.count(SCALE) > 10
    view = dataset_view(report.datasets[0], SCALE)
    assert view.verdict.headline in page
    for title, seeds, cells in view.rows:
        assert f'<th scope="row">{title}</th><td>{seeds}</td>' in page
        assert all(f">{number(cell.ours)}</span>" in page for cell in cells)
    assert "paper 94.0" in page
    assert "train.epochs: 10 (paper: 30)" in page
    assert report.git_commit in page and report.datasets[0].digest in page
    assert all(run.mlflow_run_id in page for run in report.datasets[0].runs)
    assert '<a href="synlcd/results.csv">results.csv</a>' in page
    assert "61.23" in page  # the ablation's table


def test_slices_leave_out_parts_without_defects(report: ReportData) -> None:
    view = dataset_view(report.datasets[0], SCALE)
    named = {(row.by, row.name): row for row in view.slices}
    assert ("group", "pattern 08") in named and ("has_defect", "False") not in named
    runs = [run for run in report.datasets[0].runs if run.title == "CADNet"]
    values = [part.metrics.miou for run in runs for part in run.result.slices if part.name == "pattern 08"]
    assert named["group", "pattern 08"].miou[0] == pytest.approx(100 * sum(values) / 3)


def test_slices_are_named_as_the_dataset_names_them(page: str) -> None:
    assert "by display pattern</th>" in page
    assert "by defect contrast (grey levels)</th>" in page and "up to 19.9</th>" in page


def test_intervals_and_maps_are_shown(report: ReportData, page: str) -> None:
    difference = report.datasets[0].comparison.bootstrap.difference("miou")
    low, high = 100 * difference.by_group.low, 100 * difference.by_group.high
    assert f"<td>{number(low)} to {number(high)}</td>" in page
    assert "95 % over display patterns</th>" in page and "95 % over images</th>" in page
    assert report.datasets[0].maps[0].caption in page
    assert "the margins of the loss: background is to stay below 0.3" in page


def test_many_classes_get_a_row_each_and_their_curves_are_folded(wide: ReportData, wide_page: str) -> None:
    view = dataset_view(wide.datasets[0], SCALE)
    assert view.header == ("mIoU", "mAcc", "mFscore")
    assert [name for name, _ in view.class_rows] == list(MVTEC[:8])
    runs = [run for run in wide.datasets[0].runs if run.seed == 0]
    for k, (name, cells) in enumerate(view.class_rows):
        ious = [100 * run.result.metrics.classes[k].iou for run in runs]
        assert [cell.ours for cell in cells] == pytest.approx(ious)
        assert [cell.best for cell in cells] == [value == max(ious) for value in ious]
        assert f'<th scope="row">{breakable(name)}</th>' in wide_page
    assert len(view.curves) == WIDE and len(view.further_curves) == 2
    folded = wide_page[wide_page.index("<summary>Curves of the 2 other classes</summary>") :]
    for group in view.further_curves:
        assert group.caption in folded and group.caption not in wide_page[: -len(folded)]
    assert '<th scope="col">IoU bottle</th>' not in wide_page
    read(wide_page)


def test_many_parts_are_folded(report: ReportData) -> None:
    dataset = report.datasets[0]
    run = fake_run("CADNet", 0)
    part = next(p for p in run.result.slices if p.by == "group")
    parts = tuple(dataclasses.replace(part, name=f"board {i}") for i in range(30))
    many = dataclasses.replace(run, result=dataclasses.replace(run.result, slices=parts))
    alone = dataclasses.replace(dataset, runs=(many,), comparison=None, group_title="board")
    view = dataset_view(alone, SCALE)
    assert (len(view.slices), len(view.long_slices)) == (0, 30)
    page = render_report(dataclasses.replace(report, datasets=(alone,)))
    assert "<summary>By board (30 parts)</summary>" in page
    read(page)


def test_losses_of_many_methods_are_folded() -> None:
    data = fake_report(1, titles=NINE)
    view = dataset_view(data.datasets[0], SCALE)
    assert [len(group.pictures) for group in view.training] == [2]
    assert [len(group.pictures) for group in view.further_training] == [8]
    page = render_report(data)
    assert "<summary>Losses of the other methods</summary>" in page
    assert_accessible(page)


def test_names_break_after_underscores() -> None:
    assert breakable("metal_nut") == "metal_<wbr>nut"
    assert breakable("<b>_") == "&lt;b&gt;_<wbr>"


def test_texts_are_escaped() -> None:
    hostile = "<script>alert(1)</script>"
    data = ReportData(
        title=hostile,
        scale=hostile,
        datasets=(),
        params=hostile,
        environment={hostile: hostile},
        sections=(Section(hostile, (hostile,)),),
        links=(Link(hostile, "a.csv"),),
    )
    page = render_report(data)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 8


def test_bare_runs_still_make_a_page() -> None:
    run = fake_run("CADNet", 0)
    result = dataclasses.replace(run.result, curves=(), slices=())
    bare = dataclasses.replace(run, history=None, mlflow_run_id=None, train_seconds=None, result=result)
    data = fake_report(1)
    dataset = dataclasses.replace(
        data.datasets[0], runs=(bare,), published=None, overlays=(), maps=(), comparison=None, differences=()
    )
    page = render_report(dataclasses.replace(data, datasets=(dataset,)))
    assert "there is nothing to compare CADNet with" in page
    assert "Training</h3>" not in page and "paper 94" not in page
    assert "How sure" not in page and "What the network sees" not in page
    read(page)


def test_a_failed_page_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    path.write_text("old", "utf-8")
    data = fake_report(1)
    twice = dataclasses.replace(data.datasets[0], runs=[fake_run("CADNet", 0), fake_run("CADNet", 0)])
    with pytest.raises(ValueError, match="seed twice"):
        write_report(dataclasses.replace(data, datasets=(twice,)), path)
    assert path.read_text("utf-8") == "old"


def test_numbers_are_written_for_readers() -> None:
    assert number(None) == number(float("nan")) == "–"
    assert number(-1.25, 2) == "−1.25"
    assert number(3.0, signed=True) == "+3.0"


def test_sheets_never_shrink_below_reading_size(report: ReportData, page: str) -> None:
    sheet = report.datasets[0].overlays[0]
    assert least_width(sheet) == (6 + 6 * 198) * 3 // 4
    assert f"min-width: {least_width(sheet)}px" in page
