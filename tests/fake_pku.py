"""PKU-Market-PCB's layout filled with small drawn boards whose defects are known to the pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from cadnet.config import PkuPcbParams
from cadnet.datasets.manifest import PreparedDataset, open_dataset
from cadnet.preparers.pku_pcb.plan import plan_pku_pcb
from cadnet.preparers.pku_pcb.rotation import turn_by
from cadnet.writing.dataset import write_dataset

WIDTH, HEIGHT = 420, 300
FOLDERS = {
    "missing_hole": "Missing_hole",
    "mouse_bite": "Mouse_bite",
    "open_circuit": "Open_circuit",
    "short": "Short",
    "spur": "Spur",
    "spurious_copper": "Spurious_copper",
}
BORDER = (151, 148, 143)
Corners = tuple[int, int, int, int]
"""xmin, ymin, xmax, ymax as written in an annotation: counted from 1, the last pixel included."""


class Drawn(NamedTuple):
    """A photograph as it was drawn: RGB (H, W, 3), true defects bool (H, W), and its boxes."""

    image: np.ndarray
    truth: np.ndarray
    boxes: list[Corners]


def draw_board(seed: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A green board with traces, pads and faint texture, uint8 RGB; no two places look alike."""
    random = np.random.default_rng(seed)
    board = np.empty((height, width, 3), np.uint8)
    board[:] = (8, 70, 12)
    for _ in range(width // 12):
        points = random.integers(0, (width, height), (3, 2)).tolist()
        cv2.polylines(board, [np.array(points, np.int32)], False, (25, 120, 40), 7)
    for _ in range(width // 30):
        cv2.circle(board, random.integers(0, (width, height)).tolist(), 9, (150, 140, 130), -1)
    texture = random.normal(0, 4, (height // 4 + 1, width // 4 + 1)).astype(np.float32)
    texture = cv2.resize(texture, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(cv2.GaussianBlur(board, (3, 3), 0) + texture[..., None], 0, 255).astype(np.uint8)


def draw_photograph(
    board: np.ndarray, seed: int, defects: int = 3, corners: Sequence[tuple[int, int]] = ()
) -> Drawn:
    """The board with ellipses of another colour at free places (or ``corners``), and noise of the camera."""
    random = np.random.default_rng((seed, 7))
    image, truth = board.copy(), np.zeros(board.shape[:2], bool)
    boxes = []
    places = list(corners)
    while len(places) < defects:
        x, y = random.integers((12, 12), (board.shape[1] - 50, board.shape[0] - 40)).tolist()
        if all(abs(x - a) > 45 or abs(y - b) > 35 for a, b in places):
            places.append((x, y))
    for x, y in places:
        one = np.zeros(board.shape[:2], np.uint8)
        cv2.ellipse(one, (x + 16, y + 12), (10, 7), int(random.integers(0, 90)), 0, 360, 1, -1)
        image[one > 0] = np.clip(image[one > 0] + np.array((70, -60, 90)), 0, 255)
        truth |= one > 0
        boxes.append((x + 1, y + 1, x + 33, y + 25))
    noisy = image + random.normal(0, 1.5, image.shape)
    return Drawn(np.clip(noisy, 0, 255).astype(np.uint8), truth, boxes)


def write_fake_pku(
    root: Path,
    photographs: int = 2,
    boards: Sequence[str] = ("01", "07"),
    classes: Sequence[str] = tuple(FOLDERS),
    rotation: str | None = None,
    sign: int = 1,
) -> Path:
    """Write ``photographs`` of each board and class.

    ``rotation``: "grown" or "kept" canvas of rotated copies, None for no copies; ``sign`` -1 turns them
    against what the angle files say.
    """
    number = 0
    for board_number, board in enumerate(boards):
        clean = draw_board(board_number)
        write_jpeg(root / "PCB_USED" / f"{board}.JPG", clean)
        for label in classes:
            for index in range(photographs):
                number += 1
                name = f"{board}_{label}_{index + 1:02d}"
                drawn = draw_photograph(clean, number)
                write_jpeg(root / "images" / FOLDERS[label] / f"{name}.jpg", drawn.image)
                write_annotation(root / "Annotations" / FOLDERS[label] / f"{name}.xml", label, drawn.boxes)
                if rotation:
                    _write_copy(root, name, label, drawn.image, number, rotation, sign)
    return root


def _write_copy(
    root: Path, name: str, label: str, image: np.ndarray, number: int, rotation: str, sign: int
) -> None:
    angle = number * 3 % 21 - 10
    matrix, size = turn_by(image.shape[1], image.shape[0], angle * sign, rotation == "grown")
    copy = cv2.warpAffine(image, matrix, size, borderValue=BORDER)
    write_jpeg(root / "rotation" / f"{FOLDERS[label]}_rotation" / f"{name}.jpg", copy)
    with (root / "rotation" / f"{FOLDERS[label]}_angles.txt").open("a") as file:
        file.write(f"{name}\t{angle}\n")


def write_jpeg(path: Path, image: np.ndarray) -> Path:
    """Write RGB as JPEG of high quality."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 97))[1]
    path.write_bytes(data.tobytes())
    return path


def write_annotation(
    path: Path, label: str, boxes: Sequence[Corners], size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Path:
    """Write a VOC file as the data set has them."""
    objects = "".join(
        f"<object><name>{label}</name><pose>Unspecified</pose><truncated>0</truncated>"
        f"<difficult>0</difficult><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
        "</bndbox></object>"
        for x0, y0, x1, y1 in boxes
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"<annotation><folder>{path.parent.name}</folder><filename>{path.stem}.jpg</filename><size>"
        f"<width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>{objects}</annotation>"
    )
    return path


def pku_params(raw: Path, **changes: Any) -> PkuPcbParams:
    """Parameters for windows of 160 pixels and a drawn split, with ``changes``."""
    values = {"window": 160, "size": 160, "split_list": None} | changes
    return PkuPcbParams(preparer="pku_pcb", raw=str(raw), **values)


def prepare_pku(raw: Path, out: Path, workers: int = 1, **changes: Any) -> PreparedDataset:
    """Prepare ``raw`` into ``out`` and open what was made."""
    return open_dataset(write_dataset(plan_pku_pcb(pku_params(raw, **changes)), out, workers))
