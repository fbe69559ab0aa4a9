from __future__ import annotations

import numpy as np
import pytest

from cadnet.synthesis import zones

R, G, B, K, W = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0), (255, 255, 255)


def test_block_grid_fills_quadrants_and_widens_a_short_last_row() -> None:
    out = zones.block_grid(40, 60, (R, G, B, K), 2)
    assert [tuple(out[y, x]) for y, x in ((5, 5), (5, 55), (35, 5), (35, 55))] == [R, G, B, K]
    short = zones.block_grid(40, 60, (R, G, B), 2)
    assert (short[20:] == B).all() and tuple(short[0, 0]) == R


def test_block_frames_and_windows() -> None:
    frames = zones.block_frames(60, 60, (R, G, B))
    assert [tuple(frames[30, x]) for x in (5, 15, 30)] == [R, G, B]
    windows = zones.block_windows(60, 60, (R, G, B, K), 2)
    assert tuple(windows[2, 2]) == R and tuple(windows[15, 15]) == B


def test_grey_transitions_run_from_black_to_white() -> None:
    across = zones.grey_horizontal(4, 256)
    assert (across[0, :, 0] == np.arange(256)).all() and (across[0] == across[3]).all()
    down = zones.grey_vertical(256, 4)
    assert down[0, 0, 0] == 255 and down[-1, 0, 0] == 0
    assert np.unique(zones.grey_horizontal(2, 100, steps=5)).tolist() == [0, 64, 128, 191, 255]
    opposed = zones.grey_opposed(20, 256, 2)
    assert opposed[0, 0, 0] == 0 and opposed[19, 0, 0] == 255
    radial = zones.grey_radial(51, 51)
    assert radial[25, 25, 0] == 255 and radial[0, 0, 0] < 10


def test_charts_show_their_primaries() -> None:
    triangle = zones.chart_triangle(100, 100).astype(int)
    for row, column, channel in ((93, 9, 0), (6, 50, 1), (93, 91, 2)):
        pixel = triangle[row, column]
        assert pixel[channel] == 255 and np.delete(pixel, channel).max() < 60
    wheel = zones.chart_wheel(101, 101, paper=(9, 9, 9))
    assert tuple(wheel[0, 0]) == (9, 9, 9) and (wheel[50, 50] > 245).all()
    ramps = zones.chart_ramps(30, 101, (R, G, B))
    assert [tuple(ramps[5 + 10 * i, 50]) for i in range(3)] == [R, G, B]
    assert tuple(ramps[0, 0]) == K and tuple(ramps[0, 100]) == W
    spectrum = zones.chart_spectrum(64, 64)
    assert (spectrum[5, 20] > 230).all() and spectrum[59].max() < 20
    patches = zones.chart_patches(40, 60, 2, 6, paper=(7, 7, 7))
    assert tuple(patches[10, 5]) == R and tuple(patches[0, 0]) == (7, 7, 7)


@pytest.mark.parametrize("font", range(6))
def test_text_stays_in_its_zone_with_its_colours(font: int) -> None:
    out = zones.text_block(120, 240, ("ABC 123", "a longer second line"), (R, B), W, font)
    for rows, ink in ((out[:60], R), (out[60:], B)):
        assert 0.01 < (rows == ink).all(axis=-1).mean() < 0.5
    frame = np.concatenate((out[0], out[-1], out[:, 0], out[:, -1]))
    assert (frame == 255).all()
