"""Reading and writing images: what is refused, and that what is written comes back."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cadnet.images import MAX_PIXELS, ImageError, encode_png, read_header, read_image, read_mask, write_png


@pytest.fixture
def photograph() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def empty_png(width: int, height: int, rows: int = 0) -> bytes:
    """A grey PNG whose header promises ``height`` rows and whose data hold ``rows``."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((width + 1) * rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


class TestRoundTrip:
    def test_colour(self, tmp_path: Path, photograph: np.ndarray) -> None:
        write_png(tmp_path / "new" / "a.png", photograph)
        assert np.array_equal(read_image(tmp_path / "new" / "a.png"), photograph)

    def test_channels_are_red_green_blue(self, tmp_path: Path) -> None:
        red = np.zeros((4, 4, 3), np.uint8)
        red[..., 0] = 200
        write_png(tmp_path / "red.png", red)
        stored = cv2.imread(str(tmp_path / "red.png"), cv2.IMREAD_COLOR)
        assert stored[0, 0].tolist() == [0, 0, 200]  # OpenCV's order is blue, green, red

    def test_mask(self, tmp_path: Path) -> None:
        mask = np.array([[0, 1, 2], [255, 0, 2]], np.uint8)
        write_png(tmp_path / "m.png", mask)
        read = read_mask(tmp_path / "m.png", num_classes=2)
        assert read.dtype == np.uint8
        assert read.tolist() == mask.tolist()

    def test_equal_pixels_give_equal_bytes(self, photograph: np.ndarray) -> None:
        assert encode_png(photograph) == encode_png(photograph.copy())

    def test_grey_file_gets_three_equal_channels(self, tmp_path: Path) -> None:
        grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
        write_png(tmp_path / "g.png", grey)
        image = read_image(tmp_path / "g.png")
        assert image.shape == (3, 4, 3)
        assert all(np.array_equal(image[..., channel], grey) for channel in range(3))

    def test_other_formats_are_read(self, tmp_path: Path, photograph: np.ndarray) -> None:
        cv2.imwrite(str(tmp_path / "a.bmp"), photograph[..., ::-1])
        assert np.array_equal(read_image(tmp_path / "a.bmp"), photograph)

    def test_failed_write_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises((ImageError, cv2.error)):
            write_png(tmp_path / "a.png", np.zeros((0, 0), np.uint8))
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3)])
def test_photographs_of_unknown_range_are_refused(
    tmp_path: Path, suffix: str, shape: tuple[int, ...]
) -> None:
    # 12 bits of a camera: by their upper bytes they would have 16 grey levels.
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 4096, shape).astype(np.uint16))
    with pytest.raises(ImageError, match=rf"a\.{suffix} has values of type uint16, .* 8 bits"):
        read_image(path)


