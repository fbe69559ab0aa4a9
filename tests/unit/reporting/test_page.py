"""The page: what it holds, and that it loads nothing."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from fakes import (
    FEW,
    MVTEC,
    NINE,
    SCALE,
    THREE,
    fake_cross,
    fake_few,
    fake_page,
    fake_section,
    fake_study,
    fake_trial,
    fake_trials,
    few_trial,
    methods,
)
from jinja2 import UndefinedError
from page_reader import assert_accessible, assert_loads_nothing, read

from cadnet.reporting.grids import Study, few_label_section, study_section
from cadnet.reporting.pages import (
    Card,
    Page,
    Section,
    breakable,
    least_width,
    number,
    render_report,
    write_report,
)
from cadnet.reporting.sections import DatasetFacts, dataset_section

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sections() -> list[Section]:
    return [fake_section(3), fake_study(3), fake_study(1, varied=True), fake_cross(THREE), fake_few(3)]


@pytest.fixture(scope="module")
def page(sections: list[Section]) -> str:
    return render_report(fake_page(sections))


@pytest.fixture(scope="module")
def wide() -> Section:
    """More classes than fit side by side."""
    return fake_section(1, THREE[:2], MVTEC)


def test_the_page_loads_nothing_and_is_accessible(page: str) -> None:
    assert_loads_nothing(page)
    assert_accessible(page)


def test_the_first_screen_answers_which_method_by_how_much_how_sure_and_at_what_cost(
    sections: list[Section], page: str
) -> None:
    section = sections[0]
    assert section.headline is not None and section.headline.text in page
    summary, first = section.top
    assert summary.header == [
        "mIoU (%)", "Difference (points)", "Seeds ahead", "Verdict", "ms per pair", "Parameters (M)",
    ]  # fmt: skip
    assert [row.title for row in summary.rows] == ["CADNet", "SegFormer", "DeepLabV3+"]
    table = section.tables["synlcd"].loc["cadnet"]
    score, gap, seeds, verdict, latency, size = summary.rows[0].cells
    assert (score.text, score.spread, score.best) == (
        number(table["miou"]),
        f"± {number(table['miou_std'])}",
        True,
    )
    assert gap.text == number(table["difference"], signed=True)
    assert list(gap.small) == [f"{number(table['low'])} to {number(table['high'])}", f"on {table['other']}"]
    assert (seeds.text, verdict.state, latency.text, size.text) == ("3 of 3", "ahead", "41.0", "3.90")
    assert [row.cells[3].state for row in summary.rows[1:]] == ["behind", "behind"]
    assert first.kind == "overview" and len(first.pictures) == 1
    assert page.index(section.headline.text) < page.index("Results beside the paper</h3>")


def test_scale_and_seeds_stand_once_in_each_section(sections: list[Section], page: str) -> None:
    for section, start in zip(sections, re.finditer("<section", page), strict=False):
        part = page[start.start() : page.index("</section>", start.start())]
        assert section.stamp.startswith(SCALE) and part.count(section.stamp) == 1
        assert part.count(SCALE) == 1


def test_numbers_settings_runs_and_files_are_on_the_page(sections: list[Section], page: str) -> None:
    table = sections[0].tables["synlcd"]
    for _, row in table.iterrows():
        assert f"paper {row['miou_paper']:.1f} ({number(row['miou_diff'], signed=True)})" in page
    intervals = sections[0].tables["synlcd-intervals"]
    assert intervals["metric"].tolist() == ["mIoU", "IoU line", "IoU abpt", "escape", "overkill", "mIoU"]
    assert intervals["other"].tolist() == ["SegFormer"] * 5 + ["DeepLabV3+"]
    assert (
        f"<td>{number(intervals['group_low'].iloc[0])} to {number(intervals['group_high'].iloc[0])}" in page
    )
    for text in (
        "Other than the paper states", "3f1c" * 16, "By display pattern</th>", "61.23", "combined",
        "By defect contrast (grey levels)", "false negative rate", "false positive rate", FEW.text[0],
        "Losses of the other methods", "the margins of the loss", "Pseudo-labels in training",
        'href="tables/synlcd.csv"', 'href="tables/results.csv"', "0123456789abcdef",
        "LA: trained on line, tested on abnormal points", fake_trial("cadnet", 0).run_id,
    ):  # fmt: skip
        assert str(text) in page, text
    assert '<th scope="row">False</th>' not in page  # clean images alone have no mIoU


def test_every_chart_is_drawn_once_and_written_beside_the_page(
    sections: list[Section], page: str, tmp_path: Path
) -> None:
    for section in sections:
        section.write_files(tmp_path)
        pictures = section.pictures()
        for name, picture in pictures.items():
            assert (tmp_path / "plots" / section.name / f"{name}.png").read_bytes() == picture.png
        assert (tmp_path / f"tables/{section.name}.csv").is_file()
        assert (tmp_path / f"tables/{section.name}.md").is_file()
    assert page.count("<img ") == sum(len(section.pictures()) for section in sections)
    assert set(sections[0].pictures()) >= {
        "overview-1", "iou-1", "intervals-1", "intervals-2", "training-1", "curves-4", "overlays-1", "maps-1",
    }  # fmt: skip


def test_many_classes_get_a_row_each_and_their_curves_are_folded(wide: Section) -> None:
    card = wide.blocks[0]
    assert isinstance(card, Card)
    means, classes = card.blocks[:2]
    assert means.header == ["mIoU", "mAcc", "mFscore"]
    assert [row.title for row in classes.rows] == list(MVTEC)
    table = wide.tables["synlcd"]
    for name, row in zip(MVTEC, classes.rows, strict=True):
        ious = table[f"iou_{name}"]
        assert [cell.text for cell in row.cells] == [number(value) for value in ious]
        assert [cell.best for cell in row.cells] == [value == ious.max() for value in ious.round(1)] or max(
            ious.round(1)
        ) != max(ious)
    page = render_report(fake_page([wide]))
    assert "Curves of 2 further classes</summary>" in page and "metal_<wbr>nut" in page
    read(page)


def test_many_parts_are_folded() -> None:
    trial = fake_trial("cadnet", 0)
    part = next(part for part in trial.result.slices if part.by == "group")
    parts = tuple(dataclasses.replace(part, name=f"board {i}") for i in range(30))
    many = dataclasses.replace(trial, result=dataclasses.replace(trial.result, slices=parts))
    page = render_report(
        fake_page([dataset_section(methods([many]), DatasetFacts("d", "D", group_title="board"))])
    )
    assert "By board (30 parts)</summary>" in page
    assert "There is nothing to compare CADNet with" in page
    read(page)


def test_bare_trials_still_make_a_page() -> None:
    trial = fake_trial("cadnet", 0)
    result = dataclasses.replace(trial.result, curves=(), slices=())
    bare = dataclasses.replace(
        trial, history=None, run_id=None, cost={}, device="", groups=None, result=result
    )
    page = render_report(fake_page([dataset_section(methods([bare]), DatasetFacts("d", "D"))]))
    assert "Training</h3>" not in page and "beside the paper" not in page
    assert "How sure" not in page and "Where it is easy" not in page
    assert_accessible(page)


def test_headlines_of_the_grids(sections: list[Section]) -> None:
    _, steps, weights, cross, few = (section.headline for section in sections)
    assert steps is not None and "CE + CL" in steps.text
    assert weights is not None and weights.verdict == "open" and "A claim takes 3 seeds" in weights.text
    assert cross is not None and cross.verdict == "ahead" and "LA (46.0 %)" in cross.text
    assert few is not None and few.verdict == "ahead" and "0 % of the labels (44.4 %)" in few.text


def test_combined_methods_are_no_rivals() -> None:
    scores = {"cadnet-few": 70, "uaps": 60, "cadnet-cps": 80}
    trials = [few_trial(method, seed, 0.05, iou) for method, iou in scores.items() for seed in range(3)]
    section = few_label_section(methods(trials, "cadnet-few"), FEW)
    assert section.headline is not None and section.headline.verdict == "ahead"
    table = section.tables["few-labels"]
    assert (table.loc["cadnet-few", "other_5"], table.loc["cadnet-cps", "verdict_5"]) == ("UAPS", "ahead")


def test_a_study_that_does_not_fit_its_trials_is_refused() -> None:
    trials = fake_trials(1, ("segformer",))
    with pytest.raises(ValueError, match="its reference 'cadnet' has no trial"):
        study_section(methods(trials), Study("ablation", "Ablation", {"segformer": {}}), "a")
    both, weights = fake_trials(1, ("cadnet", "segformer")), {"cadnet": 1.0, "segformer": 1.0}
    factors = {"cadnet": {"w": "1"}, "segformer": {"w": "1"}}
    with pytest.raises(ValueError, match="needs a weight of its own"):
        study_section(methods(both), Study("lambda", "Weight", factors, axis=("weight", weights)), "a")


def test_texts_are_escaped_and_a_failed_page_leaves_the_old_one(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    page = render_report(
        Page(hostile, hostile, [Section("a", hostile, hostile, text=[hostile])], params=hostile,
             environment={hostile: hostile})
    )  # fmt: skip
    assert "<script" not in page and page.count("&lt;script&gt;") >= 8
    path = tmp_path / "index.html"
    path.write_text("old", "utf-8")
    with pytest.raises(UndefinedError):
        write_report(Page("t", "s", [None]), path)  # type: ignore[list-item]
    assert path.read_text("utf-8") == "old"


def test_numbers_and_names_are_written_for_readers(sections: list[Section], page: str) -> None:
    assert number(None) == number(float("nan")) == "–"
    assert (number(-1.25, 2), number(-0.04), number(3.0, signed=True)) == ("−1.25", "0.0", "+3.0")
    assert breakable("<b>_") == "&lt;b&gt;_<wbr>"
    sheet = sections[0].pictures()["overlays-1"]
    assert least_width(sheet) == (6 + 6 * 198) * 3 // 4
    assert f"min-width: {least_width(sheet)}px" in page
    assert len(NINE) == 9
