"""The ten clean display patterns (paper Fig. 4): rendered once, kept as files, loaded by the generator.

``python -m cadnet.synthesis.patterns --out data/synlcd/patterns`` renders them again. Each shows another
human face: two on photographs in the public domain, eight drawn by formula before photographs that are CC0 or
in the public domain. The photographs ship inside scikit-image and matplotlib; docs/datasets/synlcd.md lists
their licences.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from cadnet.files import below, write_bytes
from cadnet.images import encode_png, read_image
from cadnet.signals import answered
from cadnet.synthesis import zones
from cadnet.synthesis.portraits import Portrait, draw_portrait

Zone = Callable[[int, int], np.ndarray]
"""(height, width) -> uint8 RGB array."""


class PictureError(RuntimeError):
    """The photographs of the patterns are missing; the message says how to get them."""


@dataclass(frozen=True)
class Picture:
    """A crop of a photograph: ``box`` is left, top, side as fractions of width, height and width.

    With a ``portrait``, that face is drawn before it; else the photograph shows a face itself.
    """

    source: str
    box: tuple[float, float, float]
    portrait: Portrait | None = None


@dataclass(frozen=True)
class Pattern:
    """One display pattern: its five zones and where they meet.

    ``middle`` is the x of the vertical border, ``left`` the y of the border between blocks and grey
    transition, ``right`` the two y borders text / chart / picture, all as fractions of the screen.
    """

    blocks: Zone
    text: Zone
    chart: Zone
    grey: Zone
    picture: Picture
    middle: float
    left: float
    right: tuple[float, float]


W, K, R, G, B = (255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)
Y, C, M = (255, 255, 0), (0, 255, 255), (255, 0, 255)
D, S, L = (64, 64, 64), (128, 128, 128), (192, 192, 192)


def _text(lines: Sequence[str], inks: Sequence[zones.Color], paper: zones.Color, font: int) -> Zone:
    return partial(zones.text_block, lines=lines, inks=inks, paper=paper, font=font)


PATTERNS = (
    Pattern(
        partial(zones.block_grid, colors=(R, G, B, K), columns=2),
        _text(("LCD TEST 01", "ABCDEFGHIJKLM", "The quick brown fox", "0123456789"), (K,), W, 0),
        zones.chart_wheel,
        zones.grey_horizontal,
        Picture("astronaut", (0.25, 0.0, 0.4)),
        0.5, 0.5, (0.25, 0.5),
    ),
    Pattern(
        partial(zones.block_grid, colors=(W, R, G, B, K, Y), columns=3),
        _text(("Panel B / 1920 x 1080", "RGB stripe 60 Hz", "jumps over the lazy dog"), (W, Y, C), K, 2),
        zones.chart_spectrum,
        partial(zones.grey_horizontal, steps=16),
        Picture(
            "coffee", (0.16, 0.0, 0.62),
            Portrait((224, 172, 140), (62, 38, 22), (90, 120, 150), (40, 60, 110), 1, -0.6, hair_length=0.9),
        ),
        0.52, 0.6, (0.2, 0.45),
    ),
    Pattern(
        partial(zones.block_grid, colors=(R, G, B, C, M, Y, W, K), columns=8),
        _text(("abcdefg HIJKLMN", "3.1415926535897", "Gamma 2.2 - D65", "mm | cm | inch"), (G,), K, 4),
        partial(zones.chart_triangle, paper=K),
        partial(zones.grey_opposed, bands=2),
        Picture(
            "rocket", (0.22, 0.0, 0.62),
            Portrait(
                (122, 78, 54), (18, 14, 14), (60, 36, 20), (190, 60, 50), 2, 0.6,
                hair_length=0.1, width=1.05, jaw=0.9, beard=0.8,
            ),
        ),
        0.48, 0.55, (0.28, 0.52),
    ),
    Pattern(
        partial(zones.block_windows, colors=(B, W, R, K, G, M), columns=2),
        _text(("DISPLAY CHECK", "pixel / sub-pixel", "WQXGA 2560*1600"), (R, B, K), L, 3),
        partial(zones.chart_ramps),
        zones.grey_vertical,
        Picture(
            "brick", (0.0, 0.0, 1.0),
            Portrait(
                (240, 198, 170), (196, 150, 84), (70, 130, 110), (230, 226, 214), 3, -0.4,
                hair_length=0.7, width=0.95, jaw=1.1,
            ),
        ),
        0.5, 0.65, (0.22, 0.42),
    ),
    Pattern(
        partial(zones.block_frames, colors=(K, R, G, B, W)),
        _text(
            ("Lorem ipsum dolor", "sit amet, consectetur", "adipiscing elit, sed", "do eiusmod tempor",
             "2024"),
            (D,), (250, 244, 220), 5,
        ),
        partial(zones.chart_patches, rows=3, columns=8, paper=D),
        partial(zones.grey_opposed, bands=4, steps=12),
        Picture(
            "retina", (0.0, 0.0, 1.0),
            Portrait(
                (196, 140, 104), (30, 22, 20), (52, 32, 22), (60, 90, 60), 4, 0.5,
                hair_length=0.2, glasses=True,
            ),
        ),
        0.55, 0.5, (0.24, 0.46),
    ),
    Pattern(
        partial(zones.block_grid, colors=(K, D, R, G, B, S, L, W, Y), columns=3),
        _text(
            ("x = 0.3127  y = 0.3290", "white 500 cd/m2", "black 0.05 cd/m2", "AaBbCcDdEeFfGgHh"),
            (Y, W), (0, 0, 110), 0,
        ),
        partial(zones.chart_wheel, paper=L),
        zones.grey_radial,
        Picture(
            "hubble_deep_field", (0.2, 0.05, 0.35),
            Portrait(
                (232, 184, 156), (150, 62, 30), (96, 140, 90), (80, 40, 90), 5, -0.7,
                hair_length=1.0, width=0.93, jaw=1.15,
            ),
        ),
        0.46, 0.58, (0.26, 0.55),
    ),
    Pattern(
        partial(zones.block_grid, colors=(G, R, K, B, W), columns=3),
        _text(("NO. 07  PASS / FAIL", "EFGHIJ klmnop 789", "contrast 1000:1"), (W, R), D, 1),
        partial(zones.chart_patches, rows=4, columns=6, paper=K),
        partial(zones.grey_vertical, steps=10),
        Picture(
            "gravel", (0.0, 0.0, 1.0),
            Portrait(
                (92, 58, 42), (14, 12, 12), (44, 28, 18), (220, 180, 60), 6, 0.4,
                hair_length=0.5, width=0.97, jaw=1.05,
            ),
        ),
        0.5, 0.55, (0.25, 0.48),
    ),
    Pattern(
        partial(zones.block_grid, colors=(R, K, G, W, B, S), columns=2),
        _text(
            ("Inspection 08", "Sphinx of black quartz,", "judge my vow. 24680"), (K, B), (225, 235, 255), 4
        ),
        partial(zones.chart_ramps, colors=(R, G, B, W)),
        partial(zones.grey_opposed, bands=3),
        Picture("grace_hopper", (0.17, 0.0, 0.68)),
        0.5, 0.48, (0.24, 0.46),
    ),
    Pattern(
        partial(zones.block_windows, colors=(G, K, B, W, R, Y), columns=3),
        _text(("MURA / LINE / POINT", "Pack my box with", "five dozen jugs", "13579 @ #9"), (C, W, M), K, 3),
        partial(zones.chart_spectrum, paper=W),
        partial(zones.grey_horizontal, steps=9),
        Picture(
            "grass", (0.0, 0.0, 1.0),
            Portrait(
                (218, 176, 150), (170, 168, 164), (90, 120, 160), (70, 76, 84), 7, -0.5,
                hair_length=0.05, width=1.05, jaw=0.85, beard=0.7, glasses=True,
            ),
        ),
        0.54, 0.56, (0.26, 0.5),
    ),
    Pattern(
        partial(zones.block_grid, colors=(B, G, R, K), columns=4),
        _text(
            ("FINAL 10", "How vexingly quick", "daft zebras jump;", "[0x1F4A] {a+b} 97%"),
            (W,), (120, 0, 40), 2,
        ),
        partial(zones.chart_triangle, paper=W),
        partial(zones.grey_vertical),
        Picture(
            "camera", (0.0, 0.0, 1.0),
            Portrait(
                (206, 158, 122), (24, 18, 18), (48, 30, 20), (160, 40, 60), 8, 0.6,
                hair_length=0.8, width=0.96,
            ),
        ),
        0.5, 0.6, (0.22, 0.44),
    ),
)  # fmt: skip
"""The ten patterns. No photograph and no face is in two of them: the test pictures are unseen."""


def _photograph(source: str) -> np.ndarray:
    """A photograph that an installed package holds, uint8 RGB."""
    if source == "grace_hopper":
        import matplotlib

        return read_image(Path(matplotlib.get_data_path()) / "sample_data" / f"{source}.jpg")
    try:
        from skimage import data
    except ImportError as error:
        raise PictureError(
            "rendering the clean patterns needs the photographs of scikit-image; "
            "install them with `pip install 'cadnet[patterns]'`"
        ) from error
    image = np.asarray(getattr(data, source)())
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1)


def _draw_picture(picture: Picture, height: int, width: int) -> np.ndarray:
    image = _photograph(picture.source)
    tall, wide = image.shape[:2]
    left, top, side = round(picture.box[0] * wide), round(picture.box[1] * tall), round(picture.box[2] * wide)
    # The crop keeps the zone's shape, so that faces are not stretched.
    crop_width = min(side, wide - left, int((tall - top) * width / height))
    crop = image[top : top + round(crop_width * height / width), left : left + crop_width]
    shrinks = crop.shape[1] > width
    out = cv2.resize(
        np.ascontiguousarray(crop),
        (width, height),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC,
    )
    return draw_portrait(out, picture.portrait) if picture.portrait else out


def render_pattern(pattern: Pattern, size: int = 512) -> np.ndarray:
    """Render one pattern as uint8 RGB (size, size, 3).

    Raises:
        PictureError: scikit-image, which holds most photographs, is not installed.
    """
    middle, left = round(pattern.middle * size), round(pattern.left * size)
    upper, lower = (round(border * size) for border in pattern.right)
    out = np.empty((size, size, 3), np.uint8)
    out[:left, :middle] = pattern.blocks(left, middle)
    out[left:, :middle] = pattern.grey(size - left, middle)
    out[:upper, middle:] = pattern.text(upper, size - middle)
    out[upper:lower, middle:] = pattern.chart(lower - upper, size - middle)
    out[lower:, middle:] = _draw_picture(pattern.picture, size - lower, size - middle)
    return out


PATTERN_NAMES = tuple(f"{i:02d}" for i in range(1, 11))
"""Names of the ten patterns, without ``.png``."""


class PatternError(ValueError):
    """Clean patterns are missing or unusable; the message names them and the fix."""


def save_patterns(folder: Path | str, size: int = 512) -> list[Path]:
    """Render the ten patterns into ``folder`` as ``01.png`` ... ``10.png`` and return their paths.

    Raises:
        PictureError: scikit-image, which holds most photographs, is not installed.
        OSError: the folder cannot be written.
    """
    paths = []
    for name, pattern in zip(PATTERN_NAMES, PATTERNS, strict=True):
        path = Path(folder) / f"{name}.png"
        write_bytes(path, encode_png(render_pattern(pattern, size)))
        paths.append(path)
    return paths


def load_patterns(
    folder: Path | str, size: int, names: Sequence[str] = PATTERN_NAMES
) -> dict[str, np.ndarray]:
    """Read the clean patterns ``names`` from ``folder`` as uint8 RGB (size, size, 3), in that order.

    Raises:
        PatternError: patterns are missing, unreadable or not square; all of them are listed.
    """
    folder = Path(folder)
    patterns, wrong = {}, []
    for name in names:
        try:
            image = read_image(below(folder, f"{name}.png"))
        except (OSError, ValueError) as error:
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
            "Fetch them with `dvc pull data/synlcd` or render them with "
            f"`python -m cadnet.synthesis.patterns --out {folder}`"
        )
    return patterns


def main(arguments: Sequence[str] | None = None) -> int:
    """Render the ten patterns from the command line."""
    parser = argparse.ArgumentParser(description="Render the ten clean SynLCD display patterns.")
    parser.add_argument("--out", type=Path, required=True, help="folder for 01.png ... 10.png")
    parser.add_argument("--size", type=int, default=512, help="side in pixels")
    options = parser.parse_args(arguments)
    try:
        with answered():
            paths = save_patterns(options.out, options.size)
    except (PictureError, OSError) as error:
        parser.exit(1, f"error: {error}\n")
    parser.exit(0, f"wrote {len(paths)} patterns to {options.out}\n")


if __name__ == "__main__":
    main()
