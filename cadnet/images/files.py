"""Image files: reading with the size checked before pixels are decoded, writing, and safe names."""

from __future__ import annotations

import hashlib
import io
import re
import unicodedata
import warnings
from pathlib import Path
from typing import Any, NamedTuple

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

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
"""Of files that are taken for images."""
MAX_PIXELS = 2**27
"""Larger pictures are refused before decoding, which takes 3 bytes a pixel however small the file is."""
_ORIENTATION = 0x0112
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
_SLUG_LENGTH = 40
_END_BYTES = 1024
"""Where the end mark of a PNG is looked for; some programs write a few bytes after it."""


class ImageError(ValueError):
    """An image file cannot be used; the message names the file and the fix."""


class Header(NamedTuple):
    """The content of an image's header.

    ``width`` and ``height`` are those of the image as shown, ``turned`` says that EXIF turns it by a right
    angle for that; ``mode`` is Pillow's name of the pixel format.
    """

    width: int
    height: int
    turned: bool
    mode: str


def read_header(path: Path) -> Header:
    """Read an image's header without decoding its pixels.

    Raises:
        ImageError: it is no image, or one of more than ``MAX_PIXELS`` pixels.
    """
    # Imported here, as below, because nearly all files are PNG and decoded without it.
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # The limit is ours, below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                (width, height), mode, kind = picture.size, picture.mode, picture.format
                # Not of more pixels than allowed, because reading the entry may decode them.
                turned = width * height <= MAX_PIXELS and _orientation(picture) in (5, 6, 7, 8)
    except Image.DecompressionBombError:
        width, height, mode, kind, turned = MAX_PIXELS, 2, "", "", False
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(_unreadable(path)) from error
    if width * height > MAX_PIXELS:
        raise ImageError(_too_large(path))
    # Pillow gives a TIFF's size as shown, that of the others as stored.
    if turned and kind != "TIFF":
        width, height = height, width
    return Header(width, height, turned, mode)


def _orientation(picture: Any) -> int:
    """EXIF's orientation, 1..8, of an opened Pillow image."""
    from PIL import Image

    if picture.format == "PNG":
        # Pillow would decode the whole picture to find the entry behind its pixels.
        exif = Image.Exif()
        exif.load(picture.info.get("exif") or b"")
    else:
        exif = picture.getexif()
    return int(exif.get(_ORIENTATION, 1))


def _unreadable(path: Path) -> str:
    return f"image {path} cannot be decoded (empty, truncated or not an image); replace it"


def _too_large(path: Path) -> str:
    return f"image {path} has more than {MAX_PIXELS} pixels; cut it into smaller ones"


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
        raise ImageError(_too_large(path))
    try:
        image = cv2.imdecode(data, flags) if pixels else None
    except cv2.error:
        # Raised instead of None for sizes OpenCV does not take.
        image = None
    if image is None:
        raise ImageError(_unreadable(path))
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
        ImageError: the file cannot be decoded, or has more than 8 bits per channel.
    """
    image = decode(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image.dtype != np.uint8:
        # A camera's 12 bits in a 16-bit file would be almost black, and every defect in them good.
        raise ImageError(
            f"image {path} has values of type {image.dtype}, and which of them are black and white is not "
            "known; save it with 8 bits per channel, photographs and references alike"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


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


def is_safe(name: str) -> bool:
    """Whether ``name`` can be a file name on any system: ASCII letters, digits, ``_``, ``.`` and ``-``."""
    return _SAFE.fullmatch(name) is not None


def slug(name: str, key: str) -> str:
    """Return what is left of ``name`` in ASCII letters, digits, ``_`` and ``-``, with a digest of ``key``."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.sub(r"[^A-Za-z0-9_]+", "-", plain).strip("-")[:_SLUG_LENGTH].strip("-")
    return f"{words or 'x'}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def safe_name(name: str) -> str:
    """Return ``name`` where it is safe, else a slug of it."""
    return name if is_safe(name) else slug(name, name)
