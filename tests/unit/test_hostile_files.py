"""A short run of the fuzz tool, and the single attacks that chance does not find."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.fuzz import SIZE, Target, attempt, targets
from cadnet import files
from cadnet.config import ConfigError
from cadnet.config.load import read_model
from cadnet.datasets.label_lists import read_label_list
from cadnet.datasets.manifest import DatasetError, open_dataset
from cadnet.files import (
    atomic_path,
    below,
    parse_json,
    read_checksums,
    refuse_links,
    spreadsheet_safe,
    write_text,
)
from cadnet.inference.network import choose_device
from cadnet.models.tensors import WeightsError
from cadnet.models.weights import load_model, save_weights
from cadnet.preparers.pairs import product as product_module
from cadnet.preparers.pairs.outlines import numbers
from cadnet.preparers.pairs.product import Product, find_group, init_product
from cadnet.preparers.pairs.shapes import Outline, extent
from cadnet.writing.splits import read_splits
from cadnet.writing.staging import Staging
from cadnet.writing.units import Output, PreparationError

CASES = 12


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return targets(tmp_path_factory.mktemp("targets"))


class TestFuzz:
    KINDS = (
        "coco", "labelme", "voc", "product.yaml", "images.csv", "split list", "label list", "dataset", 
        "weights", "product.json",
    )  # fmt: skip

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_outcome_is_a_result_or_one_line(self, known: dict[str, Target], kind: str) -> None:
        known[kind].read()
        began = time.monotonic()
        faults = [attempt(known[kind], f"test/{kind}/{number}") for number in range(CASES)]
        assert "".join(faults) == ""
        assert time.monotonic() - began < 10 * CASES

    def test_a_fault_is_seen_and_the_file_is_as_before(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("a b")

        def read() -> None:
            raise TypeError("not expected")

        assert "TypeError: not expected" in attempt(Target((tmp_path / "a",), read), "0")
        assert (tmp_path / "a").read_text() == "a b"

    def test_nothing_is_left_out(self, known: dict[str, Target]) -> None:
        assert set(known) == set(self.KINDS)


OUTSIDE = ["../x", "a/../../x", "/x", "", ".", "C:/x", "a\\b", "a\0b", "a\nb"]


class TestPaths:
    @pytest.mark.parametrize("name", OUTSIDE)
    def test_a_name_stays_in_its_folder(self, tmp_path: Path, name: str) -> None:
        for way in (lambda: below(tmp_path, name), lambda: Output(tmp_path, "u").write(name, b"x")):
            with pytest.raises(ValueError, match=r"path .*; (give|write|rename)"):
                way()

    def test_names_within_are_taken(self, tmp_path: Path) -> None:
        assert below(tmp_path, "a/..b/=c é.png") == tmp_path / "a" / "..b" / "=c é.png"

    @pytest.mark.parametrize("name", ["../../keep", "/keep"])
    def test_every_table_of_names_is_checked(
        self, known: dict[str, Target], tmp_path: Path, name: str
    ) -> None:
        (tmp_path / "split.csv").write_text(f"pattern,split\n{name},train\n")
        with pytest.raises(PreparationError, match="leads out of its folder"):
            read_splits(tmp_path / "split.csv", "pattern")
        (tmp_path / "checksums.csv").write_text(f"path,sha256\n{name},0\n")
        with pytest.raises(ValueError, match="leads out of its folder"):
            read_checksums(tmp_path)
        folder = known["dataset"].files[0].parent
        manifest = folder / "manifest.csv"
        text = manifest.read_text()
        rows = list(csv.DictReader(text.splitlines()))
        for column in ("image", "reference", "mask"):
            manifest.write_text(text.replace(rows[0][column], name))
            with pytest.raises(DatasetError, match="leads out of its folder"):
                open_dataset(folder)
        manifest.write_text(text)
        info = (folder / "dataset.json").read_text()
        # The name is that of a folder of decoded images.
        (folder / "dataset.json").write_text(json.dumps(json.loads(info) | {"name": name}))
        with pytest.raises(DatasetError, match=r"dataset.json is wrong in: name"):
            open_dataset(folder)
        (folder / "dataset.json").write_text(info)

    def test_nothing_is_written_through_a_link(self, tmp_path: Path) -> None:
        other, out = tmp_path / "other", tmp_path / "out"
        other.mkdir()
        (other / "file").write_text("kept")
        out.mkdir()
        (out / "file").symlink_to(other / "file")
        write_text(out / "file", "new")
        assert (other / "file").read_text() == "kept" and not (out / "file").is_symlink()
        (out / "images").symlink_to(other)
        with pytest.raises(FileExistsError, match=r"out/images is a link, and nothing is written through it"):
            Output(out, "u").write("images/a.png", b"x")
        with Staging(tmp_path / "made", "0" * 16) as staging:
            staging.root.symlink_to(other)
            with pytest.raises(FileExistsError, match="is a link"):
                staging.open(("images",))
        with atomic_path(out / "b") as temporary:
            assert not temporary.is_symlink()
            temporary.touch()
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "board").symlink_to(other)
        with pytest.raises(FileExistsError, match=r"data/board is a link"):
            init_product("board", ["dent"], tmp_path / "data")
        assert sorted(path.name for path in other.iterdir()) == ["file"]
        # The folder that the user names may be one.
        (tmp_path / "named").symlink_to(out)
        refuse_links(tmp_path / "named" / "b", tmp_path / "named")

    def test_photographs_may_be_a_linked_folder(self, tmp_path: Path) -> None:
        (tmp_path / "photos").mkdir()
        (tmp_path / "board").mkdir()
        (tmp_path / "board" / "images").symlink_to(tmp_path / "photos")
        init_product("board", ["dent"], tmp_path)
        assert list((tmp_path / "photos").iterdir()) == []
        assert (tmp_path / "board" / "product.yaml").is_file()


def grown(form: str) -> str:
    """Eight lines of YAML, each of which is nine times the one before."""
    pairs = zip("abcdefgh", "bcdefghi", strict=True)
    return "".join(f"{new}: &{new} {form.format(', '.join([f'*{old}'] * 9))}\n" for old, new in pairs)


class TestLimits:
    @pytest.mark.parametrize(
        "text",
        [
            "a: &a [x, x, x, x, x, x, x, x, x]\n" + grown("[{}]"),
            "a: &a {x: 1}\n" + grown("{{<<: [{}]}}"),
            "a: &a [*a]\n",
            "[" * 2000,
            "name: 2001-99-99\n",
            f"name: {'1' * 5000}\n",
            "? [a]\n: 1\n",
        ],
        ids=["aliases", "merges", "itself", "depth", "date", "number", "key"],
    )
    def test_yaml(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "product.yaml").write_text(text)
        with pytest.raises(ConfigError, match="is not YAML: ") as caught:
            read_model(tmp_path / "product.yaml", Product, "")
        assert "\n" not in str(caught.value)

    def test_yaml_bytes(self, tmp_path: Path) -> None:
        (tmp_path / "product.yaml").write_text("#" * 2**17)
        with pytest.raises(ConfigError, match="is larger than 64 KiB"):
            read_model(tmp_path / "product.yaml", Product, "")

    @pytest.mark.parametrize("text", ["[" * 65 + "]" * 65, '{"a":' * 65 + "1" + "}" * 65, "[" * 100_000])
    def test_json_depth(self, text: str) -> None:
        with pytest.raises(ValueError, match="nested more than 64 deep"):
            parse_json(text)
        assert parse_json("[" * 64 + "]" * 64)

    def test_json_size_and_numbers(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(files, "MAX_JSON_PARTS", 9)
        with pytest.raises(ValueError, match="more than 9 lists and objects"):
            parse_json("[" + "[]," * 9 + "0]")
        for text in ("NaN", "-Infinity", "9" * 5000, '"\\ud800', "", "\0"):
            with pytest.raises(ValueError):
                parse_json(text)
        monkeypatch.setattr(files, "MAX_JSON_BYTES", 9)
        (tmp_path / "a.json").write_text('"0123456789"')
        with pytest.raises(ValueError, match=r"a\.json is larger than 0 MiB"):
            files.read_json(tmp_path / "a.json")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"pattern,split\n" + b"x" * 200_000 + b",train\n", "field larger than field limit"),
            (b"pattern,split\na\0b,train\n", "NUL"),
            (b"pattern,split\n\xff,train\n", "not UTF-8"),
        ],
    )
    def test_tables(self, tmp_path: Path, content: bytes, message: str) -> None:
        path = tmp_path / "list.csv"
        path.write_bytes(content)
        with pytest.raises(PreparationError, match=message):
            read_splits(path, "pattern")
        path.write_bytes(content.replace(b"pattern,split", b"sample_id,use"))
        with pytest.raises(DatasetError, match=message):
            read_label_list(path)

    def test_table_cells(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(files, "MAX_TABLE_CELLS", 9)
        (tmp_path / "list.csv").write_text("pattern,split\n" + ",\n" * 9)
        with pytest.raises(PreparationError, match="more than 9 cells"):
            read_splits(tmp_path / "list.csv", "pattern")

    def test_a_pattern_that_backtracks_is_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(product_module, "PATTERN_SECONDS", 0.1)
        began = time.monotonic()
        with pytest.raises(ValueError, match=r"takes longer than 0\.1 s on a name"):
            find_group("^(?P<group>(a|aa)+)$", "a" * 60 + "!")
        assert time.monotonic() - began < 5
        assert find_group("^(?P<group>[A-Z]+[0-9]+)_", "AB12_3") == "AB12"
        assert find_group("(?P<group>z)?", "AB12_3") == ""

    def test_numbers_are_those_of_a_photograph(self) -> None:
        assert numbers([1, 2.5]) == (1, 2.5)
        assert numbers([True]) is None
        for far in (10**400, 1e308, float("inf")):
            with pytest.raises(ValueError, match="no numbers near the photograph"):
                numbers([far])

    @pytest.mark.parametrize(
        ("kind", "parts", "pixels"),
        [
            ("rle", ((10, 90),), 100),
            ("polygon", ((-50, -50, 500, -50, 500, 500),) * 3, 300),
            ("box", ((2, 2, 4, 4),), 4),
            ("circle", ((5, 5, 2),), 16),
            ("box", ((20, 20, 30, 30),), 0),
        ],
    )
    def test_what_painting_looks_at(
        self, kind: str, parts: tuple[tuple[float, ...], ...], pixels: int
    ) -> None:
        assert extent(Outline(kind, parts), 10, 10) == pixels  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["meta", "cuda:999999", "mps", "strange", "", "cpu\0", "cpu:99999999999999999999"]
)
def test_strange_devices_are_named(name: str) -> None:
    with pytest.raises(ValueError, match="give auto, cpu or cuda"):
        choose_device(name)


class TestWeights:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"options": {"width": 100_000}}, "must be 0 to 4096"),
            ({"options": {"width": 4096}}, "does not fit UNet: other shapes"),
            ({"options": {"width": 0}}, r"cannot be built here|does not fit"),
            ({"options": {"width": [1]}}, r"options\.width"),
            ({"options": []}, "options"),
            ({"num_classes": 10**6}, "num_classes"),
            ({"num_classes": True}, "num_classes"),
            ({"metadata": []}, "metadata"),
            ({"class_names": "ab"}, "class_names"),
            ({"name": 5}, "name"),
        ],
    )
    def test_a_header_may_not_ask_for_anything(
        self,
        tmp_path: Path,
        change: dict[str, object],
        message: str,
        header: Callable[[Path, dict[str, object]], None],
    ) -> None:
        header(tmp_path, change)
        with pytest.raises(WeightsError, match=message):
            load_model(tmp_path)

    @pytest.fixture
    def header(self) -> Callable[[Path, dict[str, object]], None]:
        from safetensors.torch import load_file, save_file

        from cadnet.models.factory import build_model

        def write(folder: Path, change: dict[str, object]) -> None:
            save_weights(
                folder, build_model("unet", 2, width=4), name="unet", num_classes=2, options={"width": 4}
            )
            path = folder / "weights.safetensors"
            values = json.loads((folder / "model.json").read_text()) | change
            save_file(load_file(path), path, metadata={"cadnet": json.dumps(values)})

        return write


FORMULAS = ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x","a,b")']


class TestSpreadsheets:
    @pytest.mark.parametrize("text", FORMULAS)
    def test_a_formula_is_text(self, text: str) -> None:
        assert spreadsheet_safe(text) == f"'{text}"

    @pytest.mark.parametrize("value", ["-0.5", "+1e-3", "-", "a=b", "", -1, None, np.float64(-1)])
    def test_anything_else_stays(self, value: object) -> None:
        assert spreadsheet_safe(value) is value

    @pytest.mark.parametrize("group", [*FORMULAS[:4], FORMULAS[-1], "<script>alert(1)</script>"])
    def test_a_group_in_a_manifest(self, known: dict[str, Target], tmp_path: Path, group: str) -> None:
        from bench.fuzz import plan
        from cadnet.writing.dataset import write_dataset

        (table,) = known["images.csv"].files
        rows = list(csv.reader(table.read_text().splitlines()))
        text = table.read_text()
        with table.open("w", newline="") as file:
            csv.writer(file).writerows(
                [rows[0], *([name, group if name == "a.png" else g, s] for name, g, s in rows[1:])]
            )
        made = write_dataset(plan(table.parent), tmp_path / "made")
        table.write_text(text)
        with (made / "manifest.csv").open(newline="") as file:
            groups = {row["group"] for row in csv.DictReader(file)}
        assert spreadsheet_safe(group) in groups and len(groups) == 6
        assert SIZE == 32
