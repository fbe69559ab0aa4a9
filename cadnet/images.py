"""Reading and writing images, with the size looked at before the pixels are decoded."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np

from cadnet.files import write_bytes
from cadnet.types import IGNORE_INDEX

# Run lengths with one fixed filter: 10 ms for a noisy 512 x 512 photograph where the defaults take 26 ms, at
# the same size (555 kB), because the noise leaves nothing to match and most time goes into looking for it.
_COLOR_PNG = (
    cv2.IMWRITE_PNG_COMPRESSION, 1,
    cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE,
    cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG,
)  # fmt: skip
# Masks are flat, so that unfiltered rows already are long runs.
_GREY_PNG = (
    cv2.IMWRITE_PNG_COMPRESSION, 1,
    cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE,
    cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE,
)  # fmt: skip


MAX_PIXELS = 2**27
"""Larger pictures are refused before decoding, which takes 3 bytes a pixel however small the file is."""
_END_BYTES = 1024
"""Where the end mark of a PNG is looked for; some programs write a few bytes after it."""


class ImageError(ValueError):
    """An image file cannot be used; the message names the file and the cure."""


def decode(path: Path | str, flags: int) -> np.ndarray:
    """Decode an image file with OpenCV ``flags``.

    Raises:
        FileNotFoundError: no such file.
        ImageError: the file is empty, truncated, not an image or of more than ``MAX_PIXELS`` pixels.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"image {path} does not exist")
    data = np.fromfile(path, dtype=np.uint8)
    # A cut-off file decodes to a half-grey picture without an error, so its end is looked for first.
    if not _is_whole(data):
        raise ImageError(f"image {path} is cut short; replace it with an intact copy")
    pixels = _pixels(data)
    if pixels > MAX_PIXELS:
        raise ImageError(f"image {path} has more than {MAX_PIXELS} pixels; cut it into smaller ones")
    try:
        image = cv2.imdecode(data, flags) if pixels else None
    except cv2.error:
        # Raised instead of None for sizes OpenCV does not take.
        image = None
    if image is None:
        raise ImageError(f"image {path} cannot be decoded (empty, truncated or not an image); replace it")
    return image


def _is_whole(data: np.ndarray) -> bool:
    """Whether a PNG or JPEG has its end mark; True for anything else."""
    if data[:4].tobytes() == b"\x89PNG":
        return b"IEND" in data[-_END_BYTES:].tobytes()
    if data[:3].tobytes() != b"\xff\xd8\xff":
        return True
    content, at = data.tobytes(), 2
    # Over the segments before the pixels, which may hold a thumbnail with an end mark of its own; after the
    # pixels some cameras write more.
    while content[at : at + 1] == b"\xff" and content[at + 1 : at + 2] not in (b"\xda", b""):
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return content.find(b"\xff\xd9", at) >= 0


def _pixels(data: np.ndarray) -> int:
    """Number of pixels from a file's header alone; 0 when it is no image."""
    if data[:4].tobytes() == b"\x89PNG":
        width, height = (int.from_bytes(data[at : at + 4].tobytes(), "big") for at in (16, 20))
        return width * height
    # Imported here because nearly all files are PNG.
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data.tobytes())) as header:
            return header.width * header.height
    except Image.DecompressionBombError:
        return MAX_PIXELS + 1
    except (OSError, ValueError, SyntaxError):
        return 0


def read_image(path: Path | str) -> np.ndarray:
    """Read an RGB image as uint8 (H, W, 3); greyscale files get three equal channels.

    Raises:
        FileNotFoundError: no such file.
        ImageError: the file cannot be decoded.
    """
    return cv2.cvtColor(decode(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_mask(path: Path | str, num_classes: int) -> np.ndarray:
    """Read a label mask as uint8 (H, W) with values 0..``num_classes`` and 255 for ignore.

    Raises:
        FileNotFoundError: no such file.
        ImageError: undecodable, not single-channel 8 bit, or a value that names no class.
    """
    mask = decode(path, cv2.IMREAD_UNCHANGED)
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ImageError(
            f"mask {path} has shape {mask.shape} and type {mask.dtype}; "
            "save it as a single-channel 8-bit PNG of class numbers"
        )
    values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    wrong = [int(v) for v in values if v > num_classes and v != IGNORE_INDEX]
    if wrong:
        raise ImageError(
            f"mask {path} holds values {wrong}; allowed are 0 (background), 1..{num_classes} (classes) "
            f"and {IGNORE_INDEX} (ignore)"
        )
    return mask


def encode_png(image: np.ndarray) -> bytes:
    """Encode a uint8 array (H, W) or RGB (H, W, 3) as PNG bytes."""
    settings = _GREY_PNG
    if image.ndim == 3:
        image, settings = cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _COLOR_PNG
    ok, data = cv2.imencode(".png", image, settings)
    if not ok:
        raise ImageError(f"an array of shape {image.shape} and type {image.dtype} cannot be written as PNG")
    return data.tobytes()


def write_png(path: Path | str, image: np.ndarray) -> None:
    """Write a uint8 array (H, W) or RGB (H, W, 3) as PNG, atomically."""
    write_bytes(path, encode_png(image))
