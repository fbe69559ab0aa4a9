"""Objects of annotation files painted into masks, and run lengths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from cadnet.preparers.pairs.shapes import (
    MAX_OUTLINE,
    Outline,
    Shape,
    check_outline,
    paint,
    run_lengths,
    run_lengths_of,
    with_holes,
)


def box_of(mask: np.ndarray, value: int = 1) -> tuple[int, int, int, int, int]:
    """Left, top, right, bottom (not included) and number of pixels."""
    ys, xs = np.nonzero(mask == value)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1, len(xs)


def square(left: float, top: float, right: float, bottom: float) -> tuple[float, ...]:
    return (left, top, right, top, right, bottom, left, bottom)


class TestPaint:
    def test_a_polygon_on_pixel_edges_covers_exactly_its_pixels(self) -> None:
        mask, empty, _ = paint([Shape(1, Outline("polygon", (square(10, 5, 20, 15),)))], 40, 30)
        assert box_of(mask) == (10, 5, 20, 15, 100) and empty == []

    def test_a_box_and_a_polygon_cover_the_same(self) -> None:
        one, *_ = paint([Shape(1, Outline("polygon", (square(3, 4, 9, 30),)))], 40, 25)
        two, *_ = paint([Shape(1, Outline("box", ((3, 4, 9, 30),)))], 40, 25)
        assert np.array_equal(one, two) and box_of(one) == (3, 4, 9, 25, 126)

    @pytest.mark.parametrize("kind", ["polygon", "box"])
    def test_what_lies_outside_is_cut_off(self, kind: str) -> None:
        for edges, expected in (
            ((-30, -30, 5, 4), (0, 0, 5, 4, 20)),
            ((35, 20, 90, 90), (35, 20, 40, 25, 25)),
            ((-9, -9, 99, 99), (0, 0, 40, 25, 1000)),
        ):
            part = square(*edges) if kind == "polygon" else edges
            mask, empty, _ = paint([Shape(1, Outline(kind, (part,)))], 40, 25)  # type: ignore[arg-type]
            assert box_of(mask) == expected and not empty

    def test_what_covers_nothing_is_told(self) -> None:
        shapes = [
            Shape(1, Outline("polygon", (square(50, 50, 60, 60),))),
            Shape(1, Outline("box", ((5, 5, 5, 9),))),
            Shape(1, Outline("circle", ((-50.0, -50.0, 3.0),))),
            Shape(1, Outline("rle", ((1000,),))),
        ]
        mask, empty, _ = paint(shapes, 40, 25)
        assert not mask.any() and empty == shapes

    def test_later_objects_lie_over_earlier_ones(self) -> None:
        mask, *_ = paint(
            [Shape(1, Outline("box", ((0, 0, 10, 10),))), Shape(2, Outline("box", ((5, 0, 15, 10),)))], 40, 25
        )
        assert box_of(mask, 1) == (0, 0, 5, 10, 50) and box_of(mask, 2) == (5, 0, 15, 10, 100)

    def test_what_later_classes_cover_wholly_is_told(self) -> None:
        under, over = Shape(1, Outline("box", ((5, 5, 9, 9),))), Shape(2, Outline("box", ((4, 4, 20, 20),)))
        assert paint([under, over], 40, 25).hidden == [under]
        assert paint([over, under], 40, 25).hidden == []
        assert paint([under._replace(value=2), over], 40, 25).hidden == [], "its class is there"

    def test_parts_of_one_object_are_joined(self) -> None:
        mask, *_ = paint([Shape(1, Outline("polygon", (square(0, 0, 4, 4), square(10, 10, 14, 14))))], 40, 25)
        assert int(mask.sum()) == 32

    @pytest.mark.parametrize(("area", "pixels"), [(100 - 16, 84), (100, 100), (0, 100), (8400, 100)])
    def test_a_part_is_a_hole_where_the_stated_area_says_so(self, area: float, pixels: int) -> None:
        outline = Outline("polygon", (square(5, 5, 15, 15), square(8, 8, 12, 12)), area)
        mask = paint([Shape(1, with_holes(outline, 40, 25))], 40, 25).mask
        assert int(mask.sum()) == pixels and int(mask[10, 10]) == (pixels == 100)

    def test_a_hole_reached_by_a_bridge_stays_open(self) -> None:
        ring = (5, 5, 15, 5, 15, 15, 5, 15, 5, 8, 8, 8, 8, 12, 12, 12, 12, 8, 5, 8)
        mask = paint([Shape(1, Outline("polygon", (ring,)))], 40, 25).mask
        assert int(mask.sum()) == 84 and mask[10, 10] == 0

    def test_a_circle_covers_the_pixels_whose_centres_it_holds(self) -> None:
        mask, *_ = paint([Shape(1, Outline("circle", ((20.0, 12.0, 8.0),)))], 40, 25)
        down, across = np.mgrid[:25, :40] + 0.5
        assert np.array_equal(mask > 0, np.hypot(across - 20, down - 12) <= 8)
        assert int(mask.sum()) == pytest.approx(math.pi * 64, rel=0.05)

    def test_painting_in_a_window_gives_what_painting_the_whole_gives(self) -> None:
        draw = np.random.default_rng(0)
        for _ in range(40):
            part = tuple(float(v) for v in draw.uniform(-10, 50, 12))
            runs = coco_mask.frPyObjects([list(part)], 25, 40)
            whole = coco_mask.decode(runs)[:, :, 0]
            mask, *_ = paint([Shape(1, Outline("polygon", (part,)))], 40, 25)
            assert np.array_equal(mask, whole)


class TestRunLengths:
    def test_texts_of_pycocotools_come_back(self) -> None:
        draw = np.random.default_rng(1)
        for share in (0.0, 0.02, 0.3, 1.0):
            mask = (draw.random((25, 40)) < share).astype(np.uint8)
            text = coco_mask.encode(np.asfortranarray(mask))["counts"].decode()
            painted, *_ = paint([Shape(1, Outline("rle", (run_lengths(text),)))], 40, 25)
            assert np.array_equal(painted, mask) and run_lengths_of(mask > 0) == run_lengths(text)

    def test_runs_go_down_the_columns_and_begin_with_background(self) -> None:
        mask, *_ = paint([Shape(3, Outline("rle", ((2, 3, 1),)))], 3, 2)
        assert mask.tolist() == [[0, 3, 3], [0, 3, 0]]

    @pytest.mark.parametrize("text", ["Z", "é", "ZZZZZZZZZZZZ0", "\x00", "~", "5 5"])
    def test_other_texts_are_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="run length"):
            run_lengths(text)

    def test_negative_runs_are_refused(self) -> None:
        with pytest.raises(ValueError, match="negative"):
            run_lengths("O")


class TestCheck:
    @pytest.mark.parametrize(
        ("outline", "message"),
        [
            (Outline("polygon", ((1, 2, 3, 4),)), "has 4 coordinates"),
            (Outline("polygon", ((1, 2, 3, 4, 5, 6, 7),)), "has 7 coordinates"),
            (Outline("polygon", ((1, 2, 3, 4, 5, math.nan),)), "no numbers near"),
            (Outline("polygon", ((1, 2, 3, 4, 5, math.inf),)), "no numbers near"),
            (Outline("box", ((0, 0, 1e12, 3),)), "no numbers near"),
            (Outline("box", ((0, 0, 10**400, 3),)), "no numbers near"),
            (Outline("rle", ((10, 5),)), "cover 15 of 1000"),
            (Outline("rle", ((10**30,),)), "of 1000"),
        ],
    )
    def test_faults(self, outline: Outline, message: str) -> None:
        assert message in (check_outline(outline, 40, 25) or "")

    def test_an_endless_outline_is_refused_before_it_is_drawn(self) -> None:
        zigzag = (0.0, 0.0, 30000.0, 1.0) * int(MAX_OUTLINE / 60000 + 1)
        assert "too long" in (check_outline(Outline("polygon", (zigzag,)), 4000, 3000) or "")

    def test_good_ones_pass(self) -> None:
        assert check_outline(Outline("polygon", (square(-5, -5, 60, 60),)), 40, 25) is None
        assert check_outline(Outline("rle", ((10, 990),)), 40, 25) is None
