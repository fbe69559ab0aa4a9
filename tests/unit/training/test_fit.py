"""The best epoch, the training state, optimisers and schedules."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from cadnet.config import Recipe
from cadnet.training.checkpoints import SafetensorsIO, flatten, unflatten
from cadnet.training.fit import best_epoch, format_row
from cadnet.training.optimisers import build_optimizer, build_scheduler, lr_factor


def test_best_is_the_highest_and_the_latest_of_equals() -> None:
    history = [
        {"epoch": 1, "val_miou": None},
        {"epoch": 2, "val_miou": 0.4},
        {"epoch": 3},
        {"epoch": 4, "val_miou": 0.4},
        {"epoch": 5, "val_miou": 0.1},
    ]
    best = best_epoch(history)
    assert best is not None
    assert best["epoch"] == 4


def test_undefined_ranks_below_zero_and_nothing_gives_none() -> None:
    best = best_epoch([{"epoch": 1, "val_miou": None}, {"epoch": 2, "val_miou": 0.0}])
    assert best is not None
    assert best["epoch"] == 2
    assert best_epoch([{"epoch": 1}]) is None


def test_row_as_a_line() -> None:
    assert (
        format_row({"epoch": 2, "loss": 0.123456, "val_miou": None}, 5)
        == "epoch 2/5 loss=0.1235 val_miou=None"
    )


STATE = {
    "epoch": 3,
    "none": None,
    "loops": {"fit_loop": {"count": 7, "flag": True}},
    "optimizer_states": [
        {"state": {0: {"step": torch.tensor(5.0), "m": torch.ones(2, 3)}}, "betas": (0.9, 0.99)}
    ],
    "bf16": torch.full((2,), 1.5, dtype=torch.bfloat16),
    "tied": [torch.arange(4), "text", 0.1],
}


def equal(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and a == b


def test_round_trip_keeps_types_integer_keys_and_order(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    SafetensorsIO().save_checkpoint(STATE, path)
    assert equal(SafetensorsIO().load_checkpoint(path), STATE)
    assert [file.name for file in tmp_path.iterdir()] == ["state.safetensors"]


def test_tied_tensors_are_kept(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    path = tmp_path / "state.safetensors"
    SafetensorsIO().save_checkpoint({"a": shared, "b": shared.view(2, 3)}, path)
    loaded = SafetensorsIO().load_checkpoint(path)
    assert torch.equal(loaded["a"], shared)
    assert torch.equal(loaded["b"], shared.view(2, 3))


def test_other_objects_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"state/a/0 is a set"):
        flatten({"a": [{1}]}, {})


def test_flatten_moves_only_tensors() -> None:
    tensors: dict[str, torch.Tensor] = {}
    node = flatten(STATE, tensors)
    assert len(tensors) == 4
    assert equal(unflatten(node, tensors), STATE)


def test_damaged_file_names_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    SafetensorsIO().save_checkpoint(STATE, path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"state.safetensors is damaged .*delete it"):
        SafetensorsIO().load_checkpoint(path)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.safetensors"
    SafetensorsIO().save_checkpoint({"epoch": 1}, path)

    def full_disk(*_args, **_kwargs) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cadnet.training.checkpoints.save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        SafetensorsIO().save_checkpoint({"epoch": 2}, path)
    assert SafetensorsIO().load_checkpoint(path) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["state.safetensors"]


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
