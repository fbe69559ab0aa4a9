"""Networks by name, their options, and encoder weights of local files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_origin

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import load_file, save_file

from cadnet.models.change_attention import AddAttention, MultiplyAttention
from cadnet.models.factory import MODELS, build_model, model_options
from cadnet.models.mit import from_smp_state_dict
from cadnet.models.tensors import WeightsError, load_encoder_weights


def test_options_reach_the_network() -> None:
    assert isinstance(build_model("cadnet", 2).head.attention, AddAttention)
    network = build_model("cadnet", 6, decoder="multiply", drop_path=0)
    assert isinstance(network.head.attention, MultiplyAttention)
    assert network.head.classifier.out_channels == 7
    assert network.encoder.stages[3].blocks[1].drop_path.rate == 0


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_option_is_typed_and_has_a_default(name: str) -> None:
    options = model_options(name)
    assert options
    assert all(hint in (str, int, float, bool) or get_origin(hint) is Literal for hint in options.values())
    with torch.device("meta"):  # shapes alone: the large ones take long to draw
        build_model(name, 1)


@pytest.mark.parametrize(
    ("name", "classes", "options", "message"),
    [
        ("cadnets", 2, {}, r"unknown model 'cadnets' \(did you mean 'cadnet'\?\); choose one of \['cadnet'"),
        ("resnet", 2, {}, r"choose one of"),
        ("cadnet", 0, {}, r"num_classes .* >= 1, got 0"),
        ("cadnet", True, {}, r"num_classes"),
        (
            "cadnet",
            2,
            {"decodr": "add"},
            r"no option 'decodr' \(did you mean 'decoder'\?\); it has \['decoder'",
        ),
        ("segformer", 2, {"decoder": "add"}, r"model 'segformer' has no option 'decoder'"),
        ("cadnet", 2, {"decoder": "sum"}, r"'decoder' .* one of \['add', 'multiply', 'none'\], got 'sum'"),
        ("cadnet", 2, {"encoder": "b7"}, r"'encoder' .* one of \['b0'"),
        ("cadnet", 2, {"dropout": "high"}, r"'dropout' .* must be float, got 'high'"),
        ("cadnet", 2, {"width": True}, r"'width' .* must be int, got True"),
        ("cadnet", 2, {"dropout": 1.5}, r"dropout must lie in"),
        ("pspnet", 2, {"dropout": 1.5}, r"dropout must lie in"),
        ("fcn", 2, {"encoder": "resnet50"}, r"'encoder' .* one of \['resnet18c'.*got 'resnet50'"),
        ("fcn", 2, {"output_stride": 4}, r"'output_stride' .* one of \[8, 16, 32\], got 4"),
        ("ocrnet", 2, {"encoder": "w18"}, r"'encoder' .* one of \['hrnet_w18_small'"),
    ],
)
def test_mistakes_are_explained(name: str, classes: int, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(name, classes, **options)


def test_encoder_weights_in_both_namings(tmp_path: Path) -> None:
    torch.manual_seed(0)
    foreign = smp.encoders.get_encoder("mit_b0", weights=None).state_dict()
    save_file(foreign, tmp_path / "foreign.safetensors")
    own = from_smp_state_dict(foreign)
    save_file(own, tmp_path / "own.safetensors")
    for name in ("foreign", "own"):
        network = build_model("cadnet", 2, tmp_path / f"{name}.safetensors")
        for key, value in network.encoder.state_dict().items():
            assert torch.equal(value, own[key]), key


def test_encoder_weights_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.safetensors does not exist.*nothing is downloaded"):
        build_model("cadnet", 2, tmp_path / "absent.safetensors")
    resnet = tmp_path / "resnet.safetensors"
    save_file({"layer1.weight": torch.zeros(2)}, resnet)
    with pytest.raises(WeightsError, match=r"resnet\.safetensors does not fit MiT: missing stages"):
        build_model("cadnet", 2, resnet)
    b1 = smp.encoders.get_encoder("mit_b1", weights=None).state_dict()
    save_file(b1, tmp_path / "b1.safetensors")
    with pytest.raises(WeightsError, match=r"b1\.safetensors .* other shapes: .*same encoder variant"):
        build_model("cadnet", 2, tmp_path / "b1.safetensors")
    b1["fc.weight"] = torch.zeros(1)
    save_file(b1, tmp_path / "mixed.safetensors")
    with pytest.raises(WeightsError, match=r"mixed\.safetensors does not hold weights of MiT: 'fc\.weight'"):
        build_model("cadnet", 2, tmp_path / "mixed.safetensors")


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
