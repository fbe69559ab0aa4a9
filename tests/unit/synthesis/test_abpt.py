from __future__ import annotations

import cv2
import numpy as np
import pytest

from cadnet.config import AbptParams, Range
from cadnet.synthesis.blend import TAIL, Canvas
from cadnet.synthesis.defects import EdgePoints, edge_points, kmeans, render_abpt


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
        assert (canvas.image[canvas.labels == 0] == screen[canvas.labels == 0]).all()


def test_statistics_follow_the_parameters(screens: dict[str, np.ndarray]) -> None:
    params, rng = AbptParams(), np.random.default_rng(0)
    points = edge_points(screens["01"], 100)
    counts, defects = [], []
    for _ in range(150):
        canvas = Canvas(screens["01"].copy(), np.zeros((96, 96), np.uint8), 0.8, 3)
        drawn = render_abpt(canvas, 2, points, params, rng)
        counts.append(len(drawn))
        defects += drawn
    assert set(counts) == set(range(1, 7))
    assert {round(defect.opacity, 6) for defect in defects} == {round(0.1 * i, 6) for i in range(1, 11)}
    scales = {round(defect.diameter / (8 * 96 / 512), 6) for defect in defects}
    assert scales == {0.5 + 0.25 * i for i in range(7)}
    assert len({defect.color for defect in defects}) == 5
    assert {len(defect.points) for defect in defects} == set(range(1, 13))


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
