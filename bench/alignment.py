"""How exact and how fast pairs are aligned, each figure beside the bar it is compared with.

``python -m bench.alignment`` moves 512 px crops of real boards with defects by known shifts and rotations
at once, spoils them (exposure, noise, JPEG) and compares what is found with what was done: the error is the
largest distance on a grid over the crop. The same for other pictures and for perspective; then how far the
residual can be believed, photographs that need no motion, and pairs that must be refused. One thread. Sets
whose samples are missing are named and left out; SynLCD's patterns always exist.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import cv2
import numpy as np

from cadnet.alignment import estimate_alignment
from cadnet.config import AlignmentParams
from cadnet.images import read_image

ROOT = Path(__file__).parents[1]
BOARDS = ROOT.parent / "shared" / "data" / "pku-pcb-sample"
TRANSISTORS = ROOT.parent / "shared" / "data" / "mvtec-sample" / "transistor"
PATTERNS = ROOT / "data" / "synlcd" / "patterns"
SIZE = 512
SHIFT, DEGREES = 30.0, 5.0
PERSPECTIVE = 5e-5
"""Moves a corner of the crop by up to about 7 px."""
BAR_ERROR, BAR_FRACTION, BAR_MS = 0.5, 0.95, 50.0


class Case(NamedTuple):
    """A pair and its true motion (3, 3); ``name`` is its source."""

    name: str
    image: np.ndarray
    reference: np.ndarray
    truth: np.ndarray


def motion(rng: np.random.Generator, shift: float, degrees: float, perspective: float = 0.0) -> np.ndarray:
    """A random motion (3, 3) about the middle of the crop within the limits."""
    half = (SIZE - 1) / 2
    angle = np.deg2rad(rng.uniform(-degrees, degrees))
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    turn[2, :2] = rng.uniform(-perspective, perspective, 2)
    dx, dy = rng.uniform(-shift, shift, 2)
    there = np.array([[1, 0, -half], [0, 1, -half], [0, 0, 1]])
    return np.array([[1, 0, half + dx], [0, 1, half + dy], [0, 0, 1]]) @ turn @ there


def spoil(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another exposure, noise, and JPEG of quality 60 to 95."""
    noisy = (
        image * rng.uniform(0.7, 1.3) + rng.uniform(-25, 25) + rng.normal(0, rng.uniform(1, 8), image.shape)
    )
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 96))]
    return cv2.imdecode(
        cv2.imencode(".jpg", np.clip(noisy, 0, 255).astype(np.uint8), quality)[1], cv2.IMREAD_COLOR
    )


def moved(picture: np.ndarray, truth: np.ndarray, corner: tuple[int, int] = (0, 0)) -> np.ndarray:
    """Return the crop at ``corner`` (x, y) of a picture, moved by ``truth``."""
    shift = np.array([[1, 0, -corner[0]], [0, 1, -corner[1]], [0, 0, 1]])
    return cv2.warpPerspective(picture, truth @ shift, (SIZE, SIZE), flags=cv2.INTER_CUBIC)


def board_cases(count: int, perspective: float = 0.0) -> Iterator[Case]:
    """Crops around the defects of real photographs."""
    rng = np.random.default_rng(0)
    paths = sorted((BOARDS / "images").glob("*/*.jpg"))
    clean = {path.stem: read_image(path) for path in (BOARDS / "PCB_USED").iterdir()}
    for index in range(count):
        path = paths[index % len(paths)]
        photo, board = read_image(path), clean[path.name[:2]]
        tree = ElementTree.parse(BOARDS / "Annotations" / path.parent.name / f"{path.stem}.xml")
        boxes = [[int(box.findtext(key)) for key in ("xmin", "ymin")] for box in tree.iter("bndbox")]
        defect = np.array(boxes[rng.integers(len(boxes))])
        limits = np.array(board.shape[1::-1]) - SIZE - 100
        x, y = (int(v) for v in np.clip(defect - rng.integers(40, SIZE - 80, 2), 100, limits))
        truth = motion(rng, SHIFT, DEGREES, perspective)
        yield Case(
            path.stem, spoil(moved(photo, truth, (x, y)), rng), board[y : y + SIZE, x : x + SIZE], truth
        )


def picture_cases(paths: list[Path], count: int) -> Iterator[Case]:
    """Whole pictures reduced to the size of the crop; what comes in from outside is black."""
    rng = np.random.default_rng(1)
    for index in range(count):
        path = paths[index % len(paths)]
        picture = cv2.resize(read_image(path), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        truth = motion(rng, SHIFT, DEGREES)
        yield Case(path.stem, spoil(moved(picture, truth), rng), picture, truth)


def error(matrix: np.ndarray, truth: np.ndarray) -> float:
    """Largest distance in pixels between two motions on a 9 x 9 grid over the crop."""
    axis = np.linspace(0, SIZE - 1, 9)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 1, 2)
    return float(
        np.linalg.norm(
            cv2.perspectiveTransform(grid, matrix) - cv2.perspectiveTransform(grid, truth), axis=2
        ).max()
    )


