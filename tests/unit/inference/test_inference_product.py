"""Product folders: round trip, and every way a folder can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inference_fakes import CLASSES, make_product, save_model, texture

from cadnet.config import AlignmentParams
from cadnet.files import file_digest, value_digest
from cadnet.images import ImageError, read_image, write_png
from cadnet.inference import Predictor, Product, ProductError, read_product, write_product
from cadnet.inference.product import copy_product
from cadnet.models.tensors import WeightsError


def edit(product: Product, change: Callable[[dict[str, Any]], object], resign: bool = True) -> Path:
    """Change product.json, with a digest that fits unless ``resign`` is False."""
    path = product.folder / "product.json"
    content = json.loads(path.read_text())
    change(content)
    if resign and "digest" in content:
        content["digest"] = value_digest({key: one for key, one in content.items() if key != "digest"})
    path.write_text(json.dumps(content))
    return product.folder


class TestRoundTrip:
    def test_what_is_written_is_read(self, tmp_path: Path, model: Path) -> None:
        alignment = AlignmentParams(model="translation", max_shift=12.0)
        product = make_product(
            tmp_path,
            {"a": texture(40, 48), "b": texture(20, 30)},
            model,
            threshold=0.25,
            min_pixels=7,
            alignment=alignment,
            metrics={"test": {"miou": 0.5}},
            notes="of March",
            card="# Screen\n",
        )
        read = read_product(tmp_path / "product")
        assert read == product and read.folder == tmp_path / "product"
        assert (read.name, read.class_names, read.size) == ("screen", CLASSES, 64)
        assert (read.threshold, read.min_pixels, read.alignment) == (0.25, 7, alignment)
        assert read.metrics == {"test": {"miou": 0.5}} and read.notes == "of March"
        assert [(r.name, r.file, r.width, r.height) for r in read.references] == [
            ("a", "references/a.png", 48, 40),
            ("b", "references/b.png", 30, 20),
        ]
        np.testing.assert_array_equal(read_image(read.folder / "references/a.png"), texture(40, 48))
        assert read.references[0].sha256 == file_digest(read.folder / "references/a.png")
        files = sorted(p.relative_to(read.folder).as_posix() for p in read.folder.rglob("*") if p.is_file())
        assert files == [
            "README.md", "model.json", "product.json", "references/a.png", "references/b.png",
            "weights.safetensors",
        ]  # fmt: skip
        assert json.loads((read.folder / "product.json").read_text())["format_version"] == 2

    def test_it_lies_anywhere_and_needs_no_other_file(self, tmp_path: Path, model: Path) -> None:
        product = make_product(tmp_path, {"a": texture(40, 48)}, model)
        moved = product.folder.rename(tmp_path / "elsewhere")
        (tmp_path / "clean" / "a.png").unlink()
        assert Predictor(moved, "cpu").predict(texture(40, 48)).labels.shape == (40, 48)

    def test_an_error_leaves_the_old_one(self, tmp_path: Path, model: Path) -> None:
        product = make_product(tmp_path, {"a": texture(40, 48)}, model)
        with pytest.raises(ProductError, match="threshold"):
            make_product(tmp_path, {"b": texture(40, 48)}, model, threshold=1.0)
        assert read_product(product.folder) == product
        assert sorted(p.name for p in tmp_path.iterdir()) == ["clean", "product"]


class TestWriting:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"name": "No Name"}, "name: String should match"),
            ({"size": 31}, "size: .*greater than or equal to 32"),
            ({"min_pixels": 0}, "min_pixels"),
            ({"threshold": 0.0}, "threshold"),
            (
                {"class_names": ("line", "dot")},
                r"classes \['line', 'dot'\], its weights have \['line', 'abpt'\]",
            ),
            ({"metrics": {"miou": float("nan")}}, "not JSON values"),
            ({"metrics": {"miou": object()}}, "not JSON values"),
        ],
    )
    def test_values_out_of_range(
        self, tmp_path: Path, model: Path, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ProductError, match=message):
            make_product(tmp_path, {"a": texture(40, 48)}, model, **options)
        assert not (tmp_path / "product").exists()

    @pytest.mark.parametrize("names", [("../a",), ("a/b",), (".a",), ("ä",), ("a", "A")])
    def test_names_of_references(self, tmp_path: Path, model: Path, names: tuple[str, ...]) -> None:
        write_png(tmp_path / "x.png", texture(40, 48))
        with pytest.raises(ProductError, match=r"references cannot be called|have one name"):
            write_product(
                tmp_path / "product",
                name="p",
                model=model,
                references=dict.fromkeys(names, tmp_path / "x.png"),
                size=64,
            )

    def test_missing_or_broken_material(self, tmp_path: Path, model: Path) -> None:
        (tmp_path / "broken.png").write_bytes(b"no image")
        for source, error in (("gone.png", FileNotFoundError), ("broken.png", ImageError)):
            with pytest.raises(error):
                write_product(
                    tmp_path / "p", name="p", model=model, references={"a": tmp_path / source}, size=64
                )
        with pytest.raises(FileNotFoundError, match="weights file"):
            write_product(tmp_path / "p", name="p", model=tmp_path / "none", references={}, size=64)

    def test_weights_without_class_names_take_those_given(self, tmp_path: Path) -> None:
        model = save_model(tmp_path / "model")
        from cadnet.models.weights import load_model, save_weights

        network, known = load_model(model)
        save_weights(model, network, name="cadnet", num_classes=2, options=known.options)
        product = make_product(tmp_path, {}, model, class_names=("x", "y"))
        assert read_product(product.folder).class_names == ("x", "y")
        with pytest.raises(ProductError, match="its weights have 2"):
            make_product(tmp_path, {}, model, class_names=("x",))


class TestReading:
    def test_folders_that_are_no_product(self, tmp_path: Path, model: Path) -> None:
        with pytest.raises(FileNotFoundError, match="does not exist"):
            read_product(tmp_path / "gone")
        with pytest.raises(FileNotFoundError, match=r"is no product: it holds no product\.json"):
            read_product(tmp_path)
        with pytest.raises(FileNotFoundError, match=r"holds weights but no product.json; make a product of"):
            read_product(model)

    @pytest.mark.parametrize("name", ["weights.safetensors", "references/clean.png"])
    def test_missing_and_changed_files(self, product: Product, name: str) -> None:
        path = product.folder / name
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        with pytest.raises(ProductError, match=f"{path} is not the file that product.json names"):
            read_product(product.folder)
        path.unlink()
        with pytest.raises(FileNotFoundError, match=f"{path} is missing, which product.json names"):
            Predictor(product.folder)

    def test_damaged_weights_of_the_right_digest(self, product: Product) -> None:
        weights = product.folder / "weights.safetensors"
        weights.write_bytes(weights.read_bytes()[:500])
        edit(product, lambda content: content.update(weights_sha256=file_digest(weights)))
        with pytest.raises(WeightsError, match="not a complete safetensors file"):
            read_product(product.folder)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda c: c.update(format_version=3), "has format version 3, and this program reads 2; update"),
            (lambda c: c.pop("format_version"), "has format version None"),
            (lambda c: c.update(surprise=1), "surprise: "),
            (lambda c: c.pop("threshold"), "threshold: "),
            (lambda c: c.update(size="64"), "size: Input should be a valid integer"),
            (lambda c: c.update(class_names=["line", "dot"]), "give the weights that belong to it"),
            (
                lambda c: c["references"][0].update(file="../../secret.png"),
                "it must be 'references/clean.png'",
            ),
            (lambda c: c["references"][0].update(name="../x"), "references cannot be called"),
            (lambda c: c["references"].append(c["references"][0]), "have one name"),
        ],
    )
    def test_what_product_json_may_not_say(
        self, product: Product, change: Callable[[dict[str, Any]], object], message: str
    ) -> None:
        with pytest.raises(ProductError, match=message):
            read_product(edit(product, change))

    @pytest.mark.parametrize(
        "change",
        [
            lambda c: c.update(threshold=0.99),
            lambda c: c.update(min_pixels=10_000),
            lambda c: c["metrics"].update(miou=1.0),
            lambda c: c["references"].clear(),
            lambda c: c.update(surprise=1),
            lambda c: c.pop("digest"),
        ],
    )
    def test_a_changed_product_json_is_noticed(
        self, product: Product, change: Callable[[dict[str, Any]], object]
    ) -> None:
        with pytest.raises(ProductError, match=r"product\.json is not as it was written; copy"):
            read_product(edit(product, change, resign=False))

    def test_a_key_that_hides_another_is_refused(self, product: Product) -> None:
        path = product.folder / "product.json"
        path.write_text(path.read_text().replace('"threshold"', '"threshold": 0.99, "threshold"'))
        with pytest.raises(ProductError, match="a key stands twice"):
            read_product(product.folder)
        path.write_text("[" * 100_000)
        with pytest.raises(ProductError, match="nested more than 64 deep"):
            read_product(product.folder)

    def test_a_product_without_a_digest_of_its_own_is_read(self, product: Product) -> None:
        folder = edit(product, lambda c: (c.pop("digest"), c.update(format_version=1)))
        assert read_product(folder).threshold == product.threshold

    def test_a_copy_is_made_once_and_again_where_it_differs(self, product: Product, tmp_path: Path) -> None:
        copy = tmp_path / "copy"
        copy_product(product, copy)
        assert read_product(copy).digest == product.digest
        made = copy.stat().st_ino
        copy_product(product, copy)
        assert copy.stat().st_ino == made
        edit(read_product(copy), lambda c: c.update(threshold=0.9))
        copy_product(product, copy)
        assert read_product(copy).threshold == product.threshold

    @pytest.mark.parametrize("text", ["{", "[]", '"x"', ""])
    def test_a_product_json_that_is_none(self, product: Product, text: str) -> None:
        (product.folder / "product.json").write_text(text)
        with pytest.raises(ProductError, match=r"product\.json"):
            read_product(product.folder)
