from __future__ import annotations

import numpy as np
import pytest

from cadnet.preparers.pku_pcb.layout import read_annotation
from cadnet.preparers.pku_pcb.plan import count_rules
from cadnet.preparers.pku_pcb.windows import Rectangle, cover, draw_clean_windows, draw_windows
from tests.samples import sample

SHAPE = (300, 420)


def scattered(seed: int, count: int) -> list[Rectangle]:
    random = np.random.default_rng(seed)
    corners = random.integers((0, 0), (SHAPE[1] - 40, SHAPE[0] - 30), (count, 2)).tolist()
    return [Rectangle(x, y, x + 40, y + 30) for x, y in corners]


@pytest.mark.parametrize("seed", range(20))
def test_every_defect_is_whole_in_a_window_inside_the_photograph(seed: int) -> None:
    rectangles = scattered(seed, 1 + seed % 9)
    places = draw_windows(None, SHAPE, rectangles, 128, f"{seed}")
    assert len(places) <= len(rectangles)
    assert all(0 <= x <= SHAPE[1] - 128 and 0 <= y <= SHAPE[0] - 128 for x, y in places)
    assert all(any(r.within(x, y, 128) for x, y in places) for r in rectangles)


def test_near_defects_share_a_window_which_may_move_as_far_as_both_stay_whole() -> None:
    near = [Rectangle(100, 100, 120, 120), Rectangle(150, 160, 170, 190)]
    assert cover(420, 300, near, 128) == [((42, 100), (62, 100))]
    far = [Rectangle(0, 0, 20, 20), Rectangle(400, 280, 420, 300)]
    assert cover(420, 300, far, 128) == [((0, 0), (0, 0)), ((292, 292), (172, 172))]


def test_a_defect_larger_than_a_window_is_shown_from_its_middle() -> None:
    assert cover(420, 300, [Rectangle(100, 10, 300, 40)], 128) == [((136, 136), (0, 0))]


def test_photographs_smaller_than_a_window() -> None:
    assert cover(100, 90, [Rectangle(60, 50, 99, 89)], 128) == [((0, 0), (0, 0))]
    assert draw_clean_windows(None, (90, 100), [], 128, 3, "") == []


def test_places_are_drawn_by_the_key_alone_and_differ() -> None:
    rectangle = [Rectangle(200, 150, 220, 170)]
    places = {str(k): draw_windows(None, SHAPE, rectangle, 128, str(k)) for k in range(30)}
    assert places == {str(k): draw_windows(None, SHAPE, rectangle, 128, str(k)) for k in range(30)}
    xs = [place[0][0] for place in places.values()]
    assert len(set(xs)) > 20 and min(xs) < 120 and max(xs) > 170


def test_windows_keep_away_from_what_the_photograph_does_not_show() -> None:
    outside = np.zeros(SHAPE, bool)
    outside[:, :150] = True
    rectangle = [Rectangle(180, 150, 200, 170)]
    blind = [draw_windows(None, SHAPE, rectangle, 128, str(k))[0][0] for k in range(20)]
    seeing = [draw_windows(outside, SHAPE, rectangle, 128, str(k))[0][0] for k in range(20)]
    assert min(seeing) >= 128 > min(blind)
    clean = draw_clean_windows(outside, SHAPE, rectangle, 64, 5, "a")
    assert len(clean) == 5 and all(x >= 144 for x, _ in clean)


def test_clean_windows_show_no_defect() -> None:
    rectangles = scattered(3, 6)
    clean = draw_clean_windows(None, SHAPE, rectangles, 64, 8, "a")
    assert clean and len(set(clean)) == len(clean)
    assert not any(r.touches(x, y, 64) for r in rectangles for x, y in clean)
    assert draw_clean_windows(None, SHAPE, [Rectangle(0, 0, 420, 300)], 64, 8, "a") == []


def test_counts_of_the_original_annotations_beside_the_paper() -> None:
    annotations = [read_annotation(file) for file in sample("pku-pcb-annotations").rglob("*.xml")]
    counts = list(count_rules(annotations, 1000).values())
    assert counts == [1375, 2953, 1570, 2209, 3693, 2227]
