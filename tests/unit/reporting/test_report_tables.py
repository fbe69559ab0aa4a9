"""The results table, its files, the published numbers and the verdict."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from report_fakes import CLASSES, SCALE, fake_run, fake_runs

from cadnet.evaluation.counts import Counts
from cadnet.evaluation.result import evaluation_result
from cadnet.reporting.data import MethodRun, by_method, seeds_text
from cadnet.reporting.published import TABLES, load_published, published_name, published_results
from cadnet.reporting.tables import (
    differing_settings,
    results_markdown,
    results_table,
    spread,
    table_title,
    write_table,
)


def run_with(title: str, seed: int, line: int, abpt: int) -> MethodRun:
    """A run whose IoU is ``line`` % and ``abpt`` %, without false alarms."""
    confusion = np.array([[[800, 0, 0], [100 - line, line, 0], [100 - abpt, 0, abpt]]], np.int64)
    counts = Counts(np.arange(1), confusion, np.zeros((2, 2, 0), np.int64))
    return MethodRun(title, seed, evaluation_result(counts, CLASSES))


def test_published_numbers_are_the_papers() -> None:
    assert all(len(load_published(name)) for name in TABLES)
    table = published_results("table3_synlcd", CLASSES)
    assert table.loc["CADNet", ["iou_line", "iou_abpt", "miou", "params_m"]].tolist() == [
        94.02,
        73.53,
        83.78,
        3.90,
    ]
    pcb = published_results("table4_pcb", ["hole", "bite", "open", "short", "spur", "copper"])
    assert pcb.loc["CADNet", "iou_copper"] == 82.44
    mvtec = published_results("table5_mvtec", [f"c{i}" for i in range(15)])
    assert list(mvtec) == ["miou", "macc", "mfscore"]
    with pytest.raises(ValueError, match="table3_synlcd"):
        load_published("table9")


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("CADNet", "CADNet"),
        ("cadnet", "CADNet"),
        ("SegFormer-B0", "SegFormer"),
        ("FCN R50-D16", "FCN"),
        ("CADNet (multiply)", None),
        ("CADNet-CE", None),
        ("Unet++", None),
    ],
)
def test_methods_are_matched_to_the_papers_names(title: str, name: str | None) -> None:
    assert published_name(title, ["FCN", "SegFormer", "CADNet"]) == name


def test_table_holds_mean_spread_paper_and_difference() -> None:
    runs = [run_with("CADNet", 0, 80, 60), run_with("CADNet", 1, 90, 60), run_with("Own", 0, 50, 50)]
    table = results_table(runs, "table3_synlcd", SCALE).set_index("method")
    ours = table.loc["CADNet"]
    assert (ours["seeds"], ours["scale"]) == (2, SCALE)
    assert ours["iou_line"] == pytest.approx(85)
    assert ours["iou_line_std"] == pytest.approx(np.std([80, 90], ddof=1))
    assert ours["iou_line_paper"] == 94.02
    assert ours["iou_line_diff"] == pytest.approx(85 - 94.02)
    assert ours["miou"] == pytest.approx(72.5)
    assert ours["macc"] == pytest.approx(72.5)
    assert ours["gmacs_paper"] == 8.21
    own = table.loc["Own"]
    assert np.isnan(own["miou_paper"]) and np.isnan(own["miou_diff"]) and np.isnan(own["miou_std"])


def test_spread_of_few_or_undefined_values() -> None:
    assert (spread([None]).mean, spread([None]).std, spread([None]).count) == (None, None, 0)
    assert (spread([2.0, None]).mean, spread([2.0, None]).std) == (2.0, None)


def test_files_say_scale_and_seeds(tmp_path) -> None:
    runs = fake_runs(seeds=2)
    title = table_title("SynLCD mixed", SCALE, runs)
    assert title == f"SynLCD mixed ({SCALE}; 2 seeds)"
    table = results_table(runs, "table3_synlcd", SCALE)
    text = results_markdown(table, title, CLASSES, ["train.epochs: 10 (paper: 30)"])
    write_table(tmp_path / "results", table, text)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "results.csv"), table, check_dtype=False)
    lines = (tmp_path / "results.md").read_text("utf-8").splitlines()
    assert lines[0] == f"## {title}"
    assert lines[2] == "| Method | Seeds | IoU line | IoU abpt | mIoU | mAcc | mFscore | Params (M) | GMACs |"
    row = table.iloc[0]
    shown = f"{row['miou']:.2f} ± {row['miou_std']:.2f} (83.78, {row['miou_diff']:+.2f})"
    assert shown in lines[4] and lines[4].startswith("| CADNet | 2 |")
    assert "- train.epochs: 10 (paper: 30)" in lines


def test_runs_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="seed twice"):
        by_method([fake_run("CADNet", 1), fake_run("CADNet", 1)])
    other = dataclasses.replace(fake_run("SegFormer", 0).result, class_names=("a", "b"))
    with pytest.raises(ValueError, match="other classes"):
        by_method([fake_run("CADNet", 0), dataclasses.replace(fake_run("SegFormer", 0), result=other)])
    with pytest.raises(ValueError, match="no runs"):
        results_table([], None, SCALE)


def test_seeds_text() -> None:
    assert seeds_text(fake_runs(1)) == "1 seed"
    assert seeds_text([*fake_runs(1), fake_run("CADNet", 5)]) == "1-2 seeds per method"
    assert seeds_text([]) == "no runs"


def test_differing_settings_are_flat_and_named() -> None:
    ours = {"train": {"epochs": 10, "crop": 128}, "edges": (1, 2), "extra": True}
    paper = {"train": {"epochs": 30, "crop": 128}, "edges": [1, 2]}
    assert differing_settings(ours, paper) == ["extra: True (paper: not set)", "train.epochs: 10 (paper: 30)"]
