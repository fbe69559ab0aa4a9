"""Finding picture files, looking at their headers, and naming samples after them."""

from __future__ import annotations

import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from cadnet.images import MAX_PIXELS, ImageError
from cadnet.preparers.naming import is_safe, slug

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
SIDECARS = (".json", ".xml", ".md", ".csv", ".txt", ".yaml", ".db", ".ini")
"""Files beside photographs that are not meant to be photographs."""
_ORIENTATION = 0x0112


class Picture(NamedTuple):
    """A picture file: ``source`` is its path in the product's folder, ``name`` that below the folder that was
    asked for, without suffix; both with /, in Unicode's composed form."""

    path: Path
    source: str
    name: str


class Header(NamedTuple):
    """What a picture's header says.

    ``width`` and ``height`` are those of the picture as shown, ``turned`` says that EXIF turns it by a right
    angle for that; ``mode`` is Pillow's name of the pixel format.
    """

    width: int
    height: int
    turned: bool
    mode: str


def find_pictures(
    root: Path, spec: str, suffixes: Iterable[str] = SUFFIXES
) -> tuple[list[Picture], list[str]]:
    """Return the pictures that ``spec`` (a folder, file or glob below ``root``) means, in order of their
    paths.

    The second list holds the files that look as if they were meant but have no known suffix. Hidden files are
    not looked at.

    Raises:
        FileNotFoundError: ``spec`` has no wildcard and names nothing.
    """
    place = root / spec
    files: Iterator[Path]
    if place.is_dir():
        base, files = place, iter(place.rglob("*"))
    elif place.is_file():
        base, files = place.parent, iter([place])
    elif any(sign in spec for sign in "*?["):
        parts = PurePosixPath(spec).parts
        fixed = next(index for index, part in enumerate(parts) if any(sign in part for sign in "*?["))
        base, files = root.joinpath(*parts[:fixed]), root.glob(spec)
    else:
        raise FileNotFoundError(f"{place} does not exist; make it, or correct {spec!r} in product.yaml")
    found, others = [], []
    for file in files:
        below = file.relative_to(base)
        if any(part.startswith(".") or part == "__MACOSX" for part in below.parts) or not file.is_file():
            continue
        source = composed(file.relative_to(root).as_posix())
        if file.suffix.lower() in suffixes:
            found.append(Picture(file, source, composed(below.with_suffix("").as_posix())))
        elif file.suffix.lower() not in SIDECARS:
            others.append(source)
    return sorted(found, key=lambda item: item.source), sorted(others)


def composed(text: str) -> str:
    """Return ``text`` in Unicode's composed form; some systems take file names apart."""
    return unicodedata.normalize("NFC", text)


def read_header(path: Path) -> Header:
    """Look at a picture without decoding it.

    Raises:
        ImageError: it is no picture, or one of more than ``MAX_PIXELS`` pixels.
    """
    try:
        with warnings.catch_warnings():
            # The limit is ours, below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                (width, height), mode, kind = picture.size, picture.mode, picture.format
                # Not of more pixels than allowed, because looking for it may decode them.
                turned = width * height <= MAX_PIXELS and _turned(picture)
    except Image.DecompressionBombError:
        width, height, mode, kind, turned = MAX_PIXELS, 2, "", "", False
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(
            f"image {path} cannot be decoded (empty, truncated or not an image); replace it"
        ) from error
    if width * height > MAX_PIXELS:
        raise ImageError(f"image {path} has more than {MAX_PIXELS} pixels; cut it into smaller ones")
    # Pillow gives a TIFF's size as shown, that of the others as stored.
    if turned and kind != "TIFF":
        width, height = height, width
    return Header(width, height, turned, mode)


def _turned(picture: Image.Image) -> bool:
    """Whether EXIF turns the picture by a right angle."""
    if picture.format == "PNG":
        # Pillow would decode the whole picture to find the entry behind its pixels.
        exif = Image.Exif()
        exif.load(picture.info.get("exif") or b"")
    else:
        exif = picture.getexif()
    return exif.get(_ORIENTATION, 1) in (5, 6, 7, 8)


def safe_ids(pictures: Iterable[Picture]) -> dict[str, str]:
    """Return source -> a unique name that any system takes for a file.

    It is the picture's name with - for /, or, where that is not safe or not unique, a slug of it with a
    digest of the path.
    """
    plain = {item.source: item.name.replace("/", "-") for item in pictures}
    # Case must not tell names apart: some file systems do not see it.
    often = Counter(name.casefold() for name in plain.values())
    return {
        source: name if often[name.casefold()] == 1 and is_safe(name) else slug(name, source)
        for source, name in plain.items()
    }
