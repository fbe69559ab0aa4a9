"""Costs and comparable settings have the same names for every method."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cadnet.config import MethodParams, Recipe, TrainParams
from cadnet.tracking import Trial
from cadnet.tracking.trials import comparable_params
from cadnet.types import SegOutput
from pipelines.stages.cost import Cost, measure_cost, peak_process_memory


class OneLayer(nn.Module):
    """10 x 3 weights and 10 biases, which the paper's counting adds to each of the outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 10, 1)

    def forward(self, image: torch.Tensor, reference: torch.Tensor) -> SegOutput:
        return SegOutput(self.layer(image), None)


def test_costs_are_those_computed_by_hand() -> None:
    cost = measure_cost(OneLayer(), (20, 50), "cpu", pairs_per_second=7.5)
    assert cost.params_m == pytest.approx(40e-6)
    assert cost.gmacs_paper == pytest.approx(1000 * 10 * 4 / 1e9)
    assert cost.gmacs_full == pytest.approx(1000 * 10 * 3 / 1e9)
    assert cost.latency_ms > 0
    assert set(cost.metrics()) >= {"cost_params_m", "cost_gmacs_full", "cost_latency_ms"}
    assert cost.metrics()["cost_pairs_per_second"] == 7.5


def test_what_is_unknown_is_no_metric() -> None:
    assert set(Cost(1.0, 2.0, 3.0, 4.0).metrics()) == {
        "cost_params_m", "cost_gmacs_paper", "cost_gmacs_full", "cost_latency_ms",
    }  # fmt: skip


def test_peak_memory_holds_what_was_allocated() -> None:
    before = peak_process_memory()
    if before is None:
        pytest.skip("this system does not say how much memory a process has held")
    block = torch.ones(64 * 2**20, dtype=torch.uint8)
    after = peak_process_memory()
    assert after is not None and after >= before > 2**20 and after >= block.numel()


def test_all_methods_have_the_same_comparable_settings() -> None:
    sgd = Recipe(optimizer="sgd", lr=0.01, reference_batch=16, weight_decay=5e-4, schedule="poly")
    adamw = Recipe(optimizer="adamw", lr=0.004, weight_decay=0.01, schedule="cosine")
    train = TrainParams(epochs=5, batch_size=8, crop=128)
    fcn = comparable_params(MethodParams(title="FCN", model="fcn", family="cnn", recipe=sgd), train)
    cadnet = comparable_params(
        MethodParams(
            title="CADNet", model="cadnet", options={"decoder": "add"}, family="transformer", recipe=adamw,
            loss="ce+bcl", contrastive_weight=0.02,
        ),
        train,
    )  # fmt: skip
    assert fcn.keys() == cadnet.keys()
    # 8 of 16 pairs: half the rate.
    assert (fcn["lr"], fcn["lambda"], fcn["decoder"], fcn["loss"]) == (0.005, 0.0, "none", "ce")
    assert (cadnet["lr"], cadnet["lambda"], cadnet["decoder"]) == (0.004, 0.02, "add")
    assert not any("." in name for name in fcn)


def test_a_subset_is_a_tag_and_no_part_of_the_name() -> None:
    trial = Trial("synlcd_line", "cadnet", 0, subset="line")
    assert trial.tags()["subset"] == "line" and trial.name == "cadnet-synlcd_line-s0"
    assert "subset" not in Trial("pku_pcb", "cadnet", 0).tags()
