"""Tiles, names and headers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cadnet.images import ImageError, read_image
from cadnet.images.tiles import grid, padded, reduced, reduced_mask, starts
from cadnet.preparers.pairs.pictures import Picture, find_pictures, read_header, safe_ids
from tests.fake_pairs import empty_png


class TestStarts:
    @pytest.mark.parametrize(
        ("length", "size", "overlap", "expected"),
        [
            (64, 64, 0.125, [0]),
            (10, 64, 0.125, [0]),
            (65, 64, 0.0, [0, 1]),
            (128, 64, 0.0, [0, 64]),
            (130, 64, 0.0, [0, 64, 66]),
            (200, 64, 0.5, [0, 32, 64, 96, 128, 136]),
        ],
    )
    def test_values(self, length: int, size: int, overlap: float, expected: list[int]) -> None:
        assert starts(length, size, overlap) == expected

    def test_every_pixel_is_covered_and_neighbours_overlap_enough(self) -> None:
        for length in range(33, 400, 7):
            for overlap in (0.0, 0.125, 0.33, 0.75):
                places = starts(length, 32, overlap)
                assert places[0] == 0 and places[-1] == length - 32
                steps = np.diff(places)
                assert (steps > 0).all() and (32 - steps >= 32 * overlap).all()

    def test_suffixes_only_where_there_are_several(self) -> None:
        assert grid(64, 50, 64, 0) == [("", 0, 0)]
        assert grid(70, 64, 64, 0) == [("-r00c00", 0, 0), ("-r00c01", 6, 0)]


class TestPixels:
    def test_padding_repeats_edges_or_takes_a_value(self) -> None:
        image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
        wide = padded(image, 4)
        assert wide.shape == (4, 4, 3) and (wide[:2, :2] == image).all() and (wide[3, 3] == image[1, 1]).all()
        assert padded(np.zeros((2, 5), np.uint8), 4, 255).tolist() == [[0] * 5] * 2 + [[255] * 5] * 2
        assert padded(image, 2) is image

    def test_reducing_makes_no_new_labels_and_keeps_places(self) -> None:
        mask = np.zeros((40, 60), np.uint8)
        mask[10:20, 20:40] = 3
        small = reduced_mask(mask, 0.5)
        assert small.shape == (20, 30) and set(np.unique(small)) == {0, 3}
        assert np.argwhere(small == 3).min(0).tolist() == [5, 10]
        image = np.repeat(mask[..., None] * 50, 3, axis=2)
        assert ((reduced(image, 0.5)[..., 0] > 75) == (small > 0)).all()


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


class TestNames:
    def ids(self, *sources: str) -> list[str]:
        pictures = [Picture(Path(name), name, name.rpartition(".")[0]) for name in sources]
        return list(safe_ids(pictures).values())

    def test_plain_names_stay(self) -> None:
        assert self.ids("a.png", "left/b_1.jpg") == ["a", "left-b_1"]

    def test_others_become_ascii_and_unique(self) -> None:
        ids = self.ids(
            "a.png", "a.jpg", "Übung 1.png", "Ubung 1.png", "日本.png", "A/x.png", "a-x.png", ".b.png"
        )
        assert len({name.casefold() for name in ids}) == len(ids)
        assert all(name.isascii() and " " not in name for name in ids)
        assert ids[0].startswith("a-") and ids[2].startswith("Ubung-1-") and ids[4].startswith("x-")

    def test_a_name_does_not_depend_on_the_other_photographs_unless_they_clash(self) -> None:
        assert self.ids("ä.png") == self.ids("ä.png", "b.png")[:1]

    def test_finding(self, tmp_path: Path) -> None:
        for name in ("i/b.JPG", "i/s/a.png", "i/.hidden.png", "i/__MACOSX/a.png", "i/n.heic", "i/a.json"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"")
        found, others = find_pictures(tmp_path, "i")
        assert [(item.source, item.name) for item in found] == [("i/b.JPG", "b"), ("i/s/a.png", "s/a")]
        assert others == ["i/n.heic"]
        assert [item.name for item in find_pictures(tmp_path, "i/**/*.png")[0]] == ["s/a"]
        assert [item.name for item in find_pictures(tmp_path, "i/b.JPG")[0]] == ["b"]
        with pytest.raises(FileNotFoundError, match=r"nothing.*product\.yaml"):
            find_pictures(tmp_path, "nothing")
