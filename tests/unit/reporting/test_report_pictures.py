"""Error maps pixel by pixel, sheets, and what the figures show."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from report_fakes import NINE, SCALE, fake_row, fake_run, fake_runs

from cadnet.evaluation.curves import curve
from cadnet.reporting.bars import iou_bar_figure
from cadnet.reporting.data import by_method
from cadnet.reporting.figures import curve_figures, iou_figures, training_figures
from cadnet.reporting.overlays import (
    CORRECT,
    ERR_COLOUR,
    FALSE,
    MISSED,
    WRONG_CLASS,
    comparison_png,
    comparison_sheet,
    error_map,
    error_pixels,
    sample_overlay,
    truth_map,
)
from cadnet.reporting.plots import (
    COLOURS,
    figure_png,
    fscore_threshold_figure,
    loss_figure,
    method_colours,
    method_lines,
    precision_recall_figure,
    split_title,
    validation_figure,
)

TRUTH = np.array([[0, 1, 1, 0, 2, 255, 255]], np.uint8)
GUESS = np.array([[0, 1, 0, 2, 1, 1, 0]], np.uint8)


def test_error_map_by_hand() -> None:
    black = (0, 0, 0)
    expected = [black, CORRECT, MISSED, FALSE, WRONG_CLASS, black, black]
    assert [tuple(pixel) for pixel in error_map(TRUTH, GUESS)[0].tolist()] == expected
    assert error_pixels(TRUTH, GUESS) == 3
    assert [tuple(p) for p in truth_map(TRUTH)[0].tolist()][4:] == [CORRECT, (70, 70, 70), (70, 70, 70)]


def test_error_map_over_the_darkened_image() -> None:
    image = np.full((1, 7, 3), 200, np.uint8)
    drawn = error_map(TRUTH, GUESS, image)
    assert drawn[0, 0].tolist() == [60, 60, 60]
    assert tuple(drawn[0, 2]) == MISSED
    with pytest.raises(ValueError, match="one size"):
        error_map(TRUTH, GUESS, image[:, :3])


def test_err_is_written_in_yellow() -> None:
    blank = np.zeros((200, 200), np.uint8)
    drawn = sample_overlay(np.zeros((200, 200, 3), np.uint8), blank, blank)
    assert (drawn[:40] == ERR_COLOUR).all(-1).sum() > 30
    assert not drawn[60:].any()


def test_sheet_has_a_column_per_method_and_a_row_per_sample(tmp_path) -> None:
    rows, cell, gap = [fake_row(0), fake_row(1)], 128, 6
    sheet = comparison_sheet(rows, f"Comparison ({SCALE}; seed 0)", cell=cell)
    columns = 6
    assert sheet.shape == (56 + 2 * (20 + cell + gap) + 20, gap + columns * (cell + gap), 3)
    top = 56 + 20
    np.testing.assert_array_equal(sheet[top : top + cell, gap : gap + cell], rows[0].image)
    left = gap + 2 * (cell + gap)
    np.testing.assert_array_equal(sheet[top : top + cell, left : left + cell], truth_map(rows[0].truth))
    left = gap + 4 * (cell + gap)
    shown = sheet[top + 40 : top + cell, left : left + cell]
    expected = error_map(rows[0].truth, rows[0].predictions["SegFormer"])[40:]
    np.testing.assert_array_equal(shown, expected)
    decoded = cv2.imdecode(np.frombuffer(comparison_png(rows, "t", cell=cell), np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == sheet.shape


def test_sheet_shrinks_large_samples_and_keeps_their_shape() -> None:
    row = fake_row(0, size=256)
    wide = dataclasses.replace(
        row,
        image=row.image[:128],
        reference=row.reference[:128],
        truth=row.truth[:128],
        predictions={name: guess[:128] for name, guess in row.predictions.items()},
    )
    assert comparison_sheet([wide], "t", darkened=True, cell=100).shape[0] == 56 + 20 + 50 + 6 + 20


def test_many_methods_are_wrapped_under_their_names() -> None:
    row, cell, gap = fake_row(0, titles=NINE), 64, 6
    sheet = comparison_sheet([row], "t", cell=cell)
    line = 22 + cell + gap
    assert sheet.shape == (34 + 12 + 20 + 2 * line + 20, gap + 6 * (cell + gap), 3)
    single = comparison_sheet([fake_row(0)], "t", cell=192)
    both = comparison_sheet([row], "t", cell=192)
    top = 34 + 12 + 20 + 22
    # CADNet stands fourth in the first line, OCRNet first in the second.
    np.testing.assert_array_equal(both[top : top + 192, 600:792], single[76 : 76 + 192, 600:792])
    below = top + 192 + gap + 22
    expected = error_map(row.truth, row.predictions["OCRNet"])
    shown = both[below + 60 : below + 192, gap : gap + 192]
    np.testing.assert_array_equal(shown, cv2.resize(expected, (192, 192), interpolation=0)[60:])


def test_sheet_refuses_rows_of_differing_methods() -> None:
    odd = dataclasses.replace(fake_row(1), predictions={"CADNet": fake_row(1).truth})
    for rows in ([], [fake_row(0), odd]):
        with pytest.raises(ValueError, match="same methods"):
            comparison_sheet(rows, "t")


def titles(figure) -> str:
    axes = figure.axes[0]
    return f"{axes.get_title(loc='left')} | {' '.join(text.get_text() for text in axes.texts)}"


def test_every_figure_names_axes_units_scale_and_seeds() -> None:
    runs = fake_runs(2)
    lines = {run.title: run.result.curves[0] for run in runs}
    figures = {
        validation_figure(runs, SCALE): ("epoch", "(%)", "2 seeds"),
        loss_figure(runs[0], SCALE): ("epoch", "loss (mean over pixels)", "seed 0"),
        precision_recall_figure(lines, "line", f"Line ({SCALE}; seed 0)"): ("recall", "(%)", "seed 0"),
        fscore_threshold_figure(lines, "line", f"Line ({SCALE}; seed 0)"): ("threshold", "(%)", "seed 0"),
        iou_bar_figure(runs, "table3_synlcd", SCALE): ("(%)", "", "2 seeds"),
    }
    for figure, (x, y, seeds) in figures.items():
        axes = figure.axes[0]
        assert x in axes.get_xlabel() and y in axes.get_ylabel()
        assert SCALE in titles(figure) and seeds in titles(figure)
        assert figure_png(figure, dpi=40).startswith(b"\x89PNG")


def test_validation_lines_are_means_over_seeds() -> None:
    runs = fake_runs(2, ("CADNet",))
    lines = {line.get_label(): line for line in validation_figure(runs, SCALE).axes[0].lines}
    expected = np.mean([run.history["val_miou"] for run in runs], axis=0)
    assert np.asarray(lines["CADNet"].get_ydata()) == pytest.approx(100 * expected)


def test_losses_show_total_and_parts_and_need_a_history() -> None:
    labels = [line.get_label() for line in loss_figure(fake_run("CADNet", 0), SCALE).axes[0].lines]
    assert labels == ["total", "ce", "bcl"]
    assert [line.get_label() for line in loss_figure(fake_run("SegFormer", 0), SCALE).axes[0].lines] == [
        "total"
    ]
    with pytest.raises(ValueError, match="no training history"):
        loss_figure(dataclasses.replace(fake_run("CADNet", 0), history=None), SCALE)


def test_curves_draw_the_numbers_and_say_so_when_there_are_none() -> None:
    histogram = np.array([[6, 2, 0, 0], [0, 1, 0, 3]])
    lines = {"CADNet": curve(histogram), "FCN": curve(np.array([[5, 1], [0, 0]]))}
    drawn = precision_recall_figure(lines, "line", "Line (scale; seed 0)").axes[0].lines
    assert np.asarray(drawn[0].get_xdata()) == pytest.approx([100, 100, 75, 75])
    assert drawn[0].get_label() == "CADNet, AP 91.7 %"
    assert drawn[1].get_label() == "FCN, AP not defined"
    fscore = fscore_threshold_figure(lines, "line", "Line (scale; seed 0)").axes[0].lines
    assert np.asarray(fscore[0].get_ydata()).max() == pytest.approx(600 / 7)


def test_long_legends_go_below_the_axes() -> None:
    line = curve(np.array([[6, 2, 0, 0], [0, 1, 0, 3]]))
    short = fscore_threshold_figure(dict.fromkeys("abcd", line), "line", "Line (scale; seed 0)")
    long = fscore_threshold_figure(dict.fromkeys("abcde", line), "line", "Line (scale; seed 0)")
    assert short.axes[0].get_legend() is not None and not short.legends
    assert long.axes[0].get_legend() is None and len(long.legends[0].get_texts()) == 5
    assert long.get_figheight() > short.get_figheight()


def test_methods_keep_their_colours() -> None:
    colours = method_colours(["SegFormer-B0", "CADNet", "Unet++", "CADNet (multiply)"])
    assert colours["CADNet"] == COLOURS["CADNet"]
    assert colours["SegFormer-B0"] == COLOURS["SegFormer"]
    assert len(set(colours.values())) == 4
    assert len(set(method_colours(NINE).values())) == 9


def test_many_lines_differ_in_dash_too() -> None:
    few, many = method_lines(NINE[:4]), method_lines(NINE)
    assert {look["linestyle"] for look in few.values()} == {"-"}
    assert len({(look["color"], look["linestyle"]) for look in many.values()}) == 9
    # Orange and green, which a part of the readers cannot tell apart.
    assert many["SegFormer"]["linestyle"] != many["DeepLabV3+"]["linestyle"]


@pytest.mark.parametrize(
    ("title", "parts"),
    [
        ("IoU (128 px; 3 seeds)", ("IoU", "128 px; 3 seeds")),
        ("Loss of Unet++ (smp) (128 px; seed 0)", ("Loss of Unet++ (smp)", "128 px; seed 0")),
        ("IoU (4,200 pairs (600 of them spare); 1 seed)", ("IoU", "4,200 pairs (600 of them spare); 1 seed")),
        ("IoU by class", ("IoU by class", "")),
        ("odd) one)", ("odd) one)", "")),
    ],
)
def test_the_last_brackets_of_a_title_go_into_a_second_line(title: str, parts: tuple[str, str]) -> None:
    assert split_title(title) == parts


def test_figure_groups_have_alt_texts_with_numbers() -> None:
    runs = fake_runs(1)
    groups = by_method(runs)
    training = training_figures(groups, SCALE)[0]
    assert [p.alt.split(",")[0] for p in training.pictures[1:]] == [
        f"Training loss of {title}" for title in groups
    ]
    best = 100 * runs[0].history["val_miou"].max()
    assert f"CADNet seed 0 {best:.1f} %" in training.pictures[0].alt
    many = training_figures(by_method(fake_runs(1, NINE)), SCALE)
    assert [(group.name, len(group.pictures)) for group in many] == [("training", 2), ("losses", 8)]
    assert [group.name for group in curve_figures(groups, SCALE)] == ["curves_line", "curves_abpt"]
    miou = 100 * runs[0].result.metrics.miou
    assert f"CADNet seed 0 mIoU {miou:.1f} %" in iou_figures(runs, None, SCALE)[0].pictures[0].alt


def test_nothing_to_draw_gives_no_groups() -> None:
    run = fake_run("CADNet", 0)
    bare = dataclasses.replace(run, history=None, result=dataclasses.replace(run.result, curves=()))
    assert training_figures({"CADNet": [bare]}, SCALE) == ()
    assert curve_figures({"CADNet": [bare]}, SCALE) == ()
