"""The grid that learns from few labels: its trials, and what it may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from cadnet.config import SemiParams
from tests.unit.test_config import GOOD, load, message

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
  board: {preparer: pku_pcb}
"""
PARTS = "the protocol needs two subsets of one dataset, such as line and abpt"
BASE = GOOD.replace("datasets:\n  lcd:", f"{DATASETS}  lcd:").replace(
    "[lcd]\ndata", "[lcd, line, abpt]\ndata"
)
FULL = BASE + SEMI


def test_trials_are_a_product_with_no_labels_first(tmp_path: Path) -> None:
    trials = load(tmp_path, FULL).semi.trials
    assert trials[:4] == (
        ("line", "cadnet", 0.0, 0), ("line", "cadnet", 0.0, 1), ("line", "cadnet", 0.05, 0),
        ("line", "cadnet", 0.05, 1),
    )  # fmt: skip
    assert len(trials) == 2 * 4 * 2
    assert {trial[1] for trial in trials[8:]} == {"plain"}


def test_left_out_or_without_methods_or_seeds_it_is_off(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD).semi.trials == ()
    assert load(tmp_path, FULL.replace("methods: [cadnet, plain]\n  f", "methods: []\n  f")).semi.trials == ()
    assert load(tmp_path, FULL.replace("seeds: [0, 1]\n  l", "seeds: []\n  l")).semi.trials == ()


def test_off_it_may_name_what_is_not_there(tmp_path: Path) -> None:
    text = FULL.replace("methods: [cadnet, plain]\n  f", "methods: []\n  f")
    text = text.replace("pretrain: abpt", "pretrain: dots").replace("dataset: line", "dataset: board")
    assert load(tmp_path, text).semi.pretrain == "dots"
    text = text.replace("pretrain: dots", 'pretrain: ""').replace("dataset: board", 'dataset: ""')
    assert load(tmp_path, text).semi.dataset == ""


@pytest.mark.parametrize("key", sorted(SemiParams.model_fields))
def test_nothing_has_a_default(tmp_path: Path, key: str) -> None:
    (line,) = (line for line in SEMI.splitlines() if line.startswith(f"  {key}: "))
    assert message(tmp_path, BASE + SEMI.replace(f"{line}\n", "")) == f"semi.{key}: missing; add it"


def test_all_samples_can_be_labelled(tmp_path: Path) -> None:
    text = FULL.replace("unlabelled: 0.1", "unlabelled: 0").replace("0.1, 0.15]", "1.0]")
    assert load(tmp_path, text).semi.fractions == (0.05, 1.0)
    # 0.8 + 0.2 and the like must not fail for their last bit.
    text = FULL.replace("unlabelled: 0.1", "unlabelled: 0.7").replace("0.1, 0.15]", "0.1, 0.3]")
    assert load(tmp_path, text).semi.unlabelled == 0.7


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[0.05, 0.1, 0.15]", "[0, 0.1]",
         "semi: fractions [0.0, 0.1] must be above 0 and at most 1; leave 0 out, it is always tested, and"),
        ("[0.05, 0.1, 0.15]", "[5.0, 10.0]", "it is always tested, and write 5 % as 0.05"),
        ("[0.05, 0.1, 0.15]", "[0.1, -0.2]", "must be above 0 and at most 1"),
        ("[0.05, 0.1, 0.15]", "[0.5, 1]",
         "semi.fractions.1: 1 becomes part of file names; write it as 1.0"),
        ("[0.05, 0.1, 0.15]", "[0.1, 0.1]",
         "semi: fractions [0.1, 0.1] must ascend, each once; sort them, remove repetitions"),
        ("[0.05, 0.1, 0.15]", "[0.1, 0.05]", "semi: fractions [0.1, 0.05] must ascend"),
        ("[0.05, 0.1, 0.15]", "[]",
         "semi: fractions is empty, which methods ['cadnet', 'plain'] need; fill it in"),
        ("[0.05, 0.1, 0.15]", "[true]", "semi.fractions.0: Input should be a valid number (got True)"),
        ("unlabelled: 0.1", "unlabelled: 0.9",
         "semi: labelled 0.15 and unlabelled 0.9 of the training samples are more than there are, and no "
         "sample may be both; lower one of them"),
        ("unlabelled: 0.1", "unlabelled: 2", "semi.unlabelled: Input should be less than or equal to 1"),
        ("methods: [cadnet, plain]\n  f", "methods: [plain, plain]\n  f",
         "semi: methods ['plain', 'plain'] names something twice; remove the repetition"),
        ("seeds: [0, 1]\n  l", "seeds: [1, 1]\n  l", "semi: seeds [1, 1] names something twice"),
        ("steps: 60", "steps: 0", "semi.steps: Input should be greater than 0 (got 0)"),
        ("params/labels/line.csv", '""', "semi: labels is empty, which methods"),
        ("pretrain: abpt", 'pretrain: ""', "semi: pretrain is empty, which methods"),
        ("dataset: line", 'dataset: ""', "semi: dataset is empty, which methods"),
        ("dataset: line", "dataset: ../line", "semi.dataset: String should match pattern"),
        ("pretrain: abpt", "pretrain: line",
         "semi: pretrain and dataset are both 'line'; name a dataset with another kind of defect"),
        ("methods: [cadnet, plain]\n  f", "methods: [unet]\n  f",
         "semi.methods names ['unet'], which is not defined; defined: ['cadnet', 'plain']"),
        ("dataset: line", "dataset: lines", "semi.dataset names ['lines'], which is not defined; defined:"),
        ("prepare: [lcd, line, abpt]", "prepare: [lcd, abpt]",
         "semi.dataset names ['line'], which `prepare` does not; add it there"),
        ("prepare: [lcd, line, abpt]", "prepare: [lcd, line]",
         "semi.pretrain names ['abpt'], which `prepare` does not; add it there"),
        ("size: 64, subset: abpt", "size: 96, subset: abpt",
         f"semi.pretrain 'abpt' has size 96 and semi.dataset 'line' has 64; {PARTS}: make them equal"),
        ("size: 64, subset: abpt", "size: 64, split_list: splits/b.csv, subset: abpt",
         "semi.pretrain 'abpt' has split_list splits/b.csv and semi.dataset 'line' has splits/synlcd.csv"),
        ("size: 64, subset: abpt", "size: 64, subset: line",
         f"semi.pretrain 'abpt' and semi.dataset 'line' are both the subset line; {PARTS}"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert FULL.count(old) == 1
    assert said in message(tmp_path, FULL.replace(old, new))


@pytest.mark.parametrize("key", ["pretrain: abpt", "dataset: line"])
def test_a_dataset_without_subsets(tmp_path: Path, key: str) -> None:
    text = FULL.replace(key, f"{key.partition(':')[0]}: board").replace("line, abpt]", "line, abpt, board]")
    said = f"semi.{key.partition(':')[0]} names 'board', a dataset without subsets (pku_pcb); {PARTS}"
    assert message(tmp_path, text) == said
