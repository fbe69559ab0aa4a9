"""What counts as the same picture in two splits."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from cadnet.images import read_image, write_png
from cadnet.validation.duplicates import Picture, find_duplicates, perceptual_hash
from cadnet.validation.facts import measure_images
from tests.samples import sample

SIZE = 128


class Album:
    """Pictures of one product in a folder, and the search over them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pictures: list[Picture] = []
        coarse = np.random.default_rng(0).integers(90, 160, (8, 8, 3), dtype=np.uint8)
        self.board = cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)

    def add(
        self, image: np.ndarray, split: str, box: tuple[int, int] | None = None, labelled: bool = True,
        quality: int | None = None, group: str = "",
    ) -> int:  # fmt: skip
        """Write a picture, defective at ``box`` (x, y of a 10 px square), and return its row."""
        row = len(self.pictures)
        name = f"{row}.jpg" if quality else f"{row}.png"
        if quality:
            data = cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
            (self.root / name).write_bytes(data.tobytes())
        else:
            write_png(self.root / name, image)
        mask = np.zeros(image.shape[:2], np.uint8)
        if box:
            mask[box[1] : box[1] + 10, box[0] : box[0] + 10] = 1
        write_png(self.root / f"mask{row}.png", mask)
        fact = measure_images(self.root, [name])[name]
        assert fact.problem == ""
        self.pictures.append(
            Picture(
                row, split, group or name, name, f"mask{row}.png" if labelled else "",
                bool(box) if labelled else None, fact.digest, fact.flat, fact.hash, fact.small,
            )
        )  # fmt: skip
        return row

    def damaged(self, x: int, y: int, change: int = 60) -> np.ndarray:
        """The product with a square that is ``change`` grey levels brighter or darker."""
        image = self.board.copy()
        patch = image[y : y + 10, x : x + 10].astype(int)
        image[y : y + 10, x : x + 10] = np.where(patch < 128, patch + change, patch - change)
        return image

    def found(self, bits: int = 4, difference: float = 6.0) -> dict[int, int]:
        return find_duplicates(self.root, self.pictures, bits, difference)


@pytest.fixture
def album(tmp_path: Path) -> Album:
    return Album(tmp_path)


@pytest.mark.parametrize("copy", ["equal", "brighter", "jpeg"])
def test_a_copy_of_a_defective_picture_is_found(album: Album, copy: str) -> None:
    image = album.damaged(20, 30)
    first = album.add(image, "train", (20, 30))
    again = image + np.uint8(12) if copy == "brighter" else image
    second = album.add(again, "test", (20, 30), quality=80 if copy == "jpeg" else None)
    assert album.found() == {second: first}


def test_another_defect_on_the_same_product_is_another_picture(album: Album) -> None:
    one = album.add(album.damaged(20, 30), "train", (20, 30))
    other = album.add(album.damaged(80, 70), "test", (80, 70))
    hashes = [album.pictures[row].hash for row in (one, other)]
    assert (hashes[0] ^ hashes[1]).bit_count() <= 4, "their hashes agree, so the pixels have to tell"
    assert album.found() == {}


def test_two_faint_defects_in_different_places_are_two_pictures(album: Album) -> None:
    album.add(album.damaged(20, 30, change=3), "train", (20, 30))
    album.add(album.damaged(80, 70, change=3), "test", (80, 70))
    assert album.found() == {}


def test_clean_pictures_count_only_when_equal_bit_by_bit(album: Album) -> None:
    first = album.add(album.board, "train")
    nearly = album.board.copy()
    nearly[0, 0, 0] += 1
    album.add(nearly, "test")
    equal = album.add(album.board, "val")
    assert album.found() == {equal: first}


def test_equal_clean_tiles_of_different_photographs_are_no_copies(album: Album) -> None:
    for split, box in (("train", (20, 30)), ("test", (80, 70))):
        album.add(album.board, split, group=split)
        album.add(album.damaged(*box), split, box, group=split)
    assert album.found() == {}


def test_a_copied_clean_photograph_is_found_by_all_its_tiles(album: Album) -> None:
    tiles = [album.board, album.board[::-1].copy()]
    first = album.add(tiles[1], "train", group="a")
    copies = [album.add(tile, "test", group="b") for tile in tiles]
    assert album.found() == {copies[1]: first}, "of the training photograph not all tiles were kept"


