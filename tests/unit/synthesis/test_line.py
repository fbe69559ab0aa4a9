from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cadnet.config import LineParams, Range
from cadnet.synthesis.blend import TAIL, Canvas, line_profile
from cadnet.synthesis.defects import LineDefect, render_lines


def blank(size: int, grey: int = 100, blur: float = 0.8) -> Canvas:
    return Canvas(np.full((size, size, 3), grey, np.uint8), np.zeros((size, size), np.uint8), blur, 3)


def across(line: LineDefect, image: np.ndarray) -> np.ndarray:
    """The screen with the line running down the first axis."""
    return image if line.vertical else np.swapaxes(image, 0, 1)


def test_a_line_spans_the_screen_with_its_colour_opacity_and_width() -> None:
    params = LineParams(areas=(1,))
    for seed in range(60):
        canvas = blank(128)
        (line,) = render_lines(canvas, 1, params, np.random.default_rng(seed))
        labels, image = across(line, canvas.labels), across(line, canvas.image).astype(float)
        columns = np.flatnonzero(labels[0])
        assert (labels == labels[0]).all(), "the same columns from the first row to the last"
        margin = (len(line_profile(line.width, 0.2)) - 2 - line.width) // 2
        low, high = max(0, line.start - margin), min(128, line.start + line.width + margin)
        assert columns.tolist() == list(range(low, high))
        assert (image[:, labels[0] == 0] == 100).all()
        change = image[:, line.start + line.width // 2] - 100
        expected = line.opacity * (np.array(line.color) - 100)
        np.testing.assert_allclose(
            change, np.tile(expected, (128, 1)), atol=0.5 + TAIL * np.abs(expected).max()
        )


@pytest.mark.parametrize("size", [64, 128, 512])
def test_widths_scale_with_the_screen_and_every_value_of_table_1_occurs(size: int) -> None:
    rng = np.random.default_rng(size)
    lines = [line for _ in range(120) for line in render_lines(blank(size), 1, LineParams(), rng)]
    assert {line.width for line in lines} == {max(1, round(w * size / 512)) for w in range(3, 34, 3)}
    assert {round(line.opacity, 6) for line in lines} == {round(0.1 * i, 6) for i in range(1, 11)}
    assert len({line.color for line in lines}) == 5
    assert 0.4 < np.mean([line.vertical for line in lines]) < 0.6


def test_areas_give_one_line_each_inside_its_own_part() -> None:
    rng = np.random.default_rng(3)
    counts: Counter[int] = Counter()
    for _ in range(200):
        lines = render_lines(blank(96), 1, LineParams(), rng)
        counts[len(lines)] += 1
        for direction in (True, False):
            chosen = [line for line in lines if line.vertical == direction]
            for i, line in enumerate(chosen):
                low, high = round(96 * i / len(chosen)), round(96 * (i + 1) / len(chosen))
                assert low <= line.start and line.start + line.width <= high
    assert set(counts) == {1, 2, 3, 4} and min(counts.values()) > 30


def test_lines_wider_than_their_area_are_cut_to_it() -> None:
    params = LineParams(areas=(200,), width=Range(low=33, high=33, step=3))
    canvas = blank(64)
    lines = render_lines(canvas, 1, params, np.random.default_rng(0))
    assert 1 <= max(line.width for line in lines) <= 2 and (canvas.labels == 1).mean() > 0.9


def test_a_line_at_the_very_edge_stays_on_the_screen() -> None:
    params = LineParams(
        areas=(1,), width=Range(low=512, high=512, step=1), opacity=Range(low=1, high=1, step=1)
    )
    canvas = blank(64)
    (line,) = render_lines(canvas, 1, params, np.random.default_rng(0))
    assert line.start == 0 and line.width == 64 and (canvas.labels == 1).all()
    assert np.abs(canvas.image.astype(int) - np.array(line.color)).max() <= 0.5 + TAIL * 155
