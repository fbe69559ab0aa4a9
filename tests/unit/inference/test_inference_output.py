"""Image files, colours of classes, and defects drawn onto their image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cadnet.inference import Prediction, output
from cadnet.inference.files import find_images
from cadnet.inference.output import class_colours, draw_overlay
from cadnet.inference.regions import find_defects


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (
        "photos/b.png", "photos/a.JPG", "photos/line 2/a.png", "photos/line 2/deep/c.tif",
        "photos/.hidden.png", "photos/.git/x.png", "photos/notes.txt", "other/a.png", "photos/a[1].png",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def found(*arguments: str, out: str = "out") -> list[tuple[str, str]]:
    return [(image.path.as_posix(), image.result) for image in find_images(arguments, Path(out))]


@pytest.mark.usefixtures("tree")
class TestFinding:
    def test_a_folder_with_all_below_it(self) -> None:
        assert found("photos") == [
            ("photos/a.JPG", "a"),
            ("photos/a[1].png", "a[1]"),
            ("photos/b.png", "b"),
            ("photos/line 2/a.png", "line 2/a"),
            ("photos/line 2/deep/c.tif", "line 2/deep/c"),
        ]

    def test_files_keep_the_order_they_are_given_in(self) -> None:
        assert found("photos/b.png", "other/a.png") == [("photos/b.png", "b"), ("other/a.png", "a")]

    def test_a_file_is_taken_whatever_its_suffix_or_signs(self) -> None:
        assert found("photos/notes.txt", "photos/a[1].png") == [
            ("photos/notes.txt", "notes"),
            ("photos/a[1].png", "a[1]"),
        ]

    def test_patterns(self) -> None:
        assert found("photos/*.png") == [("photos/a[1].png", "a[1]"), ("photos/b.png", "b")]
        assert [path for path, _ in found("photos/**/[ac].*")] == [
            "photos/a.JPG", "photos/line 2/a.png", "photos/line 2/deep/c.tif",
        ]  # fmt: skip

    def test_an_absolute_pattern(self, tree: Path) -> None:
        assert found(f"{tree.as_posix()}/photos/line*/*.png") == [
            (f"{tree.as_posix()}/photos/line 2/a.png", "line 2/a")
        ]

    def test_what_is_meant_twice_comes_once(self) -> None:
        assert len(found("photos", "photos/b.png", "photos/*.png")) == 5

    def test_results_of_an_earlier_run_are_no_images(self, tree: Path) -> None:
        for name in ("photos/results/b/mask.png", "photos/results/b/overlay.png"):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).touch()
        assert len(found("photos", out="photos/results")) == 5
        assert len(found("photos/**/*.png", out="photos/results")) == 3

    def test_results_among_the_images(self, tree: Path) -> None:
        (tree / "photos/b").mkdir()
        for name in ("mask.png", "result.json", "mine.png"):
            (tree / "photos/b" / name).touch()
        for out in ("photos", "."):
            paths = [path for path, _ in found("photos", out=out)]
            assert len(paths) == 6 and "photos/b/mine.png" in paths, out
        assert len(found(".", out=".")) == 7

    def test_what_matches_nothing_is_named(self, tree: Path) -> None:
        (tree / "empty").mkdir()
        with pytest.raises(
            FileNotFoundError, match=r"no image found for gone.png, empty, x\*.png; give files"
        ):
            find_images(["photos", "gone.png", "empty", "x*.png"], tree / "out")


@pytest.mark.usefixtures("tree")
class TestResults:
    def test_one_name_in_two_folders(self) -> None:
        assert found("photos/line 2/a.png", "other/a.png") == [
            ("photos/line 2/a.png", "photos/line 2/a-png"),
            ("other/a.png", "other/a-png"),
        ]

    def test_one_name_with_two_suffixes(self, tree: Path) -> None:
        (tree / "photos/A.png").touch()
        results = dict(found("photos"))
        assert results["photos/a.JPG"] == "a-JPG" and results["photos/A.png"] == "A-png"
        assert len({name.casefold() for name in results.values()}) == len(results)

    def test_names_made_unique_stay_unique(self, tree: Path) -> None:
        for name in ("x.png", "x.jpg", "x-png.bmp"):
            (tree / "other" / name).touch()
        results = [name for _, name in found("other")]
        assert len(set(results)) == len(results) == 4

    def test_images_called_like_results(self, tree: Path) -> None:
        for name in ("summary.csv.png", "a/mask.png.png", "a.png"):
            (tree / "odd" / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / "odd" / name).touch()
        assert dict(found("odd")) == {
            "odd/a.png": "a", "odd/a/mask.png.png": "a/mask.png_", "odd/summary.csv.png": "summary.csv_",
        }  # fmt: skip


RED, BLUE = (255, 0, 0), (0, 0, 255)


def prediction(labels: np.ndarray, names: tuple[str, ...]) -> Prediction:
    image, probability = np.full((*labels.shape, 3), 128, np.uint8), (labels > 0).astype(np.float32)
    defects = find_defects(labels, probability, names)
    return Prediction(image, labels, probability, defects, "defective", None, None, 0.0)


class TestColours:
    def test_those_of_the_training_data_where_they_are_told(self) -> None:
        assert class_colours({"palette": [[1, 2, 3], [4, 5, 6]]}, 2) == ((1, 2, 3), (4, 5, 6))

    @pytest.mark.parametrize("known", [None, "red", [[1, 2, 3]], [[1, 2], [3, 4]], [[1, 2, 300], [0, 0, 0]]])
    def test_else_safe_ones(self, known: object) -> None:
        colours = class_colours({"palette": known}, 2)
        assert len(set(colours)) == 2 and all(len(colour) == 3 for colour in colours)


class TestOverlay:
    @pytest.fixture(autouse=True)
    def own_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(output, "LEAST", 1)

    def test_a_small_image_is_enlarged_so_that_names_fit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(output, "LEAST", 384)
        labels = np.zeros((100, 120), np.uint8)
        labels[40:60, 30:70] = 1
        overlay = draw_overlay(prediction(labels, ("a",)), ("a",), (RED,))
        assert overlay.shape == (400, 480, 3)
        assert (overlay[160, 120:280] == RED).all() and (overlay[239, 120:280] == RED).all()
        assert (overlay[165:235, 125:275] == 128).all()

    def test_outline_and_box_in_the_classes_colour(self) -> None:
        labels = np.zeros((100, 120), np.uint8)
        labels[40:60, 30:70], labels[80:90, 90:110] = 1, 2
        found = prediction(labels, ("a", "b"))
        overlay = draw_overlay(found, ("a", "b"), (RED, BLUE))
        assert overlay.shape == (100, 120, 3) and (found.image == 128).all(), "the image itself is left"
        assert (overlay[40, 30:70] == RED).all() and (overlay[59, 30:70] == RED).all()
        assert (overlay[80:90, 90] == BLUE).all()
        assert (overlay[45:55, 35:65] == 128).all(), "what is inside stays to be seen"
        assert (overlay[62, 27:73] == RED).all(), "the box lies three pixels around"

    @pytest.mark.parametrize("place", [(0, 0), (0, 38), (28, 0), (28, 38)])
    def test_defects_in_a_corner_and_names_in_any_letters(self, place: tuple[int, int]) -> None:
        labels = np.zeros((30, 40), np.uint8)
        labels[place[0] : place[0] + 2, place[1] : place[1] + 2] = 1
        overlay = draw_overlay(prediction(labels, ("Größe",)), ("Größe",), (RED,))
        assert (overlay[place] == RED).all() and overlay.dtype == np.uint8

    def test_a_good_image_is_shown_as_it_is(self) -> None:
        found = prediction(np.zeros((30, 40), np.uint8), ("a",))
        np.testing.assert_array_equal(draw_overlay(found, ("a",), (RED,)), found.image)
