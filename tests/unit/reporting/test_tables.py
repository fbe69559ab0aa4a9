"""The tables of all grids, the paper's numbers beside them, and their files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from fakes import CLASSES, FACTORS, FLAGS, LETTERS, MVTEC, SCALE, cross_trials, few_trial, given, methods

from cadnet.reporting.differences import compared, differences
from cadnet.reporting.pages import write_table
from cadnet.reporting.published import (
    PAPER_NAMES,
    TABLES,
    load_published,
    published_ablation,
    published_few_labels,
    published_results,
)
from cadnet.reporting.tables import (
    COSTS,
    CROSS_MEASURES,
    FEW_LABEL_MEASURES,
    condition_table,
    cross_conditions,
    fractions_of,
    markdown,
    metric_titles,
    results_table,
)


def test_published_numbers_are_the_papers() -> None:
    assert all(len(load_published(name)) for name in TABLES)
    table = published_results("table3_synlcd", CLASSES, ["own", "cadnet", "segformer"])
    assert list(table.index) == ["cadnet", "segformer"]
    assert table.loc["cadnet", ["iou_line", "iou_abpt", "miou", "params_m"]].tolist() == [
        94.02,
        73.53,
        83.78,
        3.9,
    ]
    pcb = published_results("table4_pcb", ["hole", "bite", "open", "short", "spur", "copper"], ["cadnet"])
    assert pcb.loc["cadnet", "iou_copper"] == 82.44
    mvtec = published_results("table5_mvtec", MVTEC, ["cadnet"])
    assert list(mvtec) == ["miou", "macc", "mfscore"]
    few = published_few_labels(["cadnet-few", "cadnet-cps", "uaps"])
    assert list(few.index) == ["cadnet-few", "uaps"] and few.loc["cadnet-few", "iou_5"] == 82.93
    assert published_ablation(FLAGS)["miou"].to_dict() == {
        "cadnet-ce": 78.61, "cadnet-cl": 79.78, "cadnet-bcl": 81.26, "cadnet": 83.78,
    }  # fmt: skip
    assert published_results(None, CLASSES, ["cadnet"]).empty
    with pytest.raises(ValueError, match="table3_synlcd"):
        load_published("table9")


def test_every_method_of_the_paper_has_an_id() -> None:
    printed = set(load_published("table3_synlcd")["method"]) | set(load_published(TABLES[3])["method"])
    assert printed == set(PAPER_NAMES.values())


def results(seeds: int = 2) -> pd.DataFrame:
    trials = [given("cadnet", 0, (80, 60), 70), given("cadnet", 1, (90, 60), 60), given("own", 0, 50, 40)]
    found = differences(trials, "cadnet")
    paper = published_results("table3_synlcd", CLASSES, ["cadnet", "own"])
    return results_table(methods(trials[: seeds + 1]), paper, compared(found, "cadnet", "own", "miou"))


def test_a_results_table_holds_mean_spread_paper_difference_and_comparison() -> None:
    table = results()
    ours, own = table.loc["cadnet"], table.loc["own"]
    assert (ours["method"], ours["seeds"], ours["scale"], ours["id"]) == ("CADNet", 2, SCALE, "cadnet")
    assert ours["iou_line"] == pytest.approx(85)
    assert ours["iou_line_std"] == pytest.approx(np.std([80, 90], ddof=1))
    assert ours["iou_line_paper"] == 94.02
    assert ours["iou_line_diff"] == pytest.approx(85 - 94.02)
    assert (ours["miou"], ours["macc"]) == (pytest.approx(72.5), pytest.approx(72.5))
    assert (ours["gmacs_paper"], ours["params_m"]) == (8.21, 3.9)
    assert (ours["val_miou"], ours["val_miou_std"]) == (pytest.approx(65), pytest.approx(np.sqrt(50)))
    assert (ours["other"], own["other"]) == ("own", "CADNet")
    assert ours["difference"] == -own["difference"] == pytest.approx(22.5)
    assert (ours["common_seeds"], ours["seeds_ahead"], ours["verdict"]) == (1, 1, "open")
    assert np.isnan(own["miou_paper"]) and np.isnan(own["miou_diff"]) and np.isnan(own["miou_std"])


def test_files_hold_scale_seeds_and_full_precision(tmp_path) -> None:
    table = results()
    columns = metric_titles(CLASSES) | COSTS
    write_table(
        tmp_path / "synlcd", table, markdown(f"SynLCD ({SCALE}; 2 seeds)", table, columns, ["A note."])
    )
    again = pd.read_csv(tmp_path / "synlcd.csv")
    assert again["miou"].tolist() == table["miou"].tolist()
    lines = (tmp_path / "synlcd.md").read_text("utf-8").splitlines()
    assert lines[0] == f"## SynLCD ({SCALE}; 2 seeds)"
    header = (
        "| Method | Seeds | IoU line | IoU abnormal points | mIoU | mAcc | mFscore | Params (M) | GMACs |"
    )
    assert lines[2] == f"{header} Difference |"
    row = table.loc["cadnet"]
    assert f"{row['miou']:.2f} ± {row['miou_std']:.2f} (83.78, {row['miou_diff']:+.2f})" in lines[4]
    assert lines[4].startswith("| CADNet | 2 |") and "3.90 (3.90)" in lines[4]
    assert "+22.50 on own (" in lines[4] and "; 1 of 1): open" in lines[4]
    assert "A note." in lines


def test_a_study_has_its_factors_and_refuses_a_row_without() -> None:
    trials = [given(method, 0, 50 + k) for k, method in enumerate(FACTORS)]
    table = results_table(methods(trials), factors=FACTORS)
    assert list(table)[:6] == ["method", "CE", "CL", "BCL", "CAD", "seeds"]
    assert table.loc["cadnet", ["CE", "CL", "BCL", "CAD"]].tolist() == ["✓", "", "✓", "✓"]
    assert table["verdict"].isna().all()
    with pytest.raises(ValueError, match=r"every row needs the factors .* not so: \['own'\]"):
        results_table(methods([*trials, given("own", 0, 5)]), factors=FACTORS)


SCORES = {
    "cadnet": {"LL": [80, 82, 84], "AA": [70, 70, 70], "LA": [40, 41, 42], "AL": [50, 50, 50]},
    "fcn": {"LL": [60, 60, 60], "AA": [50, 50, 50], "LA": [1, 1, 1], "AL": [0, 0, 0]},
}


def test_cross_tests_are_one_row_per_method_and_a_column_per_pair() -> None:
    trials = cross_trials(SCORES)
    conditions = cross_conditions(trials, LETTERS)
    assert list(conditions) == ["LL", "AA", "LA", "AL"]
    known = compared(differences(conditions["LA"], "cadnet", merged=True), "cadnet", "fcn", "iou_defect")
    table = condition_table(methods(trials), conditions, CROSS_MEASURES, {"LA": known})
    ours = table.loc["cadnet"]
    assert (ours["method"], ours["seeds"]) == ("CADNet", 3)
    assert (ours["iou_defect_LL"], ours["iou_defect_LL_std"]) == (pytest.approx(82), pytest.approx(2))
    assert table.loc["fcn", "iou_defect_LA"] == pytest.approx(1)
    assert (ours["difference_LA"], ours["verdict_LA"]) == (pytest.approx(40), "ahead")
    assert table.loc["fcn", ["verdict_LA", "seeds_ahead_LA"]].tolist() == ["behind", 0]
    assert pd.isna(ours["verdict_AL"])
    assert {"acc_defect_LA", "fscore_defect_AL", "escape_LA", "overkill_AL"} <= set(table)
    assert not any(str(column).endswith(("_paper", "_diff")) for column in table)


def test_datasets_of_cross_tests_need_letters_of_their_own() -> None:
    trials = cross_trials(SCORES)
    for letters in ({"line-set": "L"}, {"line-set": "L", "abpt-set": "L"}):
        with pytest.raises(ValueError, match="letter of its own"):
            cross_conditions(trials, letters)


def test_few_labels_are_one_row_per_method_and_columns_per_fraction() -> None:
    trials = [
        few_trial("cadnet-few", s, f, v + s, v + s + 5) for f, v in ((0.0, 40), (0.05, 80)) for s in (0, 1)
    ]
    trials += [few_trial("uaps", s, 0.05, 50) for s in (0, 1)]
    conditions = fractions_of(trials)
    assert list(conditions) == ["0", "5"]
    found = differences(conditions["5"], "cadnet-few", merged=True)
    known = compared(found, "cadnet-few", "uaps", "iou_defect")
    paper = published_few_labels(["cadnet-few", "uaps"])
    of = methods(trials, "cadnet-few")
    table = condition_table(of, conditions, FEW_LABEL_MEASURES, {"5": known}, paper)
    ours, other = table.loc["cadnet-few"], table.loc["uaps"]
    assert (ours["iou_5"], ours["iou_5_std"]) == (pytest.approx(80.5), pytest.approx(np.sqrt(0.5)))
    assert (ours["iou_5_paper"], ours["iou_5_diff"]) == (82.93, pytest.approx(80.5 - 82.93))
    assert ours["iou_0_validated"] == pytest.approx(45.5)
    assert ours["iou_5_per_present_image"] == pytest.approx(80.5)
    assert np.isnan(other["iou_0"]) and np.isnan(other["iou_0_diff"]) and other["iou_0_paper"] == 0.44
    assert (ours["difference_5"], other["difference_5"]) == (pytest.approx(30.5), pytest.approx(-30.5))
    with pytest.raises(ValueError, match="all defects are one class"):
        fractions_of([given("uaps", 0, 5, fraction=0.05)])
