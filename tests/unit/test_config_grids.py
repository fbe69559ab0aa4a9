"""The grids of a parameter file: what they may name, and that no two of them make the same thing."""

from __future__ import annotations

from pathlib import Path

import pytest

from cadnet.config import SemiParams
from pipelines.profile import load_profile
from tests.unit.test_config import GOOD, load, message

PROFILES = Path(__file__).parents[2] / "params"
GRIDS = """
ablation: {datasets: [lcd], methods: [ce], seeds: [0]}
cross: {datasets: [line, abpt], methods: [cadnet, plain], seeds: [0, 1]}
search: {dataset: lcd, recipes: {transformer: [{optimizer: sgd, lr: 0.1, weight_decay: 0, schedule: poly}]}}
"""
FULL = (
    GOOD.replace(
        "methods:\n  cadnet:", "  line: {preparer: synlcd}\n  abpt: {preparer: synlcd}\nmethods:\n  cadnet:"
    ).replace("  plain:", "  ce: {title: CE, model: cadnet, recipe: transformer}\n  plain:")
    + GRIDS
).replace("prepare: [lcd]", "prepare: [lcd, line, abpt]")


def test_grids_are_products_in_order(tmp_path: Path) -> None:
    params = load(tmp_path, FULL)
    assert params.run.trials == (
        ("lcd", "cadnet", 0), ("lcd", "cadnet", 1), ("lcd", "plain", 0), ("lcd", "plain", 1),
    )  # fmt: skip
    assert params.ablation.trials == (("lcd", "ce", 0),)
    assert len(params.cross.trials) == 8
    assert list(params.grids) == ["run", "ablation", "cross"]
    assert params.search is not None and params.search.recipes["transformer"][0].lr == 0.1


def test_a_grid_that_is_left_out_or_empty_has_no_trials(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD).cross.trials == ()
    assert load(tmp_path, GOOD + "cross: {datasets: [], methods: [cadnet], seeds: [0]}\n").cross.trials == ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("methods: [ce]", "methods: [cadnet]", "['lcd/cadnet/0'] is in more than one of"),
        ("methods: [ce]", "methods: [c]", "ablation.methods names ['c'], which is not defined"),
        ("[line, abpt]", "[lcd, abpt]",
         "['lcd/cadnet/0', 'lcd/cadnet/1', 'lcd/plain/0', 'lcd/plain/1'] is in more than one of"),
        ("[line, abpt]", "[line, line]", "names something twice"),
        ("datasets: [lcd], methods: [ce]", "datasets: [line], methods: [ce]", "ablation.datasets names"),
        ("dataset: lcd, recipes", "dataset: lce, recipes", "search.dataset names ['lce']"),
        ("recipes: {transformer: [", "recipes: {cnn: [", "search.recipes names ['cnn']"),
        ("recipes: {transformer: [{optimizer: sgd, lr: 0.1,", "recipes: {transformer: [{optimizer: sgd,",
         "search.recipes.transformer.0.lr: missing"),
        ("  ce: {title", "  c.e: {title", "names must not hold a dot"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert FULL.count(old) == 1
    text = FULL.replace(old, new)
    if new.startswith("  c.e"):
        text = text.replace("methods: [ce]", "methods: [c.e]")
    assert said in message(tmp_path, text)


def test_grids_share_datasets_that_are_prepared_once(tmp_path: Path) -> None:
    shared = FULL.replace(
        "datasets: [line, abpt], methods: [cadnet, plain]", "datasets: [lcd], methods: [ce2]"
    )
    shared = shared.replace("  ce: {", "  ce2: {title: CE2, model: cadnet, recipe: transformer}\n  ce: {")
    assert load(tmp_path, shared).cross.trials == (("lcd", "ce2", 0), ("lcd", "ce2", 1))
    assert load(tmp_path, shared).prepare == ("lcd", "line", "abpt")


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        ("[line, abpt]", "run.datasets names ['lcd'], which `prepare` does not; add it there"),
        ("[lcd]", "cross.datasets names ['abpt', 'line'], which `prepare` does not; add it there"),
        ("[lcd, pcb]", "prepare names ['pcb'], which is not defined; defined: ['abpt', 'lcd', 'line']"),
        ("[lcd, line, abpt, line]", "prepare ['lcd', 'line', 'abpt', 'line'] names something twice; remove"),
        ("[]", "prepare: Tuple should have at least 1 item"),
    ],
)
def test_what_is_not_prepared_cannot_be_used(tmp_path: Path, prepare: str, said: str) -> None:
    assert said in message(tmp_path, FULL.replace("[lcd, line, abpt]", prepare))


def test_the_search_uses_a_dataset_that_is_prepared(tmp_path: Path) -> None:
    text = FULL.replace("cross: {datasets: [line, abpt]", "cross: {datasets: []")
    text = text.replace("search: {dataset: lcd", "search: {dataset: line")
    said = message(tmp_path, text.replace("[lcd, line, abpt]", "[lcd, abpt]"))
    assert said == "search.dataset names ['line'], which `prepare` does not; add it there"


def test_a_grid_that_is_off_needs_no_data(tmp_path: Path) -> None:
    text = FULL.replace("methods: [cadnet, plain], seeds: [0, 1]}", "methods: [], seeds: [0, 1]}")
    assert load(tmp_path, text.replace("[lcd, line, abpt]", "[lcd]")).cross.trials == ()


@pytest.mark.parametrize("profile", sorted(path.stem for path in PROFILES.glob("*.yaml")))
def test_every_profile_says_what_dvc_reads(profile: str) -> None:
    params = load_profile(profile, PROFILES)
    # DVC reads the file itself and knows no defaults.
    for name in params.grids:
        assert name in params.model_fields_set
        grid = params.grids[name]
        assert {"datasets", "methods", "seeds"} <= grid.model_fields_set
    assert {"prepare", "semi"} <= params.model_fields_set
    assert params.semi.model_fields_set == set(SemiParams.model_fields)
