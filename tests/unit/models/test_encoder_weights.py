"""Local files with timm's names as encoder weights of the convolutional networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from cadnet.models.factory import build_model
from cadnet.models.tensors import WeightsError, load_encoder_weights


@pytest.mark.parametrize(
    ("model", "options", "timm_name", "dropped"),
    [
        ("fcn", {"width": 8}, "resnet50c", {"fc"}),
        ("pspnet", {"encoder": "resnet18d"}, "resnet18d", {"fc"}),
        (
            "ocrnet",
            {"encoder": "hrnet_w18_small", "width": 8},
            "hrnet_w18_small",
            {"incre_modules", "downsamp_modules", "final_layer", "classifier"},
        ),
        ("smp:Unet/resnet18", {}, "resnet18", {"fc"}),
        ("smp:Unet/tu-resnet10t", {}, "resnet10t", {"fc"}),
    ],
)
def test_a_timm_classifier_gives_its_backbone(
    model: str, options: dict, timm_name: str, dropped: set[str], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    path = tmp_path / "timm.safetensors"
    save_file(timm.create_model(timm_name, pretrained=False).state_dict(), path)
    network = build_model(model, 2, path, **options)
    saved = load_file(path)
    own = network.encoder.state_dict()
    kept = {key: value for key, value in saved.items() if key.split(".")[0] not in dropped}
    assert len(kept) < len(saved)
    assert len(own) == len(kept)
    for key, value in own.items():
        source = key.removeprefix("body.")
        assert torch.equal(value, kept[source if source in kept else source.removeprefix("model.")]), key


def test_own_names_are_taken_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = build_model("pspnet", 2)
    save_file(first.encoder.state_dict(), tmp_path / "own.safetensors")
    second = build_model("fcn", 2, tmp_path / "own.safetensors", encoder="resnet18c", width=8)
    for key, value in first.encoder.state_dict().items():
        assert torch.equal(second.encoder.state_dict()[key], value), key


def test_weights_of_another_variant_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    save_file(timm.create_model("resnet18", pretrained=False).state_dict(), path)
    network = build_model("pspnet", 2)  # whose stem is deep
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(WeightsError, match=r"does not fit ResNet: missing body\.conv1\.0\.weight"):
        load_encoder_weights(network, path)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
