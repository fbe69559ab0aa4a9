"""The ten clean display patterns (paper Fig. 4): drawn once, kept as files, loaded by the generator.

``python -m cadnet.synthesis.patterns --out data/synlcd/patterns`` draws them again. The pictures are
public-domain or CC0 photographs that ship inside scikit-image, needed only for that.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from cadnet.files import write_bytes
from cadnet.images import ImageError, encode_png, read_image

PATTERN_NAMES = tuple(f"{i:02d}" for i in range(1, 11))
"""Names of the ten patterns, without ``.png``."""


class PatternError(ValueError):
    """Clean patterns are missing or unusable; the message names them and the cure."""


def save_patterns(folder: Path | str, size: int = 512) -> list[Path]:
    """Draw the ten patterns into ``folder`` as ``01.png`` ... ``10.png`` and return their paths.

    Raises:
        PictureError: scikit-image, which brings the photographs, is not installed.
        OSError: the folder cannot be written.
    """
    from cadnet.synthesis.designs import PATTERNS, draw_pattern

    paths = []
    for name, pattern in zip(PATTERN_NAMES, PATTERNS, strict=True):
        path = Path(folder) / f"{name}.png"
        write_bytes(path, encode_png(draw_pattern(pattern, size)))
        paths.append(path)
    return paths


def load_patterns(
    folder: Path | str, size: int, names: Sequence[str] = PATTERN_NAMES
) -> dict[str, np.ndarray]:
    """Read the clean patterns ``names`` from ``folder`` as uint8 RGB (size, size, 3), in that order.

    Raises:
        PatternError: patterns are missing, unreadable or not square; all of them are listed with the cure.
    """
    folder = Path(folder)
    patterns, wrong = {}, []
    for name in names:
        try:
            image = read_image(folder / f"{name}.png")
        except (FileNotFoundError, ImageError) as error:
            wrong.append(str(error))
            continue
        if image.shape[0] != image.shape[1]:
            wrong.append(f"image {folder / name}.png is {image.shape[1]} x {image.shape[0]}, not square")
            continue
        if image.shape[0] != size:
            way = cv2.INTER_AREA if image.shape[0] > size else cv2.INTER_CUBIC
            image = cv2.resize(image, (size, size), interpolation=way)
        patterns[name] = image
    if wrong:
        raise PatternError(
            f"{len(wrong)} of {len(names)} clean patterns cannot be used: {'; '.join(wrong)}. "
            "Fetch them with `dvc pull data/synlcd` or draw them with "
            f"`python -m cadnet.synthesis.patterns --out {folder}`"
        )
    return patterns


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: draw the ten patterns."""
    parser = argparse.ArgumentParser(description="Draw the ten clean SynLCD display patterns.")
    parser.add_argument("--out", type=Path, required=True, help="folder for 01.png ... 10.png")
    parser.add_argument("--size", type=int, default=512, help="side in pixels")
    options = parser.parse_args(arguments)
    from cadnet.synthesis.designs import PictureError

    try:
        paths = save_patterns(options.out, options.size)
    except (PictureError, OSError) as error:
        parser.exit(1, f"error: {error}\n")
    parser.exit(0, f"wrote {len(paths)} patterns to {options.out}\n")


if __name__ == "__main__":
    main()