def bench_motions(name: str, cases: Iterator[Case], model: str) -> None:
    """One line of the table: errors against the truth, and times."""
    params = AlignmentParams(model=model)
    errors, residuals, confidences, accepted, clock, cpu = [], [], [], [], [], []
    for case in cases:
        started = time.perf_counter(), time.process_time()
        found = estimate_alignment(case.image, case.reference, params)
        clock.append(1e3 * (time.perf_counter() - started[0]))
        cpu.append(1e3 * (time.process_time() - started[1]))
        errors.append(error(found.matrix, case.truth))
        residuals.append(found.residual)
        confidences.append(found.confidence)
        accepted.append(found.accepted)
    good, slow = np.mean(np.array(errors) < BAR_ERROR), np.percentile(clock, 95)
    print(
        f"{name:24} {len(errors):4} {good:7.1%} {np.median(errors):7.3f} {np.percentile(errors, 95):7.3f} "
        f"{max(errors):7.3f} {np.median(residuals):9.3f} {min(confidences):6.2f} {np.mean(accepted):8.1%} "
        f"{np.median(clock):7.1f} {np.mean(clock):6.1f} {slow:6.1f} {np.median(cpu):8.1f}",
        flush=True,
    )


def bench_calibration(name: str, cases: Iterator[Case]) -> None:
    """How the residual of pairs that are known to be up to some pixels apart compares with the truth."""
    rng = np.random.default_rng(2)
    pairs = []
    for case in cases:
        wrong = motion(rng, 2.0, 0.3)
        image = moved(case.reference, wrong)
        # What lies outside is left out, so that black corners do not count as texture.
        image = np.where(image.any(2, keepdims=True), image, case.reference)
        off = estimate_alignment(spoil(image, rng), case.reference, AlignmentParams(model="off"))
        pairs.append((error(wrong, np.eye(3)), off.residual))
    true, measured = np.array(pairs).T
    ratio = np.percentile(measured / true, (10, 50, 90))
    print(
        f"{name:24} {len(true):4} correlation {np.corrcoef(true, measured)[0, 1]:.3f}, measured / true "
        f"{ratio[1]:.2f} (10 % to 90 %: {ratio[0]:.2f} to {ratio[2]:.2f})"
    )


def bench_aligned() -> None:
    """Real photographs beside their clean board, as they are."""
    rows = []
    for path in sorted((BOARDS / "images").glob("*/*.jpg"))[::3]:
        board = read_image(BOARDS / "PCB_USED" / f"{path.name[:2]}.JPG")
        found = estimate_alignment(read_image(path), board, AlignmentParams())
        rows.append((found.method == "identity", found.residual, found.confidence))
    kept, residual, confidence = np.array(rows).T
    print(
        f"photographs as they are: identity kept {kept.mean():.1%} of {len(rows)}, residual at most "
        f"{residual.max():.3f} px, confidence at least {confidence.min():.3f}"
    )


def bench_wrong() -> None:
    """Crops of another board, of elsewhere on the same board, and blank ones."""
    rng = np.random.default_rng(3)
    one, seven = (read_image(BOARDS / "PCB_USED" / f"{name}.JPG") for name in ("01", "07"))
    wrong = []
    for _ in range(15):
        y, x = (int(v) for v in rng.integers(100, 900, 2))
        crop = one[y : y + SIZE, x : x + SIZE]
        wrong += [
            (seven[y : y + SIZE, x : x + SIZE], crop),
            (one[y : y + SIZE, x + 600 : x + 600 + SIZE], crop),
        ]
        wrong.append((np.full_like(crop, int(rng.integers(256))), crop))
    found = [estimate_alignment(*pair, AlignmentParams()) for pair in wrong]
    print(
        f"wrong pairs: {sum(f.accepted for f in found)} of {len(found)} accepted (bar 0), "
        f"confidence at most {max(f.confidence for f in found):.2f}"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=100, help="pairs of the main figure")
    count = parser.parse_args().pairs
    cv2.setNumThreads(1)
    patterns, transistors = sorted(PATTERNS.glob("*.png")), sorted(TRANSISTORS.glob("train/good/*.png"))
    for folder in (BOARDS, TRANSISTORS):
        if not folder.is_dir():
            print(f"LEFT OUT: no real samples in {folder}")
    print(f"bar: error below {BAR_ERROR} px in {BAR_FRACTION:.0%}, below {BAR_MS:.0f} ms a pair")
    print(
        f"{'motion up to 30 px, 5°':24} {'n':>4} {'<0.5px':>7} {'median':>7} {'p95':>7} {'max':>7} "
        f"{'residual':>9} {'conf>=':>6} {'accepted':>8} {'ms med':>7} {'mean':>6} {'p95':>6} {'cpu med':>8}"
    )
    few = max(count // 4, 10)
    if BOARDS.is_dir():
        bench_motions("boards, affine", board_cases(count), "affine")
        bench_motions("boards, homography", board_cases(few), "homography")
        bench_motions("  with perspective", board_cases(few, PERSPECTIVE), "homography")
    if transistors:
        bench_motions("transistors, affine", picture_cases(transistors, few), "affine")
    bench_motions("SynLCD patterns, affine", picture_cases(patterns, few), "affine")
    print("residual of pairs that are apart by a known motion of up to 2 px and 0.3°")
    if BOARDS.is_dir():
        bench_calibration("boards", board_cases(few))
    bench_calibration("SynLCD patterns", picture_cases(patterns, few))
    if BOARDS.is_dir():
        bench_aligned()
        bench_wrong()


if __name__ == "__main__":
    main()
