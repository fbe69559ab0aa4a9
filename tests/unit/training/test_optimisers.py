import pytest
import torch
from torch import nn

from cadnet.config import Recipe
from cadnet.training.optimisers import build_optimizer, build_scheduler, lr_factor


def recipe(**changes) -> Recipe:
    values = {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.1, "schedule": "poly"}
    return Recipe(**(values | changes))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, 4, 1)
        self.head = nn.Conv2d(4, 2, 1)
        self.norm = nn.BatchNorm2d(2)


def test_poly_by_hand() -> None:
    # 10 steps, the first 2 warm up: 1/3, 2/3, then (1 - t)^2 with t = 0, 1/8, ...
    r = recipe(poly_power=2.0, warmup_fraction=0.2)
    values = [lr_factor(r, step, 10) for step in (0, 1, 2, 6, 9)]
    assert values == pytest.approx([1 / 3, 2 / 3, 1.0, 0.25, (1 / 8) ** 2])


def test_cosine_by_hand() -> None:
    r = recipe(schedule="cosine")
    assert [lr_factor(r, step, 4) for step in range(5)] == pytest.approx([1, 0.8535534, 0.5, 0.1464466, 0])


def test_constant_stays_at_one() -> None:
    assert lr_factor(recipe(schedule="constant"), 99, 100) == 1.0


def test_lr_scales_with_batch_and_head_and_decay_spares_vectors() -> None:
    model = Net()
    optimizer = build_optimizer(model, recipe(head_lr_multiplier=10.0, reference_batch=8), batch_size=4)
    seen = {}
    names = {id(p): name for name, p in model.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            seen[names[id(parameter)]] = (group["lr"], group["weight_decay"])
    assert seen["encoder.weight"] == pytest.approx((0.005, 0.1))
    assert seen["encoder.bias"] == pytest.approx((0.005, 0.0))
    assert seen["head.weight"] == pytest.approx((0.05, 0.1))
    assert seen["norm.weight"] == pytest.approx((0.05, 0.0))


def test_sgd_has_momentum_and_the_schedule_is_applied() -> None:
    optimizer = build_optimizer(Net(), recipe(optimizer="sgd", momentum=0.8), 8)
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["momentum"] == 0.8
    scheduler = build_scheduler(optimizer, recipe(), total_steps=2)
    rates = []
    for _ in range(2):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.01, 0.005])
