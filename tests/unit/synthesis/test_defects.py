"""Defects: where they are, how they look, and how often each value occurs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from cadnet.config import AbptParams, LineParams, MuraParams, PixelParams, Range
from cadnet.synthesis.blend import TAIL, Canvas, line_profile
from cadnet.synthesis.defects import (
    EdgePoints,
    LineDefect,
    edge_points,
    kmeans,
    render_abpt,
    render_lines,
    render_mura,
    render_pixels,
)


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


def square() -> np.ndarray:
    image = np.zeros((40, 40, 3), np.uint8)
    image[10:20, 12:30] = 150
    return image


def test_edge_points_are_the_bright_rim() -> None:
    points = {tuple(point) for point in edge_points(square(), 100)}
    rim = {(x, y) for x in range(12, 30) for y in range(10, 20) if x in (12, 29) or y in (10, 19)}
    assert points == rim
    assert len(edge_points(square(), 150)) == 0
    assert len(edge_points(np.full((40, 40, 3), 200, np.uint8), 100)) == 0, "the screen's frame is no edge"


def test_thresholds_without_edges_are_passed_over(screens: dict[str, np.ndarray]) -> None:
    params = AbptParams(grey_threshold=Range(low=50, high=200, step=50))
    edges = EdgePoints({"a": square(), "flat": np.zeros((40, 40, 3), np.uint8)}, params)
    for seed in range(20):
        assert len(edges.sample("a", np.random.default_rng(seed))) == 52
    with pytest.raises(ValueError, match=r"pattern flat has no edges.*50 to 200.*abpt\.grey_threshold"):
        edges.sample("flat", np.random.default_rng(0))


def test_kmeans_finds_separate_groups_and_minimises_distance() -> None:
    rng = np.random.default_rng(1)
    centres = np.array([[20, 20], [200, 30], [60, 220]])
    points = np.concatenate([centre + rng.integers(-5, 6, (50, 2)) for centre in centres])
    best = min(
        (kmeans(points, 3, np.random.default_rng(seed)) for seed in range(5)), key=lambda c: spread(points, c)
    )
    groups = [set(best[i * 50 : (i + 1) * 50].tolist()) for i in range(3)]
    assert all(len(group) == 1 for group in groups) and len(set.union(*groups)) == 3
    labels = kmeans(points, 8, rng)
    means = np.stack([points[labels == k].mean(axis=0) for k in np.unique(labels)])
    nearest = ((points[:, None] - means[None]) ** 2).sum(axis=-1).argmin(axis=1)
    assert (np.unique(labels)[nearest] == labels).mean() > 0.95
    assert kmeans(points[:2], 8, rng).tolist() in ([0, 1], [1, 0])


def spread(points: np.ndarray, labels: np.ndarray) -> float:
    return sum(
        float(((points[labels == k] - points[labels == k].mean(axis=0)) ** 2).sum())
        for k in np.unique(labels)
    )


def test_points_lie_on_edges_and_marks_near_them(screens: dict[str, np.ndarray]) -> None:
    screen = screens["01"]
    params = AbptParams()
    edges = EdgePoints(screens, params)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        points = edges.sample("01", rng)
        canvas = Canvas(screen.copy(), np.zeros(screen.shape[:2], np.uint8), 0.8, 3)
        defects = render_abpt(canvas, 2, points, params, rng)
        known = {tuple(point) for point in points}
        assert all(tuple(point) in known for defect in defects for point in defect.points)
        away = np.ones(screen.shape[:2], np.uint8)
        away[points[:, 1], points[:, 0]] = 0
        distance = cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        reach = 0.65 * max(max(defect.diameter for defect in defects), 1.0) + 3 * canvas.sigma + 1
        assert distance[canvas.labels == 2].max() <= reach
        change = np.abs(canvas.image.astype(int) - screen).max(axis=-1)
        assert change[canvas.labels == 0].max() == 0
        count, dots = cv2.connectedComponents((canvas.labels == 2).view(np.uint8))
        shown = set(dots[change >= 3].tolist())
        assert set(range(1, count)) <= shown, "a dot that changes nothing is no defect"


def test_statistics_follow_the_parameters(screens: dict[str, np.ndarray]) -> None:
    params, rng = AbptParams(), np.random.default_rng(0)
    points = edge_points(screens["01"], 100)
    counts, defects = [], []
    for _ in range(150):
        canvas = Canvas(screens["01"].copy(), np.zeros((96, 96), np.uint8), 0.8, 3)
        drawn = render_abpt(canvas, 2, points, params, rng)
        counts.append(len(drawn))
        defects += drawn
    assert set(counts) == set(range(2, 7))
    assert {round(defect.opacity, 6) for defect in defects} == {round(0.1 * i, 6) for i in range(1, 11)}
    scales = {round(defect.diameter / (params.diameter * 96 / 512), 6) for defect in defects}
    assert scales == {0.5 + 0.25 * i for i in range(7)}
    assert len({defect.color for defect in defects}) == 5
    assert {len(defect.points) for defect in defects} <= set(range(1, 21))


@pytest.mark.parametrize(("size", "diameter"), [(512, (6, 8)), (256, (3, 6)), (128, (2, 5))])
def test_abnormal_points_are_dozens_of_small_separate_dots(
    render_screen: Callable[[int, int], np.ndarray], size: int, diameter: tuple[float, float]
) -> None:
    screen, params = render_screen(size, 0), AbptParams()
    edges = EdgePoints({"x": screen}, params)
    counts, diameters, spreads = [], [], []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        canvas = Canvas(screen.copy(), np.zeros((size, size), np.uint8), 0.8, 3)
        for defect in render_abpt(canvas, 2, edges.sample("x", rng), params, rng):
            gaps = np.linalg.norm(defect.points[:, None] - defect.points, axis=-1)
            apart = gaps[~np.eye(len(gaps), dtype=bool)]
            assert len(apart) == 0 or apart.min() >= max(4, 1.3 * defect.diameter + 2 * size / 512)
            spreads.append(gaps.max() * 512 / size)
        count, _, stats, _ = cv2.connectedComponentsWithStats(canvas.labels)
        counts.append(count - 1)
        diameters += np.sqrt(4 * stats[1:, cv2.CC_STAT_AREA] / np.pi).tolist()
    # The paper's published sample: 25 components of 7 pixels, over whole clusters.
    assert 24 <= np.median(counts) <= 60 or (size < 512 and np.median(counts) >= 10)
    assert diameter[0] <= np.median(diameters) <= diameter[1]
    assert np.median(spreads) > 60


def test_one_dot_has_its_size_place_and_opacity() -> None:
    one = Range(low=1, high=1, step=1)
    params = AbptParams(defects=one, points=one, scale=one, opacity=one, diameter=40.0)
    canvas = Canvas(np.full((256, 256, 3), 100, np.uint8), np.zeros((256, 256), np.uint8), 0.8, 3)
    (defect,) = render_abpt(canvas, 2, np.array([[90, 60]], np.int32), params, np.random.default_rng(2))
    assert defect.diameter == 20
    rows, columns = np.nonzero(canvas.labels)
    assert abs(rows.mean() - 60) < 0.5 and abs(columns.mean() - 90) < 0.5
    assert np.pi * 7**2 <= len(rows) <= np.pi * 14.5**2
    error = np.abs(canvas.image[60, 90].astype(int) - np.array(defect.color))
    assert error.max() <= 0.5 + TAIL * 155


@pytest.mark.parametrize("point", [(0, 0), (255, 255), (0, 128)])
def test_dots_at_the_frame_are_cut_off(point: tuple[int, int]) -> None:
    canvas = Canvas(np.full((256, 256, 3), 100, np.uint8), np.zeros((256, 256), np.uint8), 0.8, 3)
    render_abpt(canvas, 2, np.array([point], np.int32), AbptParams(), np.random.default_rng(0))
    assert canvas.labels[point[1], point[0]] == 2
    assert (canvas.image[canvas.labels == 0] == 100).all()


@pytest.mark.parametrize("grey", [0, 100, 255])
def test_mura_is_a_smooth_blotch_that_shows_on_any_grey(grey: int) -> None:
    one = Range(low=1, high=1, step=1)
    params = MuraParams(blotches=one, diameter=Range(low=100, high=100, step=1))
    for seed in range(20):
        canvas = blank(512, grey)
        (blotch,) = render_mura(canvas, 3, params, np.random.default_rng(seed))
        change = canvas.image.astype(int)[..., 0] - grey
        assert (np.abs(change) >= 3)[canvas.labels == 3].all() and (np.abs(change) < 3)[
            canvas.labels == 0
        ].all()
        x, y = blotch.middle
        assert change[y, x] == blotch.change and 6 <= abs(blotch.change) <= 16
        assert max(np.abs(np.diff(change, axis=axis)).max() for axis in (0, 1)) <= 2, "no outline"
        if min(x, y) > 90 and max(x, y) < 422:
            across = np.sqrt(4 * (canvas.labels == 3).sum() / np.pi)
            assert 30 < across < 130


def test_pixels_are_hard_squares_of_a_visible_colour(screens: dict[str, np.ndarray]) -> None:
    counts, sides = Counter[int](), Counter[int]()
    for seed in range(60):
        screen = cv2.resize(screens["01"], (512, 512), interpolation=cv2.INTER_NEAREST)
        canvas = Canvas(screen.copy(), np.zeros((512, 512), np.uint8), 0.8, 3)
        defects = render_pixels(canvas, 4, PixelParams(), np.random.default_rng(seed))
        counts[len(defects)] += 1
        sides.update(defect.side for defect in defects)
        change = np.abs(canvas.image.astype(int) - screen).max(axis=-1)
        assert ((change > 0) <= (canvas.labels == 4)).all() and change.max() >= 3
        assert (canvas.labels == 4).sum() <= sum(defect.side**2 for defect in defects)
    assert set(counts) == set(range(1, 11)) and set(sides) == {1, 2}
    small = blank(128)
    (defect, *_) = render_pixels(small, 4, PixelParams(), np.random.default_rng(0))
    assert defect.side == 1
