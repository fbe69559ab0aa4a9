from __future__ import annotations

import cv2
import numpy as np
import pytest

from cadnet.images import read_image
from cadnet.preparers.pku_pcb.layout import Box, read_annotation
from cadnet.preparers.pku_pcb.masks import LEAST_SD, Defect, compare, find_defects, measure_noise, number
from tests.fake_pku import Drawn, draw_board, draw_photograph
from tests.samples import sample

BOARD = draw_board(3)


def boxes_of(drawn: Drawn) -> list[Box]:
    return [Box("spur", x0 - 1, y0 - 1, x1, y1) for x0, y0, x1, y1 in drawn.boxes]


def found(image: np.ndarray, board: np.ndarray, boxes: list[Box]) -> tuple[list[Defect], np.ndarray]:
    defects = find_defects(image, board, boxes, threshold=6.0, closing=5)
    return defects, number(board.shape[:2], defects) > 0


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def through_jpeg(image: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, 90))[1], cv2.IMREAD_COLOR)


def test_masks_trace_the_defects() -> None:
    drawn = draw_photograph(BOARD, 1, defects=6)
    defects, mask = found(drawn.image, BOARD, boxes_of(drawn))
    assert [d.method for d in defects] == ["difference"] * 6
    assert overlap(mask, drawn.truth) > 0.93
    coverages = [drawn.truth[d.box.y0 : d.box.y1, d.box.x0 : d.box.x1].mean() for d in defects]
    assert [d.coverage for d in defects] == pytest.approx(coverages, abs=0.03)


@pytest.mark.parametrize("change", ["jpeg", "brighter", "shifted"])
def test_what_is_no_defect_does_not_show(change: str) -> None:
    drawn = draw_photograph(BOARD, 2, defects=6)
    image, board = drawn.image, BOARD
    if change == "jpeg":
        image, board = through_jpeg(image), through_jpeg(board)
    elif change == "brighter":
        image = np.clip(image.astype(float) * 1.15 + 6, 0, 255).astype(np.uint8)
    else:
        image = np.roll(image, 1, axis=1)
        drawn = drawn._replace(truth=np.roll(drawn.truth, 1, axis=1))
    defects, mask = found(image, board, boxes_of(drawn))
    assert all(d.method == "difference" for d in defects)
    assert overlap(mask, drawn.truth) > (0.75 if change == "shifted" else 0.88)


def test_noise_is_measured_per_channel_without_the_defects() -> None:
    random = np.random.default_rng(0)
    board = np.full((256, 256, 3), 100, np.uint8)
    image = np.clip(board + random.normal(0, (2, 6, 0), board.shape), 0, 255).round().astype(np.uint8)
    image[100:180, 100:180] = 255
    noise = measure_noise(image, board, [Box("spur", 100, 100, 180, 180)])
    # A (1, 2, 1)/4 blur in both directions leaves 3/8 of white noise's standard deviation.
    assert noise.sd[0] == pytest.approx([LEAST_SD, 6 * 3 / 8, LEAST_SD], rel=0.1)
    assert noise.gain == pytest.approx([1, 1, 1]) and noise.offset == pytest.approx([0, 0, 0], abs=0.6)


def test_edges_of_a_misaligned_pair_are_noisy() -> None:
    noise = measure_noise(np.roll(BOARD, 1, axis=1), BOARD, [])
    assert (np.diff(noise.sd, axis=0) >= 0).all() and noise.sd[-1].max() > 5 * noise.sd[0].max()
    deviations, levels = compare(np.roll(BOARD, 1, axis=1), BOARD, noise)
    assert levels.max() > 30 and (deviations > 6).mean() < 0.01


def test_a_hole_is_filled_and_gaps_are_closed() -> None:
    board = np.full((80, 80, 3), 90, np.uint8)
    image = board.copy()
    cv2.circle(image, (40, 40), 14, (200, 200, 200), 3)
    disc = cv2.circle(np.zeros((80, 80), np.uint8), (40, 40), 16, 1, -1) > 0
    image[38:42, 20:60] = 90
    _, mask = found(image, board, [Box("missing_hole", 20, 20, 60, 60)])
    assert mask[40, 40] and overlap(mask, disc) > 0.9


def test_a_faint_trail_is_no_part_of_its_defect() -> None:
    board = np.full((80, 80, 3), 90, np.uint8)
    image = board.copy()
    image[30:50, 10:70] = 102
    image[30:50, 30:50] = 140
    truth = np.zeros((80, 80), bool)
    truth[30:50, 30:50] = True
    _, mask = found(image, board, [Box("open_circuit", 5, 20, 75, 60)])
    assert overlap(mask, truth) > 0.95


def test_what_lies_beside_the_box_stays_out_and_what_reaches_over_it_stays_in() -> None:
    board = np.full((80, 120, 3), 90, np.uint8)
    image = board.copy()
    image[30:50, 26:52] = 150
    image[30:50, 76:84] = 150
    _, mask = found(image, board, [Box("short", 20, 20, 50, 60), Box("short", 88, 20, 110, 60)])
    assert mask[40, 27:51].all() and not mask[40, 54:80].any()


@pytest.mark.parametrize("change", [0, 60])
def test_a_box_without_a_plausible_difference_is_filled(change: int) -> None:
    board = np.full((80, 80, 3), 90, np.uint8)
    image = board.copy()
    image[20:60, 20:60] += change
    box = Box("spur", 20, 20, 60, 60)
    (defect,), mask = found(image, board, [box])
    assert (defect.method, defect.coverage) == ("box", 1.0)
    assert mask.sum() == box.area and mask[20:60, 20:60].all()


def test_where_defects_overlap_the_smaller_one_is_seen() -> None:
    def block(x0: int, x1: int, label: str) -> Defect:
        box = Box(label, x0, 0, x1, 10)
        return Defect(box, (slice(0, 10), slice(x0, x1)), np.ones((10, x1 - x0), bool), "box", 1.0, 0.0)

    numbers = number((10, 40), [block(10, 20, "spur"), block(0, 30, "short"), block(25, 35, "spur")])
    assert numbers[0].tolist() == [2] * 10 + [1] * 10 + [2] * 5 + [3] * 10 + [0] * 5


def test_boxes_at_the_edges_of_tiny_photographs() -> None:
    board = np.full((9, 11, 3), 90, np.uint8)
    image = board.copy()
    image[:4, :5] = 180
    defects, mask = found(image, board, [Box("spur", 0, 0, 8, 8), Box("spur", 9, 7, 11, 9)])
    assert [d.method for d in defects] == ["difference", "box"] and mask[:3, :4].all()


def test_real_boxes_get_masks_from_the_difference() -> None:
    root = sample("pku-pcb-sample")
    boards = {board: read_image(root / "PCB_USED" / f"{board}.JPG") for board in ("01", "07")}
    defects: list[Defect] = []
    for path in sorted((root / "images").rglob("*.jpg"))[::2]:
        boxes = read_annotation(root / "Annotations" / path.parent.name / f"{path.stem}.xml").boxes
        defects += find_defects(read_image(path), boards[path.stem[:2]], boxes, 6.0, 5)
    good = [d for d in defects if d.method == "difference" and 0.02 <= d.coverage <= 0.9]
    assert len(defects) > 50 and len(good) / len(defects) >= 0.95
