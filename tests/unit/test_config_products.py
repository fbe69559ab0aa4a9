"""Products of a parameter file: trained by the main grid, accepted on data that nothing learns from."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.profile import load_profile
from tests.unit.test_config import load, message
from tests.unit.test_config_grids import FULL

PROFILES = Path(__file__).parents[2] / "params"
PRODUCT = """
products:
  glass: {dataset: lcd, acceptance: kept, methods: [cadnet], gate: {margin: 0.01}}
"""
WITH = FULL.replace("  line: {preparer", "  kept: {preparer: synlcd}\n  line: {preparer", 1).replace(
    "prepare: [lcd,", "prepare: [kept, lcd,"
)


def test_a_product_has_defaults_for_all_but_its_data(tmp_path: Path) -> None:
    product = load(tmp_path, WITH + PRODUCT).products["glass"]
    assert (product.metric, product.split, product.threshold, product.min_pixels) == (
        "val_miou",
        "val",
        None,
        20,
    )
    assert (product.gate.margin, product.gate.behaviour.shift) == (0.01, 1.0)
    assert load(tmp_path, FULL).products == {}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("acceptance: kept", "acceptance: lost", "products.glass.acceptance names ['lost'], which is not"),
        ("acceptance: kept", "acceptance: lcd", "acceptance is 'lcd', which the product is trained on"),
        ("acceptance: kept", "acceptance: line", "acceptance is 'line', which a grid trains on"),
        ("glass: {dataset: lcd", "glass: {dataset: line", "which run.datasets does not name"),
        ("prepare: [kept, lcd,", "prepare: [lcd,", "products.glass.acceptance names ['kept']"),
        ("methods: [cadnet], gate", "methods: [ce], gate", "products.glass.methods names ['ce']"),
        ("  glass:", "  gl.ass:", "names must not hold a dot"),
        ("margin: 0.01", "margin: 1.5", "products.glass.gate.margin: Input should be less than 1"),
        ("margin: 0.01", "marge: 0.01", "products.glass.gate.marge: unknown key"),
    ],
)  # fmt: skip
def test_what_cannot_be_registered_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = WITH + PRODUCT
    assert text.count(old) == 1
    assert said in message(tmp_path, text.replace(old, new))


def test_every_profile_says_what_it_registers() -> None:
    # DVC knows no defaults.
    for path in sorted(PROFILES.glob("*.yaml")):
        params = load_profile(path.stem, PROFILES)
        assert "products" in params.model_fields_set, path
        assert set(params.products) <= {"screen"}
