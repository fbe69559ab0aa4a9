"""Where each cell's files lie and how the tracking store calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cadnet.config import ProjectParams, load_params
from pipelines.cells import (
    CellName,
    ablation_cells,
    cells,
    cross_cells,
    tracked,
    training_stage,
    validation_stage,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def params() -> ProjectParams:
    return load_params(ROOT / "params/grid-small.yaml")


def test_a_cross_test_shares_the_training_but_no_file_of_the_evaluation() -> None:
    own, cross = CellName("line", "cadnet", 1), CellName("line", "cadnet", 1, "abpt")
    assert own.model == cross.model == Path("models/line/cadnet/s1")
    assert own.history == cross.history == Path("reports/history/line/cadnet/s1.csv")
    assert cross.evaluation == Path("reports/evaluation/line-on-abpt/cadnet/s1")
    assert cross.metrics == Path("reports/metrics/line-on-abpt/cadnet/s1.json")
    assert cross.curves == Path("reports/curves/line-on-abpt/cadnet/s1.csv")
    assert own.evaluation == Path("reports/evaluation/line/cadnet/s1")
    assert (own.test_dataset, cross.test_dataset) == ("line", "abpt")
    assert str(cross) == "line-on-abpt/cadnet/s1"


def test_the_grids_hold_what_the_issue_of_the_paper_asks(params: ProjectParams) -> None:
    paper = {"fcn", "pspnet", "deeplabv3plus", "danet", "ocrnet", "segformer", "cadnet"}
    assert paper < {cell.method for cell in cells(params)}
    assert {cell.method for cell in ablation_cells(params)} >= {"cadnet-ce", "cadnet-cl", "cadnet-bcl"}
    pairs = {(cell.dataset, cell.test) for cell in cross_cells(params)}
    assert pairs == {(a, b) for a in ("synlcd-line", "synlcd-abpt") for b in ("synlcd-line", "synlcd-abpt")}
    assert {cell.method for cell in cross_cells(params)} == paper
    assert len(cross_cells(params)) == 4 * 7


def test_stages_are_named_after_their_grid(params: ProjectParams) -> None:
    assert training_stage(CellName("synlcd", "cadnet", 0), params) == "train@synlcd-cadnet-0"
    assert training_stage(CellName("synlcd", "cadnet-ce", 0), params) == "train-ablation@synlcd-cadnet-ce-0"
    crossed = CellName("synlcd-line", "cadnet", 0, "synlcd-abpt")
    assert training_stage(crossed, params) == "train-cross@synlcd-line-cadnet-0"
    assert validation_stage("synlcd", params) == "validate@synlcd"
    assert validation_stage("synlcd-abpt", params) == "validate-cross@synlcd-abpt"


def test_names_in_the_tracking_store(params: ProjectParams) -> None:
    main = tracked(CellName("synlcd", "cadnet", 0), params)
    assert (main.experiment, main.name) == ("cadnet/synlcd/supervised", "cadnet-synlcd-s0")
    assert main.tags()["subset"] == "mixed" and main.tags()["scale"] == params.run.scale
    variant = tracked(CellName("synlcd", "cadnet-ce", 0), params)
    assert variant.experiment == "cadnet/synlcd/ablation"
    training = tracked(CellName("synlcd-line", "cadnet", 0), params)
    assert training.experiment == "cadnet/synlcd-line/supervised"
    cross = tracked(CellName("synlcd-line", "cadnet", 0, "synlcd-abpt"), params)
    assert cross.experiment == "cadnet/synlcd-abpt/cross"
    assert cross.name == "cadnet-synlcd-abpt-from-synlcd-line-s0"
    assert cross.tags()["variant"] == "from-synlcd-line" and cross.tags()["subset"] == "abpt"
