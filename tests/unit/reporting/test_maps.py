"""DistMap and probability maps: what is drawn where, and the scale of the distance."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from fakes import SCALE, fake_map_row
from matplotlib.backends.backend_agg import FigureCanvasAgg

from cadnet.losses.contrastive import MARGIN_NG, MARGIN_OK
from cadnet.reporting.maps import COLUMNS, LEGEND, distance_scale, map_figure, map_png

TITLE = f"DistMap and probability of CADNet ({SCALE}; seed 0)"


def test_a_row_per_sample_with_all_columns() -> None:
    rows = [fake_map_row(0), fake_map_row(1)]
    figure = map_figure(rows, TITLE)
    maps, bars = figure.axes[:12], figure.axes[12:]
    shown = [np.asarray(axes.images[0].get_array()) for axes in maps]
    for number, row in enumerate(rows):
        drawn = shown[6 * number : 6 * number + 6]
        np.testing.assert_array_equal(drawn[0], row.image)
        np.testing.assert_array_equal(drawn[1], row.reference)
        assert (drawn[2].any(axis=2) == (row.truth > 0)).all()
        np.testing.assert_allclose(drawn[3], row.distance)
        np.testing.assert_allclose(drawn[4], row.probability)
        assert maps[6 * number].get_title(loc="left") == row.label
    assert [axes.texts[0].get_text() for axes in maps[:6]][:5] == list(COLUMNS[:5])
    wrong = int((rows[0].truth != rows[0].prediction).sum())
    assert f"Err {wrong}" in [text.get_text() for text in maps[5].texts]
    assert figure.texts[0].get_text() == TITLE
    # Both distance maps share one scale, so that rows can be compared.
    assert maps[3].images[0].norm is maps[9].images[0].norm
    assert [bar.get_xlabel() for bar in bars] == ["feature distance", "probability of a defect"]


def test_a_long_title_stays_within_the_picture() -> None:
    for title in (TITLE, f"{TITLE}, {TITLE}"):
        figure = map_figure([fake_map_row(0)], title)
        drawn = figure.texts[0].get_window_extent(FigureCanvasAgg(figure).get_renderer())
        assert drawn.x1 <= figure.bbox.width and (figure.texts[0].get_fontsize() == 12) == (title == TITLE)


def test_the_margins_are_marked_on_the_bar() -> None:
    bar = map_figure([fake_map_row(0)], TITLE).axes[6]
    assert {line.get_xdata()[0] for line in bar.lines} == {MARGIN_OK, MARGIN_NG} == {0.3, 2.2}
    assert [text.get_text() for text in bar.get_xticklabels()][:2] == ["0.3", "2.2"]
    assert "below 0.3" in LEGEND and "above 2.2" in LEGEND


def test_the_scale_reaches_beyond_the_margin_and_ignores_single_pixels() -> None:
    low, wild = np.full((40, 40), 0.1), np.full((40, 40), 5.0)
    assert distance_scale([low], 2.2).vmax == pytest.approx(1.2 * 2.2)
    wild[0, 0] = 1000
    assert distance_scale([wild], 2.2).vmax == pytest.approx(5.0)
    assert distance_scale([wild], 2.2).vmin == 0


def test_wide_samples_keep_their_shape() -> None:
    row = fake_map_row(0)
    cut = {
        name: getattr(row, name)[:64] for name in ("image", "reference", "truth", "probability", "prediction")
    }
    wide = dataclasses.replace(row, distance=row.distance[:16], **cut)
    square, flat = (
        cv2.imdecode(np.frombuffer(map_png([one], TITLE), np.uint8), cv2.IMREAD_COLOR) for one in (row, wide)
    )
    assert square.shape[1] == flat.shape[1]
    assert square.shape[0] - flat.shape[0] == pytest.approx(1.75 / 2 * 110, abs=2)


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        map_figure([], TITLE)


def test_rows_of_several_networks_have_scales_of_their_own() -> None:
    far = dataclasses.replace(fake_map_row(1), distance=50 * fake_map_row(1).distance)
    rows = [fake_map_row(0), far]
    figure = map_figure(rows, TITLE, own_scales=True)
    for number, row in enumerate(rows):
        axes = figure.axes[6 * number : 6 * number + 6]
        assert axes[3].images[0].norm.vmax == pytest.approx(row.distance.max())
        assert axes[0].get_title(loc="left") == f"{row.label}; distances up to {row.distance.max():.2g}"
    bar = figure.axes[12]
    assert bar.get_xlabel() == "share of the row's largest distance" and not bar.lines
