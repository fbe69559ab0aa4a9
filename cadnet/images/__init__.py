"""Images, for preparing and predicting: files, sizes, tiles, label masks, the nearest reference."""

from cadnet.images.files import (
    MAX_PIXELS,
    SUFFIXES,
    Header,
    ImageError,
    decode,
    encode_png,
    read_header,
    read_image,
    read_mask,
    write_png,
)

__all__ = [
    "MAX_PIXELS", "SUFFIXES", "Header", "ImageError", "decode", "encode_png", "read_header", "read_image",
    "read_mask", "write_png",
]  # fmt: skip
