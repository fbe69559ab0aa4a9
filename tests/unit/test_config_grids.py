"""The grids and products of a parameter file: what they may name, and that no two make the same thing."""

from __future__ import annotations

from pathlib import Path

import pytest

from cadnet.config import SemiParams
from tests.unit.test_config import GOOD, changed, load, message

GRIDS = """
ablation: {datasets: [lcd], methods: [ce], seeds: [0]}
cross: {datasets: [line, abpt], methods: [cadnet, plain], seeds: [0, 1]}
search: {dataset: lcd, recipes: {transformer: [{optimizer: sgd, lr: 0.1, weight_decay: 0, schedule: poly}]}}
products:
  glass: {dataset: lcd, acceptance: kept, methods: [cadnet], gate: {margin: 0.01}}
"""
SEMI = """
semi:
  pretrain: abpt
  dataset: line
  methods: [cadnet, plain]
  fractions: [0.05, 0.1, 0.15]
  seeds: [0, 1]
  labels: params/labels/line.csv
  unlabelled: 0.1
  epochs: 5
  steps: 60
"""
DATASETS = """datasets:
  line: {preparer: synlcd, size: 64, subset: line}
  abpt: {preparer: synlcd, size: 64, subset: abpt}
  kept: {preparer: synlcd}
  board: {preparer: pku_pcb}
"""
CE = "{title: CE, model: cadnet, family: transformer, recipe: *transformer}"
BASE = (
    GOOD.replace("datasets:\n  lcd:", f"{DATASETS}  lcd:")
    .replace("prepare: [lcd]", "prepare: [lcd, line, abpt, kept]")
    .replace("  plain:", f"  ce: {CE}\n  plain:")
)
FULL = BASE + GRIDS
FEW = BASE + SEMI
PARTS = "the protocol needs two subsets of one dataset"


