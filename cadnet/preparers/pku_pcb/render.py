"""From a photograph to the files and rows of its windows."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from cadnet.alignment import Alignment, align, estimate_alignment
from cadnet.config import PkuPcbParams
from cadnet.images import ImageError, read_image
from cadnet.images.resizing import resize_image, resize_mask
from cadnet.preparers.aligned import alignment_columns
from cadnet.preparers.pku_pcb.layout import CLASSES, Box, Photograph
from cadnet.preparers.pku_pcb.masks import Defect, find_defects, number
from cadnet.preparers.pku_pcb.rotation import find_turn, turn_image
from cadnet.preparers.pku_pcb.windows import View, cut, draw_clean_windows, draw_windows, turned, upright
from cadnet.types import IGNORE_INDEX
from cadnet.writing.units import Output, Unit, mask_pixels

DEFECTS = "defects"
"""Side table: one row for each box, with how its mask was found."""


class Item(NamedTuple):
    """A photograph and the split of all its windows."""

    photograph: Photograph
    split: str


class PkuPcbRenderer:
    """Writes the windows of photographs and of their rotated copies."""

    def __init__(self, root: Path, params: PkuPcbParams) -> None:
        self._root, self._params = root, params

    def render(self, unit: Unit, output: Output) -> None:
        """Write all windows of one photograph.

        Raises:
            ImageError: a file cannot be used.
            PreparationError: the rotated copy is not one of this photograph.
        """
        item: Item = unit.payload
        photograph, params = item.photograph, self._params
        raw = read_image(self._root / photograph.file)
        board = _board(self._root / photograph.board_file)
        if raw.shape != board.shape:
            raise ImageError(
                f"photograph {self._root / photograph.file} is decoded to another size than its board"
            )
        alignment = None
        image, boxes, outside = raw, photograph.annotation.boxes, None
        if params.alignment.model != "off":
            alignment = estimate_alignment(raw, board, params.alignment)
        if alignment is not None and alignment.accepted:
            image, _, outside = align(raw, None, board, alignment)
            boxes = tuple(_moved(box, alignment.matrix, raw.shape) for box in boxes)
        defects = find_defects(image, board, boxes, params.threshold, params.closing)
        self._record(photograph, defects, output)
        numbers = number(board.shape[:2], defects)
        if outside is not None:
            numbers[outside] = IGNORE_INDEX
        view = upright(image, board, numbers, boxes)
        columns = alignment_columns(alignment)
        self._write(view, item, "", columns | {"source": photograph.file, "angle": 0.0}, output)
        if photograph.copy is not None:
            view, angle = self._turned(view, raw, photograph, alignment)
            self._write(view, item, "-r", columns | {"source": photograph.copy, "angle": angle}, output)

    def _turned(
        self, view: View, raw: np.ndarray, photograph: Photograph, alignment: Alignment | None
    ) -> tuple[View, float]:
        """The view of the rotated copy, and its angle in degrees."""
        assert photograph.copy is not None
        path = self._root / photograph.copy
        copy = read_image(path)
        turn = find_turn(raw, copy, photograph.angle, str(path))
        if alignment is not None and alignment.accepted:
            # Turned by M, a reference point q is at M q and its image at M R q.
            whole = np.vstack([turn.matrix, (0, 0, 1)])
            moved = whole @ alignment.matrix @ np.linalg.inv(whole)
            copy = align(copy, None, turn_image(view.board, turn), alignment._replace(matrix=moved)).image
        return turned(view, copy, turn), turn.angle

    def _write(self, view: View, item: Item, suffix: str, columns: dict[str, Any], output: Output) -> None:
        params, sample = self._params, f"{item.photograph.sample}{suffix}"
        key, shape, outside = f"{params.seed}/{sample}", view.image.shape[:2], view.outside
        windows = [
            ("w", draw_windows(outside, shape, view.rectangles, params.window, key)),
            ("c", draw_clean_windows(
                outside, shape, view.rectangles, params.window, params.clean_per_photograph, f"{key}/clean"
            )),
        ]  # fmt: skip
        for letter, corners in windows:
            for index, (x, y) in enumerate(corners):
                window = cut(view, x, y, params.window)
                name = f"{sample}-{letter}{index}"
                mask = resize_mask(window.mask, params.size)
                pixels = mask_pixels(mask, CLASSES)
                output.row(
                    sample_id=name,
                    image=output.image("images", name, resize_image(window.image, params.size)),
                    reference=output.image("references", name, resize_image(window.reference, params.size)),
                    mask=output.image("masks", name, mask),
                    split=item.split,
                    subset=item.photograph.board,
                    group=item.photograph.name,
                    has_defect=any(pixels.values()),
                    width=params.size,
                    height=params.size,
                    **pixels,
                    x=x,
                    y=y,
                    **columns,
                )

    def _record(self, photograph: Photograph, defects: list[Defect], output: Output) -> None:
        for defect, clipped in zip(defects, photograph.annotation.clipped, strict=True):
            box = defect.box
            output.record(
                DEFECTS,
                photograph=photograph.name,
                defect_class=box.label,
                x0=box.x0,
                y0=box.y0,
                x1=box.x1,
                y1=box.y1,
                clipped=clipped,
                method=defect.method,
                pixels=int(defect.mask.sum()),
                coverage=round(defect.coverage, 4),
                threshold=round(defect.threshold, 2),
            )


@lru_cache(maxsize=2)
def _board(path: Path) -> np.ndarray:
    return read_image(path)


def _moved(box: Box, matrix: np.ndarray, shape: tuple[int, ...]) -> Box:
    """The upright box around ``box`` after bringing the photograph onto its board."""
    corners = np.array([(x, y) for x in (box.x0, box.x1) for y in (box.y0, box.y1)], np.float64)
    moved = cv2.perspectiveTransform(corners[:, None], np.linalg.inv(matrix))[:, 0]
    left, top = np.floor(moved.min(axis=0)).astype(int)
    right, bottom = np.ceil(moved.max(axis=0)).astype(int)
    # A box that has left the board becomes two pixels at its edge.
    x0, y0 = np.clip((left, top), 0, (shape[1] - 2, shape[0] - 2)).tolist()
    x1, y1 = np.clip((right, bottom), (x0 + 2, y0 + 2), (shape[1], shape[0])).tolist()
    return Box(box.label, x0, y0, x1, y1)
