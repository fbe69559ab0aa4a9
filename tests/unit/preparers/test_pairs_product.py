"""product.yaml and `cadnet init-product`."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cadnet.cli import app
from cadnet.config import ConfigError, PairsParams
from cadnet.preparers.pairs import init_product, plan_pairs
from cadnet.preparers.pairs.product import Product, load_product
from cadnet.writing.units import PreparationError


def load(tmp_path: Path, text: str) -> Product:
    (tmp_path / "product.yaml").write_text(text, "utf-8")
    return load_product(tmp_path)


class TestProduct:
    def test_classes_may_be_a_list_or_a_mapping(self, tmp_path: Path) -> None:
        one = load(tmp_path, "name: board\nclasses: [scratch, dent]\n")
        two = load(tmp_path, "name: board\nclasses:\n  scratch:\n  dent: {description: pressed in}\n")
        assert list(one.classes) == list(two.classes) == ["scratch", "dent"]
        assert two.classes["dent"].description == "pressed in"

    def test_order_of_classes_is_that_of_the_file(self, tmp_path: Path) -> None:
        product = load(tmp_path, "name: b\nclasses: {zebra: , ant: {labels: [Ameise]}}\n")
        assert product.label_values() == {"zebra": 1, "ant": 2, "ameise": 2}

    def test_labels_without_case_and_special_ones(self, tmp_path: Path) -> None:
        product = load(
            tmp_path,
            "name: b\nclasses: {scratch: {labels: [' Kratzer ']}}\n"
            "labels: {skip: [Board], ignore: [Unsure]}\n",
        )
        assert product.label_values() == {"scratch": 1, "kratzer": 1, "board": None, "unsure": 255}

    def test_given_colours_are_kept_and_the_others_differ(self, tmp_path: Path) -> None:
        product = load(tmp_path, "name: b\nclasses: {a: , b: {color: '#E69F00'}, c: }\n")
        assert product.palette[1] == (230, 159, 0)
        assert len(set(product.palette)) == 3

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("name: b\nclasses: [a]\nreferenz: x\n", "referenz: unknown key"),
            ("name: b\nclasses: [a]\nlabels: {formt: coco}\n", r"labels\.formt: unknown key"),
            ("classes: [a]\n", "name: missing; add it"),
            ("name: b\nclasses: []\n", "classes: Dictionary should have at least 1"),
            ("name: b\nclasses: [Scratch]\n", r"classes\.Scratch.*should match"),
            ("name: b\nclasses: [no, on]\n", "classes: YAML reads false, true where a name"),
            ("name: b\nclasses: {on: }\n", "classes: YAML reads true where a name was meant .* in quotes"),
            ("name: b\nclasses: [a, 12]\n", "classes: YAML reads 12 where a name"),
            ("name: b\nclasses: {a: {labels: [no]}}\n", r"labels\.0: .*write no, off, on and yes in quotes"),
            ("name: b\nclasses: [a, a]\n", r"classes: \['a'\] twice"),
            ("name: b\nclasses: [no, on]\n", "YAML reads false, true where a name.*in quotes"),
            ("name: b\nclasses: {1: , off: }\n", "YAML reads 1, false where a name.*in quotes"),
            ("name: b\nclasses: [background]\n", "background is no defect class"),
            ("name: b\nname: c\nclasses: [a]\n", "given twice: name"),
            ("name: b\nclasses: [a]\nimages: ../other\n", r"images: path '../other' leads out"),
            ("name: b\nclasses: [a]\nimages: /etc\n", "images: path '/etc' leads out"),
            ("name: b\nclasses: [a]\nimages: C:/x\n", "leads out"),
            ("name: b\nclasses: [a]\nimages: 'a\\b'\n", "backslash; write it with /"),
            ("name: b\nclasses: [a]\ngroup_pattern: '(x'\n", "no regular expression"),
            ("name: b\nclasses: [a]\ngroup_pattern: 'x'\n", r"no part \(\?P<group>"),
            ("name: b\nclasses: {a: {color: red}}\n", r"classes\.a\.color.*'red'"),
            ("name: b\nclasses: {a: {color: '#000001'}, c: {color: '#000001'}}\n", "two have one color"),
            ("name: b\nclasses: {a: {labels: [X]}, c: {labels: [x]}}\n", "the label 'x' means a and c"),
            ("name: b\nclasses: {a: {labels: [X]}}\nlabels: {skip: [x]}\n", "means a and labels.skip"),
            ("- 1\n", "is empty"),
            ("name: [\n", "is not YAML"),
        ],
    )
    def test_errors_name_the_key(self, tmp_path: Path, text: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            load(tmp_path, text)

    def test_without_product_yaml_the_way_to_one_is_told(self, tmp_path: Path) -> None:
        for folder in (tmp_path, tmp_path / "nothing"):
            with pytest.raises(FileNotFoundError, match=f"cadnet init-product {folder.name}"):
                plan_pairs(PairsParams(preparer="pairs", raw=str(folder)))


class TestInitProduct:
    def test_what_it_writes_is_a_product_without_photographs(self, tmp_path: Path) -> None:
        folder, steps = init_product("housing", ["scratch", "dent"], tmp_path)
        assert sorted(path.name for path in folder.iterdir()) == [
            "images", "masks", "product.yaml", "references",
        ]  # fmt: skip
        assert all((folder / part / "README.md").is_file() for part in ("images", "masks", "references"))
        product = load_product(folder)
        assert (product.name, list(product.classes)) == ("housing", ["scratch", "dent"])
        assert "preparer: pairs" in steps and f"raw: {folder.as_posix()}" in steps
        with pytest.raises(PreparationError, match=r"(?s)2 problems.*no photograph.*no picture") as caught:
            plan_pairs(PairsParams(preparer="pairs", raw=str(folder)))
        assert "README" not in str(caught.value)

    def test_settings_in_comments_are_valid(self, tmp_path: Path) -> None:
        folder, _ = init_product("b", ["scratch"], tmp_path)
        text = (folder / "product.yaml").read_text("utf-8")
        for line in ("# group_pattern:", "# keep_together:", "# suffix:", "# white:", "# skip:", "# ignore:"):
            assert line in text
            text = text.replace(line, line[2:])
        product = load(tmp_path, text)
        assert product.group_pattern and product.labels and product.labels.white == "defect"

    def test_defaults_of_the_template_are_those_of_the_model(self, tmp_path: Path) -> None:
        folder, _ = init_product("b", ["scratch"], tmp_path)
        assert load_product(folder) == load(tmp_path, "name: b\nclasses: [scratch]\n")

    def test_nothing_is_overwritten_and_photographs_may_be_there(self, tmp_path: Path) -> None:
        (tmp_path / "b" / "images").mkdir(parents=True)
        (tmp_path / "b" / "images" / "a.jpg").write_bytes(b"x")
        (tmp_path / "b" / "images" / "README.md").write_text("mine")
        init_product("b", ["scratch"], tmp_path)
        assert (tmp_path / "b" / "images" / "README.md").read_text() == "mine"
        before = (tmp_path / "b" / "product.yaml").read_bytes()
        with pytest.raises(PreparationError, match="exists and is not overwritten"):
            init_product("b", ["dent"], tmp_path)
        assert (tmp_path / "b" / "product.yaml").read_bytes() == before

    @pytest.mark.parametrize(
        ("name", "classes"), [("My Board", ["a"]), ("../x", ["a"]), ("b", ["Öl"]), ("b", ["a", "a"])]
    )
    def test_bad_names_are_refused_before_anything_is_made(
        self, tmp_path: Path, name: str, classes: list[str]
    ) -> None:
        with pytest.raises(PreparationError):
            init_product(name, classes, tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_words_that_yaml_reads_otherwise(self, tmp_path: Path) -> None:
        folder, _ = init_product("12", ["no", "1e3", "on"], tmp_path)
        product = load_product(folder)
        assert (product.name, list(product.classes)) == ("12", ["no", "1e3", "on"])

    def test_the_command(self, tmp_path: Path) -> None:
        arguments = ["init-product", "board", "--classes", "scratch, dent", "--folder", str(tmp_path)]
        first, second = (CliRunner().invoke(app, arguments) for _ in range(2))
        assert first.exit_code == 0 and "is ready to be filled" in first.output
        assert list(load_product(tmp_path / "board").classes) == ["scratch", "dent"]
        assert second.exit_code == 1 and "error: " in second.output and "not overwritten" in second.output
