"""Which images are meant, and that no two of them share a folder of results."""

from __future__ import annotations

from pathlib import Path

import pytest

from cadnet.inference.files import find_images


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
