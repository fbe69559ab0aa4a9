"""Saving and loading: round trip, self-description, and every way a file can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cadnet.models.factory import build_model
from cadnet.models.tensors import WeightsError, read_header
from cadnet.models.weights import ModelDescription, load_model, load_weights, save_weights

OPTIONS = {"decoder": "multiply", "drop_path": 0.0}


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_model("cadnet", 2, **OPTIONS)


@pytest.fixture
def saved(tmp_path: Path, network: torch.nn.Module) -> Path:
    save_weights(
        tmp_path / "model",
        network,
        name="cadnet",
        num_classes=2,
        options=OPTIONS,
        class_names=("line", "abpt"),
        metadata={"best": {"val_miou": 0.5}},
    )
    return tmp_path / "model"


def test_round_trip(saved: Path, network: torch.nn.Module) -> None:
    loaded, description = load_model(saved)
    assert not loaded.training
    for key, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key
    assert description == ModelDescription(
        name="cadnet",
        num_classes=2,
        options=OPTIONS,
        class_names=["line", "abpt"],
        metadata={"best": {"val_miou": 0.5}},
        project_version=description.project_version,
    )
    assert description.project_version.count(".") == 2
    readable = json.loads((saved / "model.json").read_text())
    assert readable["name"] == "cadnet"
    assert readable["metadata"] == {"best": {"val_miou": 0.5}}
    assert sorted(p.name for p in saved.iterdir()) == ["model.json", "weights.safetensors"]


def test_equal_models_give_equal_bytes(saved: Path, network: torch.nn.Module) -> None:
    first = (saved / "weights.safetensors").read_bytes()
    description = ModelDescription.read(saved)
    save_weights(
        saved,
        network,
        name=description.name,
        num_classes=description.num_classes,
        options=description.options,
        class_names=description.class_names,
        metadata=description.metadata,
    )
    assert (saved / "weights.safetensors").read_bytes() == first


def test_the_readable_copy_is_not_needed(saved: Path) -> None:
    (saved / "model.json").unlink()
    assert load_model(saved)[1].class_names == ["line", "abpt"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"weights\.safetensors does not exist"):
        load_model(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 1000, 100_000])
def test_a_truncated_file_is_named(saved: Path, keep: int) -> None:
    path = saved / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"weights\.safetensors is not a complete safetensors file.*again"):
        load_model(saved)


def test_weights_of_another_network(saved: Path) -> None:
    other = build_model("segformer", 2)
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_weights(saved, other)
    message = str(caught.value)
    assert "does not fit SegFormer: unexpected head.attention.channel.excite.weight" in message
    assert "weights are of model 'cadnet' with 2 defect classes and options {'decoder': 'multiply'" in message
    for key, value in other.state_dict().items():
        assert torch.equal(value, before[key]), f"{key} changed although loading failed"


def test_weights_of_another_number_of_classes(saved: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"head\.classifier\.weight \(3, 256, 1, 1\) where \(7, 256, 1, 1\)"
    ):
        load_weights(saved, build_model("cadnet", 6, **OPTIONS))


def test_weights_of_another_number_format(saved: Path) -> None:
    path = saved / "weights.safetensors"
    about = read_header(path)
    save_file({key: value.half() for key, value in load_file(path).items()}, path, metadata=about)
    with pytest.raises(WeightsError, match=r"as torch\.float16, not torch\.float32; train again"):
        load_model(saved)


def test_weights_without_a_description(saved: Path) -> None:
    path = saved / "weights.safetensors"
    tensors = load_file(path)
    save_file(tensors, path)
    with pytest.raises(WeightsError, match="does not say which model it is of"):
        load_model(saved)
    save_file(tensors, path, metadata={"cadnet": json.dumps({"name": "cadnet", "colour": 1})})
    with pytest.raises(WeightsError, match="describes no model of this version"):
        load_model(saved)


def test_a_model_this_version_does_not_know(saved: Path, network: torch.nn.Module) -> None:
    save_weights(saved, network, name="future", num_classes=2)
    with pytest.raises(WeightsError, match=r"cannot be built here: unknown model 'future'"):
        load_model(saved)


def test_nothing_is_written_for_a_bad_description(tmp_path: Path, network: torch.nn.Module) -> None:
    with pytest.raises(ValueError, match="must name the 2 defect classes"):
        save_weights(tmp_path / "m", network, name="cadnet", num_classes=2, class_names=("line",))
    with pytest.raises(ValueError, match="JSON"):
        save_weights(tmp_path / "m", network, name="cadnet", num_classes=2, metadata={"x": float("nan")})
    assert not (tmp_path / "m").exists()


def test_a_full_disk_leaves_the_old_weights(
    saved: Path, network: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (saved / "weights.safetensors").read_bytes()

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        save_weights(saved, network, name="cadnet", num_classes=2)
    monkeypatch.undo()
    assert (saved / "weights.safetensors").read_bytes() == before