class TestDamage:
    @pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
    def test_truncated_png(self, tmp_path: Path, photograph: np.ndarray, share: float) -> None:
        data = encode_png(photograph)
        path = tmp_path / "cut.png"
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ImageError, match=r"cut\.png is cut short; replace it"):
            read_image(path)

    def test_flipped_byte(self, tmp_path: Path, photograph: np.ndarray) -> None:
        data = bytearray(encode_png(photograph))
        data[len(data) // 2] ^= 0xFF
        (tmp_path / "bad.png").write_bytes(bytes(data))
        with pytest.raises(ImageError, match=r"bad\.png cannot be decoded"):
            read_image(tmp_path / "bad.png")

    def test_missing_rows(self, tmp_path: Path) -> None:
        (tmp_path / "rows.png").write_bytes(empty_png(64, 64, rows=10))
        with pytest.raises(ImageError, match=r"rows\.png cannot be decoded"):
            read_image(tmp_path / "rows.png")

    @pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG", b"\x89PNGIEND", b"BM", b"\xff\xd8\xff"])
    def test_not_an_image(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "x.png").write_bytes(data)
        with pytest.raises(ImageError, match=r"x\.png .*; replace it"):
            read_image(tmp_path / "x.png")

    def test_truncated_jpeg(self, tmp_path: Path, photograph: np.ndarray) -> None:
        data = cv2.imencode(".jpg", cv2.resize(photograph, (256, 256)))[1].tobytes()
        (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
        with pytest.raises(ImageError, match=r"cut\.jpg is cut short; replace it"):
            read_image(tmp_path / "cut.jpg")

    def test_end_mark_of_a_thumbnail_is_another(self, tmp_path: Path, photograph: np.ndarray) -> None:
        data = cv2.imencode(".jpg", cv2.resize(photograph, (256, 256)))[1].tobytes()
        thumbnail = b"\xff\xd8\xff\xda small \xff\xd9"
        segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
        whole = data[:2] + segment + data[2:]
        (tmp_path / "whole.jpg").write_bytes(whole + b"a short film")
        assert read_image(tmp_path / "whole.jpg").shape == (256, 256, 3)
        (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ImageError, match=r"cut\.jpg is cut short"):
            read_image(tmp_path / "cut.jpg")

    def test_bytes_after_the_end_do_no_harm(self, tmp_path: Path, photograph: np.ndarray) -> None:
        (tmp_path / "a.png").write_bytes(encode_png(photograph) + b"\n")
        assert np.array_equal(read_image(tmp_path / "a.png"), photograph)

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"gone\.png does not exist"):
            read_image(tmp_path / "gone.png")


class TestSize:
    def test_huge_png_is_refused_before_decoding(self, tmp_path: Path) -> None:
        (tmp_path / "bomb.png").write_bytes(empty_png(60_000, 60_000))
        with pytest.raises(ImageError, match=f"bomb.png has more than {MAX_PIXELS} pixels"):
            read_image(tmp_path / "bomb.png")

    def test_huge_bitmap_is_refused_before_decoding(self, tmp_path: Path) -> None:
        info = struct.pack("<IiiHHIIiiII", 40, 30_000, 30_000, 1, 24, 0, 0, 0, 0, 0, 0)
        (tmp_path / "bomb.bmp").write_bytes(b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info)
        with pytest.raises(ImageError, match=r"bomb\.bmp has more than"):
            read_image(tmp_path / "bomb.bmp")

    def test_a_line_longer_than_opencv_takes(self, tmp_path: Path) -> None:
        (tmp_path / "line.png").write_bytes(empty_png(2**21, 1, rows=1))
        with pytest.raises(ImageError, match=r"line\.png cannot be decoded"):
            read_image(tmp_path / "line.png")


class TestMasks:
    def test_values_without_a_class_are_named(self, tmp_path: Path) -> None:
        write_png(tmp_path / "m.png", np.array([[0, 1, 3, 200]], np.uint8))
        with pytest.raises(ImageError, match=r"m\.png holds values \[3, 200\]; allowed are 0 .*1\.\.2 .*255"):
            read_mask(tmp_path / "m.png", num_classes=2)

    def test_the_number_of_classes_decides(self, tmp_path: Path) -> None:
        write_png(tmp_path / "m.png", np.array([[15, 255]], np.uint8))
        assert read_mask(tmp_path / "m.png", num_classes=15).tolist() == [[15, 255]]
        with pytest.raises(ImageError, match=r"\[15\]"):
            read_mask(tmp_path / "m.png", num_classes=14)

    def test_sixteen_bits(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "m.png"), np.ones((4, 4), np.uint16))
        with pytest.raises(
            ImageError, match=r"m\.png has shape \(4, 4\) and type uint16; save it as a single"
        ):
            read_mask(tmp_path / "m.png", num_classes=1)

    def test_colour(self, tmp_path: Path, photograph: np.ndarray) -> None:
        write_png(tmp_path / "m.png", photograph)
        with pytest.raises(ImageError, match=r"m\.png has shape \(37, 53, 3\) and type uint8"):
            read_mask(tmp_path / "m.png", num_classes=1)

    def test_truncated(self, tmp_path: Path) -> None:
        (tmp_path / "m.png").write_bytes(encode_png(np.eye(64, dtype=np.uint8))[:-10])
        with pytest.raises(ImageError, match=r"m\.png is cut short"):
            read_mask(tmp_path / "m.png", num_classes=1)


class TestHeader:
    @pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
    def test_sizes_are_those_of_the_decoded_photograph(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"a.{suffix}"
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(path, exif=exif)
        header = read_header(path)
        assert (header.height, header.width) == read_image(path).shape[:2] == (30, 20)
        assert header.turned

    def test_bombs_and_rubbish(self, tmp_path: Path) -> None:
        (tmp_path / "bomb.png").write_bytes(empty_png(40000, 40000))
        (tmp_path / "big.png").write_bytes(empty_png(12000, 12000))
        for name in ("bomb.png", "big.png"):
            with pytest.raises(ImageError, match="more than 134217728 pixels"):
                read_header(tmp_path / name)
        (tmp_path / "text.png").write_text("hello")
        with pytest.raises(ImageError, match="cannot be decoded"):
            read_header(tmp_path / "text.png")