class TestGrids:
    def test_grids_are_products_in_order(self, tmp_path: Path) -> None:
        params = load(tmp_path, FULL)
        assert params.run.trials == (
            ("lcd", "cadnet", 0), ("lcd", "cadnet", 1), ("lcd", "plain", 0), ("lcd", "plain", 1),
        )  # fmt: skip
        assert params.ablation.trials == (("lcd", "ce", 0),) and len(params.cross.trials) == 8
        assert list(params.grids) == ["run", "ablation", "cross"]
        assert params.search is not None and params.search.recipes["transformer"][0].lr == 0.1

    def test_a_grid_that_is_left_out_or_empty_has_no_trials_and_needs_no_data(self, tmp_path: Path) -> None:
        assert load(tmp_path, GOOD).cross.trials == () == load(tmp_path, GOOD).semi.trials
        off = changed(FULL, "methods: [cadnet, plain], seeds: [0, 1]}", "methods: [], seeds: [0, 1]}")
        assert load(tmp_path, off.replace("[lcd, line, abpt, kept]", "[lcd, kept]")).cross.trials == ()

    def test_grids_share_datasets_that_are_prepared_once(self, tmp_path: Path) -> None:
        shared = changed(FULL, "[line, abpt], methods: [cadnet, plain]", "[lcd], methods: [ce2]")
        shared = shared.replace("  ce: {", f"  ce2: {CE}\n  ce: {{")
        assert load(tmp_path, shared).cross.trials == (("lcd", "ce2", 0), ("lcd", "ce2", 1))

    @pytest.mark.parametrize(
        ("old", "new", "error"),
        [
            ("methods: [ce]", "methods: [cadnet]", "['lcd/cadnet/0'] is in more than one of"),
            ("methods: [ce]", "methods: [c]", "ablation.methods names ['c'], which is not defined"),
            ("[line, abpt],", "[lcd, abpt],", "'lcd/plain/1'] is in more than one of"),
            ("[line, abpt],", "[line, line],", "names something twice"),
            ("datasets: [lcd], methods: [ce]", "datasets: [line], methods: [ce]", "ablation.datasets names"),
            ("dataset: lcd, recipes", "dataset: lce, recipes", "search.dataset names ['lce']"),
            ("dataset: lcd, recipes", "dataset: board, recipes",
             "search.dataset names ['board'], which `prepare` does not"),
            ("recipes: {transformer: [", "recipes: {cnn: [", "search.recipes names ['cnn']"),
            ("{optimizer: sgd, lr: 0.1,", "{optimizer: sgd,", "search.recipes.transformer.0.lr: missing"),
            ("[lcd, line, abpt, kept]", "[line, abpt, kept]",
             "run.datasets names ['lcd'], which `prepare` does not; add it there"),
            ("[lcd, line, abpt, kept]", "[lcd, kept]",
             "cross.datasets names ['abpt', 'line'], which `prepare` does not"),
            ("[lcd, line, abpt, kept]", "[lcd, pcb]", "prepare names ['pcb'], which is not defined"),
            ("[lcd, line, abpt, kept]", "[lcd, line, abpt, line]", "names something twice; remove"),
            ("[lcd, line, abpt, kept]", "[]", "prepare: Tuple should have at least 1 item"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_run_is_named(self, tmp_path: Path, old: str, new: str, error: str) -> None:
        assert error in message(tmp_path, changed(FULL, old, new))

    def test_names_without_dots(self, tmp_path: Path) -> None:
        text = changed(FULL, "  ce: {title", "  c.e: {title").replace("methods: [ce]", "methods: [c.e]")
        assert "names must not hold a dot" in message(tmp_path, text)


class TestProducts:
    def test_everything_but_the_data_has_a_default(self, tmp_path: Path) -> None:
        product = load(tmp_path, FULL).products["glass"]
        assert (product.metric, product.split, product.threshold) == ("val_miou", "val", None)
        assert (product.min_pixels, product.gate.margin, product.gate.behaviour.shift) == (20, 0.01, 1.0)
        assert load(tmp_path, BASE).products == {}

    @pytest.mark.parametrize(
        ("old", "new", "error"),
        [
            ("acceptance: kept", "acceptance: lost", "products.glass.acceptance names ['lost'], which is"),
            ("acceptance: kept", "acceptance: lcd", "acceptance is 'lcd', which the product is trained on"),
            ("acceptance: kept", "acceptance: line", "acceptance is 'line', which a grid trains on"),
            ("glass: {dataset: lcd", "glass: {dataset: line", "which run.datasets does not name"),
            ("abpt, kept]", "abpt]", "products.glass.acceptance names ['kept']"),
            ("methods: [cadnet], gate", "methods: [ce], gate", "products.glass.methods names ['ce']"),
            ("  glass:", "  gl.ass:", "names must not hold a dot"),
            ("margin: 0.01", "margin: 1.5", "products.glass.gate.margin: Input should be less than 1"),
            ("margin: 0.01", "marge: 0.01", "products.glass.gate.marge: unknown key"),
            ("margin: 0.01", "behaviour: {false_share: 0}", "'false_share' is called 'false_fraction' now"),
        ],
    )
    def test_what_cannot_be_registered_is_named(self, tmp_path: Path, old: str, new: str, error: str) -> None:
        assert error in message(tmp_path, changed(FULL, old, new))


class TestFewLabels:
    def test_trials_are_a_product_with_no_labels_first(self, tmp_path: Path) -> None:
        trials = load(tmp_path, FEW).semi.trials
        assert trials[:4] == (
            ("line", "cadnet", 0.0, 0), ("line", "cadnet", 0.0, 1), ("line", "cadnet", 0.05, 0),
            ("line", "cadnet", 0.05, 1),
        )  # fmt: skip
        assert len(trials) == 2 * 4 * 2 and {trial[1] for trial in trials[8:]} == {"plain"}

    def test_without_methods_or_seeds_it_is_off_and_may_name_anything(self, tmp_path: Path) -> None:
        assert load(tmp_path, FEW.replace("seeds: [0, 1]\n  l", "seeds: []\n  l")).semi.trials == ()
        off = changed(FEW, "methods: [cadnet, plain]\n  f", "methods: []\n  f")
        off = off.replace("pretrain: abpt", "pretrain: dots").replace("dataset: line", 'dataset: ""')
        semi = load(tmp_path, off).semi
        assert (semi.trials, semi.pretrain, semi.dataset) == ((), "dots", "")

    @pytest.mark.parametrize("key", sorted(SemiParams.model_fields))
    def test_nothing_has_a_default(self, tmp_path: Path, key: str) -> None:
        (line,) = (line for line in SEMI.splitlines() if line.startswith(f"  {key}: "))
        assert message(tmp_path, BASE + SEMI.replace(f"{line}\n", "")) == f"semi.{key}: missing; add it"

    def test_all_samples_can_be_labelled(self, tmp_path: Path) -> None:
        text = FEW.replace("unlabelled: 0.1", "unlabelled: 0").replace("0.1, 0.15]", "1.0]")
        assert load(tmp_path, text).semi.fractions == (0.05, 1.0)
        # 0.7 + 0.3 and the like must not fail for their last bit.
        text = FEW.replace("unlabelled: 0.1", "unlabelled: 0.7").replace("0.1, 0.15]", "0.1, 0.3]")
        assert load(tmp_path, text).semi.unlabelled == 0.7

    @pytest.mark.parametrize(
        ("old", "new", "error"),
        [
            ("[0.05, 0.1, 0.15]", "[0, 0.1]", "fractions [0.0, 0.1] must be above 0 and at most 1"),
            ("[0.05, 0.1, 0.15]", "[5.0, 10.0]", "write 5 % as 0.05"),
            ("[0.05, 0.1, 0.15]", "[0.1, -0.2]", "must be above 0 and at most 1"),
            ("[0.05, 0.1, 0.15]", "[0.5, 1]", "semi.fractions.1: 1 becomes part of file names; write it as"),
            ("[0.05, 0.1, 0.15]", "[0.1, 0.1]", "fractions [0.1, 0.1] must ascend, each once"),
            ("[0.05, 0.1, 0.15]", "[0.1, 0.05]", "fractions [0.1, 0.05] must ascend"),
            ("[0.05, 0.1, 0.15]", "[]", "fractions is empty, which methods ['cadnet', 'plain'] need"),
            ("[0.05, 0.1, 0.15]", "[true]", "semi.fractions.0: Input should be a valid number"),
            ("unlabelled: 0.1", "unlabelled: 0.9", "semi: labelled 0.15 and unlabelled 0.9"),
            ("unlabelled: 0.1", "unlabelled: 2", "semi.unlabelled: Input should be less than or equal to 1"),
            ("[cadnet, plain]\n  f", "[plain, plain]\n  f", "methods ['plain', 'plain'] names something"),
            ("seeds: [0, 1]\n  l", "seeds: [1, 1]\n  l", "semi: seeds [1, 1] names something twice"),
            ("steps: 60", "steps: 0", "semi.steps: Input should be greater than 0 (got 0)"),
            ("params/labels/line.csv", '""', "semi: labels is empty, which methods"),
            ("pretrain: abpt", 'pretrain: ""', "semi: pretrain is empty, which methods"),
            ("dataset: line", 'dataset: ""', "semi: dataset is empty, which methods"),
            ("dataset: line", "dataset: ../line", "semi.dataset: String should match pattern"),
            ("pretrain: abpt", "pretrain: line", "pretrain and dataset are both 'line'"),
            ("[cadnet, plain]\n  f", "[unet]\n  f", "semi.methods names ['unet'], which is not defined"),
            ("dataset: line", "dataset: lines", "semi.dataset names ['lines'], which is not defined"),
            ("[lcd, line, abpt, kept]", "[lcd, abpt]", "semi.dataset names ['line'], which `prepare` does"),
            ("[lcd, line, abpt, kept]", "[lcd, line]", "semi.pretrain names ['abpt'], which `prepare` does"),
            ("size: 64, subset: abpt", "size: 96, subset: abpt", f"has 64; {PARTS}"),
            ("size: 64, subset: abpt", "size: 64, split_list: splits/b.csv, subset: abpt", PARTS),
            ("size: 64, subset: abpt", "size: 64, subset: line", "are both the subset line"),
            ("pretrain: abpt", "pretrain: kept", PARTS),
        ],
    )
    def test_what_cannot_be_run_is_named(self, tmp_path: Path, old: str, new: str, error: str) -> None:
        assert error in message(tmp_path, changed(FEW, old, new))

    @pytest.mark.parametrize("key", ["pretrain", "dataset"])
    def test_a_dataset_without_subsets(self, tmp_path: Path, key: str) -> None:
        text = FEW.replace("abpt, kept]", "abpt, board]")
        text = changed(text, f"  {key}: {'abpt' if key == 'pretrain' else 'line'}\n", f"  {key}: board\n")
        assert f"semi.{key} names 'board', a dataset without subsets" in message(tmp_path, text)
