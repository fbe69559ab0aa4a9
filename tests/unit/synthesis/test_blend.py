from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest

from cadnet.synthesis.blend import (
    COLORS,
    TAIL,
    TOLERANCE,
    Canvas,
    choose_color,
    fuse_region,
    fuse_strip,
    line_profile,
    region_membrane,
    strip_membrane,
)


def laplace(known: np.ndarray, inside: np.ndarray, free_rows: bool = False) -> np.ndarray:
    """Solve Laplace's equation by a dense matrix; with ``free_rows`` the first and last row have free
    ends."""
    height = len(inside)
    where = [tuple(point) for point in np.argwhere(inside)]
    slot = {point: i for i, point in enumerate(where)}
    matrix, right = np.zeros((len(where), len(where))), np.zeros((len(where), known.shape[2]))
    for (y, x), i in slot.items():
        for point in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if free_rows and not 0 <= point[0] < height:
                continue
            matrix[i, i] += 1
            if point in slot:
                matrix[i, slot[point]] -= 1
            else:
                right[i] += known[point]
    return np.linalg.solve(matrix, right)


@pytest.mark.parametrize(("length", "width"), [(7, 1), (8, 4), (33, 5)])
def test_strip_membrane_is_the_exact_solution(length: int, width: int) -> None:
    known = np.random.default_rng(length).normal(0, 10, (length, width + 2, 3))
    inside = np.zeros((length, width + 2), bool)
    inside[:, 1:-1] = True
    found = strip_membrane(known[:, 0], known[:, -1], width)
    expected = laplace(known, inside, free_rows=True).reshape(length, width, 3)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_strip_membrane_between_constants_is_linear() -> None:
    found = strip_membrane(np.zeros((6, 1)), np.full((6, 1), 8.0), 3)
    np.testing.assert_allclose(found[:, :, 0], np.tile([2.0, 4.0, 6.0], (6, 1)), atol=1e-5)


@pytest.mark.parametrize("radius", [1, 3, 7])
def test_region_membrane_is_within_its_tolerance(radius: int) -> None:
    rng = np.random.default_rng(radius)
    canvas = np.zeros((40, 44), np.uint8)
    cv2.circle(canvas, (15, 15), radius, 1, -1)
    cv2.circle(canvas, (16 + radius, 17 + radius), radius, 1, -1)
    inside = canvas > 0
    known = rng.uniform(-12, 4, (40, 44, 3)).astype(np.float32)
    assert np.abs(region_membrane(known, inside) - laplace(known, inside)).max() <= TOLERANCE


def test_region_membrane_without_a_step_or_a_region() -> None:
    inside = np.zeros((6, 6), bool)
    assert region_membrane(np.ones((6, 6, 3), np.float32), inside).shape == (0, 3)
    inside[2:4, 2:4] = True
    assert not region_membrane(np.full((6, 6, 3), 0.1, np.float32), inside).any()


@pytest.mark.parametrize(("width", "sigma"), [(1, 0.05), (1, 0.8), (3, 0.8), (33, 0.8), (5, 3.0)])
def test_line_profile_is_symmetric_with_its_border_below_the_tail(width: int, sigma: float) -> None:
    profile = line_profile(width, sigma)
    np.testing.assert_allclose(profile, profile[::-1], atol=1e-6)
    assert profile.max() == 1 and len(profile) >= width + 2
    assert (profile[[0, -1]] < TAIL).all() and (profile[1:-1] >= TAIL - 1e-6).all()


@pytest.mark.parametrize("opacity", [0.1, 0.5, 1.0])
def test_fused_strip_reaches_its_opacity_and_ends_softly(opacity: float) -> None:
    clean = np.full((20, len(line_profile(9, 0.8)), 3), 100, np.uint8)
    fused = fuse_strip(clean, line_profile(9, 0.8), opacity, (255, 0, 100)).astype(float)
    middle = fused[10, fused.shape[1] // 2]
    assert middle[0] == pytest.approx(100 + opacity * 155, abs=0.5 + TAIL * opacity * 155)
    assert middle[1] == pytest.approx(100 - opacity * 100, abs=0.5 + TAIL * opacity * 100)
    assert (fused[..., 2] == 100).all() and (fused == fused[0]).all()
    rise = np.diff(fused[0, : fused.shape[1] // 2 + 1, 0])
    assert (rise >= -1).all() and abs(fused[0, 0, 0] - 100) < 0.5 * opacity * 155


def test_fused_region_equals_the_dense_poisson_solution() -> None:
    rng = np.random.default_rng(5)
    clean = cv2.GaussianBlur(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8), (0, 0), 2)
    dot = cv2.circle(np.zeros((24, 24), np.float32), (12, 11), 5, 1.0, -1)
    alpha = cv2.GaussianBlur(dot, (0, 0), 1.0)
    inside = alpha >= TAIL
    color, opacity = (255, 0, 0), 0.8
    fused = fuse_region(clean, alpha, inside, opacity, color)
    added = opacity * alpha[..., None] * (np.array(color) - clean.astype(float))
    expected = (clean + added)[inside] + laplace(-added, inside)
    assert np.abs(fused - np.clip(expected, 0, 255)).max() <= 0.5 + TOLERANCE


def test_color_is_never_the_one_it_covers() -> None:
    rng = np.random.default_rng(0)
    for covered in COLORS:
        pixels = np.tile(np.array(covered, np.uint8), (10, 1))
        seen = Counter(choose_color(pixels, 1.0, 3, rng) for _ in range(200))
        assert covered not in seen and len(seen) == 4 and min(seen.values()) > 25


def test_color_of_a_defect_too_faint_to_show_is_the_strongest() -> None:
    # At 250 grey levels white shows on four pixels, red, green and blue on four or more, black on three.
    pixels = np.array([[0, 0, 0]] * 4 + [[255, 255, 255]] * 3 + [[10, 10, 10]] * 3, np.uint8)
    chosen = {choose_color(pixels, 1.0, 250, np.random.default_rng(seed)) for seed in range(30)}
    assert (0, 0, 0) not in chosen
    assert choose_color(pixels[:1], 0.001, 3, np.random.default_rng(0)) in COLORS


def test_canvas_scales_with_the_screen() -> None:
    canvas = Canvas(np.zeros((128, 128, 3), np.uint8), np.zeros((128, 128), np.uint8), 0.8, 3)
    assert canvas.size == 128 and canvas.scale == 0.25 and canvas.sigma == pytest.approx(0.2)