def test_pictures_of_one_colour_say_nothing(album: Album) -> None:
    for split in ("train", "test"):
        album.add(np.full((SIZE, SIZE, 3), 255, np.uint8), split)
    assert album.found() == {}


def test_within_a_split_a_picture_may_occur_twice(album: Album) -> None:
    image = album.damaged(20, 30)
    for _ in range(2):
        album.add(image, "train", (20, 30))
    assert album.found() == {}


def test_each_double_is_told_once_with_its_first_original(album: Album) -> None:
    image = album.damaged(20, 30)
    first = album.add(image, "train", (20, 30))
    album.add(image, "train", (20, 30))
    doubles = [album.add(image, split, (20, 30), quality=q) for split, q in (("val", 90), ("test", None))]
    assert album.found() == dict.fromkeys(doubles, first)


def test_an_unlabelled_copy_is_found_by_its_pixels_alone(album: Album) -> None:
    album.add(album.damaged(20, 30), "train", (20, 30))
    album.add(album.board, "unlabelled", labelled=False)
    test = album.add(album.damaged(80, 70), "test", (80, 70))
    copy = album.add(album.damaged(80, 70), "unlabelled", labelled=False, quality=85)
    # Splits count in the order in which they first occur.
    assert album.found() == {test: copy}


def test_an_unlabelled_copy_of_a_training_picture_does_no_harm(album: Album) -> None:
    album.add(album.damaged(20, 30), "train", (20, 30))
    for quality in (None, 85):
        album.add(album.damaged(20, 30), "unlabelled", labelled=False, quality=quality)
    assert album.found() == {}


def test_one_tile_like_an_unlabelled_one_is_not_yet_a_copy(album: Album) -> None:
    tiles = {(20, 30): 60, (80, 70): 3}
    for box, change in tiles.items():
        album.add(album.damaged(*box, change=change), "test", box, group="a")
    album.add(album.damaged(20, 30), "unlabelled", labelled=False, quality=90, group="b")
    assert album.found() == {}
    copy = album.add(album.board, "unlabelled", labelled=False, quality=90, group="b")
    assert album.found() == {copy - 1: 0, copy: 1}


def test_limits_decide(album: Album) -> None:
    image = album.damaged(20, 30)
    album.add(image, "train", (20, 30))
    second = album.add(image, "test", (20, 30), quality=10)
    assert album.found(difference=0.5) == {}
    assert album.found(bits=16, difference=60.0) == {second: 0}


def test_the_hash_keeps_under_brightness_and_size_and_tells_scenes_apart() -> None:
    coarse = np.random.default_rng(1).integers(0, 200, (12, 9, 9), dtype=np.uint8)
    scenes = [cv2.resize(scene, (160, 160), interpolation=cv2.INTER_CUBIC) for scene in coarse]
    hashes = [perceptual_hash(scene) for scene in scenes]
    for scene, value in zip(scenes, hashes, strict=True):
        assert 0 <= value < 2**64
        # Half of the 64 frequencies lie above their median.
        assert 28 <= value.bit_count() <= 36
        assert (perceptual_hash(scene // 2 + 20) ^ value).bit_count() <= 4
        assert (perceptual_hash(cv2.resize(scene, (80, 80))) ^ value).bit_count() <= 4
    apart = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(apart) > 10


def test_real_boards_with_other_defects_are_apart_and_copies_are_not(tmp_path: Path) -> None:
    photographs = sample("pku-pcb-sample")
    files = sorted((photographs / "images/Mouse_bite").glob("01_*.jpg"))[:4]
    # The first mouse bite of the first photograph, 37 pixels or so; the others have theirs elsewhere.
    text = (photographs / "Annotations/Mouse_bite" / f"{files[0].stem}.xml").read_text("utf-8")
    left, top = (int(re.findall(f"<{name}>(\\d+)<", text)[0]) for name in ("xmin", "ymin"))
    rows, columns = (slice(max(0, start - 500), max(0, start - 500) + 1000) for start in (top, left))
    windows = [read_image(file)[rows, columns] for file in files]
    album = Album(tmp_path)
    album.add(windows[0], "train", labelled=False)
    for window in windows[1:]:
        album.add(window, "test", labelled=False)
    assert album.found() == {}
    copies = [album.add(windows[0], "test", labelled=False, quality=70)]
    brighter = cv2.convertScaleAbs(windows[0], alpha=1.0, beta=8)
    copies.append(album.add(brighter, "test", labelled=False))
    assert album.found() == dict.fromkeys(copies, 0)
