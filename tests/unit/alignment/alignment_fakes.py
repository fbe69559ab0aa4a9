"""Self-made boards, photographs of them under known motions, and how far an estimate is off."""

from __future__ import annotations

import cv2
import numpy as np

MARGIN = 100
"""Pixels of board around the reference, so that a moved photograph shows board up to its border."""


def make_board(seed: int = 0, size: int = 512) -> np.ndarray:
    """Tracks and pads on green, uint8 (size + 2 MARGIN, size + 2 MARGIN, 3)."""
    rng = np.random.default_rng(seed)
    side = size + 2 * MARGIN
    board = np.full((side, side, 3), (20, 90, 30), np.uint8)
    for _ in range(side // 12):
        corners = rng.integers(0, side, (4, 2)).astype(np.int32)
        corners[1::2, int(rng.integers(2))] = corners[::2, int(rng.integers(2))]
        cv2.polylines(board, [corners], False, (40, 150, 60), int(rng.integers(2, 8)), cv2.LINE_AA)
    for _ in range(side // 8):
        centre = rng.integers(0, side, 2).tolist()
        cv2.circle(board, centre, int(rng.integers(4, 12)), (190, 180, 170), -1, cv2.LINE_AA)
        cv2.circle(board, centre, 3, (30, 30, 30), -1, cv2.LINE_AA)
    return cv2.GaussianBlur(board, (0, 0), 0.8)


def reference_of(board: np.ndarray) -> np.ndarray:
    """The middle of a board."""
    return board[MARGIN:-MARGIN, MARGIN:-MARGIN].copy()


def motion(dx: float, dy: float, degrees: float, size: int, perspective: float = 0.0) -> np.ndarray:
    """Matrix (3, 3) that turns about the middle of ``size`` pixels and then shifts."""
    half = (size - 1) / 2
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, 1, 0], [perspective, -perspective, 1]])
    to_middle = np.array([[1, 0, -half], [0, 1, -half], [0, 0, 1]])
    back = np.array([[1, 0, half + dx], [0, 1, half + dy], [0, 0, 1]])
    return back @ turn @ tilt @ to_middle


def photograph(board: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The board as seen where ``matrix`` takes reference pixels to, of the reference's size."""
    size = board.shape[0] - 2 * MARGIN
    place = np.array([[1, 0, -MARGIN], [0, 1, -MARGIN], [0, 0, 1]])
    return cv2.warpPerspective(board, matrix @ place, (size, size), flags=cv2.INTER_CUBIC)


def spoil(image: np.ndarray, seed: int = 0, noise: float = 5.0) -> np.ndarray:
    """Other exposure, light falling off to one side, noise, and a defect."""
    rng = np.random.default_rng(seed)
    height, width = image.shape[:2]
    light = np.linspace(0.7, 1.1, width)[None, :, None] * rng.uniform(0.8, 1.2)
    spoilt = image * light + rng.uniform(-10, 10) + rng.normal(0, noise, image.shape)
    y, x = rng.integers(0, height // 2, 2)
    spoilt[y : y + height // 8, x : x + width // 8] = rng.integers(0, 255, 3)
    return np.clip(spoilt, 0, 255).astype(np.uint8)


def apart(matrix: np.ndarray, truth: np.ndarray, size: int) -> float:
    """Largest distance in pixels between where two motions put points of a grid over the reference."""
    axis = np.linspace(0, size - 1, 5)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 1, 2)
    difference = cv2.perspectiveTransform(grid, matrix) - cv2.perspectiveTransform(grid, truth)
    return float(np.linalg.norm(difference, axis=2).max())
