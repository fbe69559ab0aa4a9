"""Product folders as a factory would fill them, with drawn boards, known motions and known defects."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from PIL import Image

from cadnet.config import AlignmentParams, PairsParams
from cadnet.datasets.manifest import open_dataset
from cadnet.images import read_mask
from cadnet.preparers.pairs import plan_pairs
from cadnet.writing.dataset import write_dataset

OFF = AlignmentParams(model="off")
YAML: dict[str, Any] = {"name": "board", "classes": ["scratch", "dent"]}


def board(seed: int = 0, width: int = 96, height: int = 80) -> np.ndarray:
    """A clean specimen, uint8 RGB (height, width, 3): pads and tracks on a textured ground."""
    draw = np.random.default_rng(seed)
    ground = cv2.GaussianBlur(draw.normal(0, 1, (height, width)), (0, 0), 4)
    image = np.repeat((110 + 120 * ground)[..., None], 3, axis=2) * (0.6, 1.0, 0.7)
    image = np.ascontiguousarray(np.clip(image, 20, 200).astype(np.uint8))
    for _ in range(max(6, width * height // 900)):
        x, y = int(draw.integers(0, width)), int(draw.integers(0, height))
        color = tuple(int(value) for value in draw.integers(60, 255, 3))
        if draw.random() < 0.5:
            cv2.circle(image, (x, y), int(draw.integers(2, 6)), color, -1)
        else:
            end = (int(draw.integers(0, width)), y)
            cv2.line(image, (x, y), end, color, int(draw.integers(1, 4)))
    return image


def moved(image: np.ndarray, dx: float, dy: float, degrees: float = 0.0) -> np.ndarray:
    """``image`` turned about its centre, then shifted; its edges are repeated."""
    height, width = image.shape[:2]
    return cv2.warpAffine(
        image, motion(width, height, dx, dy, degrees), (width, height), flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip


def motion(width: int, height: int, dx: float, dy: float, degrees: float = 0.0) -> np.ndarray:
    """Matrix (2, 3) of :func:`moved`."""
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    matrix[:, 2] += (dx, dy)
    return matrix


def rectangle(width: int, height: int, box: tuple[int, int, int, int], value: int = 1) -> np.ndarray:
    """A mask with one filled box left, top, right, bottom (not included)."""
    mask = np.zeros((height, width), np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = value
    return mask


def empty_png(width: int, height: int) -> bytes:
    """A grey PNG whose header promises ``height`` rows and that holds none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


class FakeProduct:
    """A product folder being filled."""

    def __init__(self, root: Path, **values: Any) -> None:
        self.root = root
        (root / "masks").mkdir(parents=True)
        self.yaml(**values)

    def yaml(self, **values: Any) -> None:
        """Write product.yaml: ``YAML`` with ``values`` over it."""
        text = yaml.safe_dump({**YAML, **values}, sort_keys=False)
        self.classes = list({**YAML, **values}["classes"])
        self.path("product.yaml").write_text(text, "utf-8")

    def path(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def picture(self, name: str, image: np.ndarray, **options: Any) -> Path:
        """Write a picture in the format of its name; ``options`` are Pillow's."""
        path = self.path(name)
        Image.fromarray(image).save(path, **options)
        return path

    def text(self, name: str, text: str) -> Path:
        path = self.path(name)
        path.write_text(text, "utf-8")
        return path

    def json(self, name: str, value: Any) -> Path:
        return self.text(name, json.dumps(value))

    def params(self, **values: Any) -> PairsParams:
        """Tiles of 64, pairs taken as aligned."""
        common = {"size": 64, "alignment": OFF, **values}
        return PairsParams(preparer="pairs", raw=str(self.root), **common)


def standard(root: Path, photographs: int = 20, **values: Any) -> FakeProduct:
    """Aligned photographs of 96 x 80 with index masks: some with a scratch, some of them with a dent."""
    product = FakeProduct(root, **values)
    clean = board()
    product.picture("references/clean.png", clean)
    for number in range(photographs):
        image, mask = clean.copy(), np.zeros((80, 96), np.uint8)
        if number % 2 == 0:
            image[20:24, 10 + number : 40 + number], mask[20:24, 10 + number : 40 + number] = 250, 1
        if number % 4 == 0:
            image[60:70, 50:60], mask[60:70, 50:60] = 5, 2
        product.picture(f"images/p{number:02d}.png", image)
        product.picture(f"masks/p{number:02d}.png", mask)
    return product


def small(root: Path, photographs: int = 6, **values: Any) -> FakeProduct:
    """Equal photographs of 64 x 64 without labels, named p0, p1...; its table gives splits."""
    product = FakeProduct(root, **values)
    clean = board(0, 64, 64)
    product.picture("references/clean.png", clean)
    lines = ["image,split"]
    for number in range(photographs):
        product.picture(f"images/p{number}.png", clean)
        lines.append(f"p{number}.png,{('train', 'val', 'test')[number % 3]}")
    product.text("images.csv", "\n".join(lines) + "\n")
    return product


def masks_of(product: FakeProduct, out: Path, **values: Any) -> dict[str, np.ndarray | None]:
    """Prepare a product: sample id -> its mask, None where there is none."""
    root = write_dataset(plan_pairs(product.params(**values)), out)
    manifest = open_dataset(root).manifest
    return {
        row.sample_id: read_mask(root / row.mask, len(product.classes)) if row.mask else None
        for row in manifest.itertuples()
    }


def pattern(seed: int, size: int = 128) -> np.ndarray:
    """Rectangles and rings of high contrast on grey, uint8 RGB (size, size, 3) in 30..130."""
    rng = np.random.default_rng(seed)
    image = np.full((size, size, 3), 80, np.uint8)
    for _ in range(24):
        x, y = (int(value) for value in rng.integers(0, size, 2))
        colour = [int(value) for value in rng.integers(30, 130, 3)]
        cv2.rectangle(image, (x, y), (x + 14, y + 10), colour, -1)
        cv2.circle(image, (y, x), 7, colour[::-1], 2)
    return cv2.GaussianBlur(image, (0, 0), 0.8)


def plain(*colour: int) -> np.ndarray:
    return np.full((40, 40, 3), colour, np.uint8)
