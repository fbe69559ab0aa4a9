from pathlib import Path

import pytest
import torch

from cadnet.training.checkpoints import SafetensorsIO, flatten, unflatten

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
