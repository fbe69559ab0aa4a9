"""A study's table by hand, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from report_fakes import CLASSES, SCALE
from study_fakes import FLAGS, LABEL, STEPS, fake_study, given_difference, given_run

from cadnet.reporting.data import Study
from cadnet.reporting.published import published_ablation, published_rows
from cadnet.reporting.studies import base_gaps, study_markdown, study_table
from cadnet.reporting.tables import write_table


def test_table_by_hand() -> None:
    runs = [
        given_run("CE", 0, 50, 30, 44),
        given_run("CADNet", 0, 60, 40),
        given_run("CE", 1, 54, 30, 46),
        given_run("CADNet", 1, 70, 20),
        given_run("CADNet", 2, 80, 60),
    ]
    study = Study(
        name="ablation",
        title="Ablation",
        runs=runs,
        base="CADNet",
        factors={title: STEPS[title] for title in ("CE", "CADNet")},
        published=published_ablation(FLAGS),
        differences={"CE": given_difference(1, 9)},
    )
    table = study_table(study, SCALE)
    assert list(table)[:7] == ["method", "CE", "CL", "BCL", "CAD", "seeds", "scale"]
    assert table["method"].tolist() == ["CE", "CADNet"] and table["CAD"].tolist() == ["", "✓"]
    ce, base = (table.iloc[place] for place in (0, 1))
    assert (ce["seeds"], base["seeds"], ce["scale"]) == (2, 3, SCALE)
    assert ce["iou_line"] == pytest.approx(52)
    assert ce["iou_line_std"] == pytest.approx(np.std([50, 54], ddof=1))
    assert (ce["iou_line_paper"], ce["iou_line_diff"]) == (84.21, pytest.approx(52 - 84.21))
    assert (base["miou_paper"], base["params_m_paper"], base["gmacs"]) == (83.78, 3.90, 8.21)
    assert (ce["val_miou"], ce["val_miou_std"]) == (pytest.approx(45), pytest.approx(np.sqrt(2)))
    # CADNet: 50, 45, 70 %; CE: 40, 42 %.
    assert ce["base_minus"] == pytest.approx(55 - 41)
    assert (ce["base_low"], ce["base_high"]) == (pytest.approx(1), pytest.approx(9))
    assert (ce["common_seeds"], ce["seeds_ahead"]) == (2, 2)
    assert base_gaps(study)["CE"].gaps == pytest.approx((10, 3))
    empty = ["val_miou", "base_minus", "base_low", "base_high", "common_seeds", "seeds_ahead"]
    assert base[empty].isna().all()


def test_files_have_scale_seeds_paper_and_differences(tmp_path) -> None:
    study = fake_study("ablation", seeds=2)
    table, text = study_table(study, SCALE), study_markdown(study, SCALE)
    write_table(tmp_path / "ablation", table, text)
    read = pd.read_csv(tmp_path / "ablation.csv", keep_default_na=False, na_values=[""])
    assert read["method"].tolist() == list(STEPS)
    assert read["miou"].tolist() == pytest.approx(table["miou"].tolist())
    lines = text.splitlines()
    assert lines[0] == f"## Ablation: losses and decoder, SynLCD ({SCALE}; 2 seeds)"
    assert lines[2].startswith("| Method | CE | CL | BCL | CAD | Seeds | IoU line | IoU abpt | mIoU |")
    assert lines[2].endswith("| Params (M) | GMACs | CADNet minus it |")
    row = table.iloc[0]
    assert lines[4].startswith("| CE | ✓ |  |  |  | 2 |")
    span = f"{row['base_low']:.2f} to {row['base_high']:.2f}"
    assert lines[4].endswith(f"| {row['base_minus']:+.2f} ({span}; 2 of 2) |")
    assert lines[7].endswith("| – |") and "84.21" in lines[4]
    assert "in brackets the paper's" in text and study.text[0] in text
    varied = study_markdown(fake_study("lambda", seeds=1), SCALE)
    assert "| Validation mIoU | Params (M) |" in varied and "in brackets" not in varied


def test_published_rows_are_ours_by_flags_and_may_be_missing() -> None:
    table = published_ablation(
        {(True, True, False, False): "CE + CL", (True, True, False, True): "ours alone"}
    )
    assert table.index.tolist() == ["CE + CL"] and table.loc["CE + CL", "iou_abpt"] == 70.17
    assert published_ablation({}).empty
    # "CE" is no name of the paper's to be matched with a backbone; a frame is matched to the letter.
    assert published_rows(published_ablation(FLAGS), ["CE-BCL", "CE"], CLASSES).keys() == {"CE"}
    with pytest.raises(ValueError, match="title twice"):
        published_rows(pd.concat([table, table]), ["CE + CL"], CLASSES)
    study = dataclasses.replace(fake_study("ablation", seeds=1), published=table)
    ours = study_table(study, SCALE).set_index("method")
    assert ours.loc["CE + CL", "miou_paper"] == 79.78 and np.isnan(ours.loc["CE", "miou_paper"])


def test_parts_that_do_not_fit_are_refused() -> None:
    study = fake_study("lambda", seeds=1)
    for change, message in (
        ({"base": "FCN"}, "its base 'FCN' has no run"),
        ({"runs": ()}, "has no run"),
        ({"factors": {"CADNet": {"lambda_2": "0.02"}}}, "every row needs the factors"),
        ({"axis": (LABEL, {"CADNet": 0.02})}, "has no value for"),
        ({"axis": (LABEL, dict.fromkeys(study.factors, 0.02))}, "two rows have the same weight"),
        ({"factors": {title: {"seeds": "3"} for title in study.factors}}, "already exists"),
    ):
        with pytest.raises(ValueError, match=message):
            study_table(dataclasses.replace(study, **change), SCALE)
