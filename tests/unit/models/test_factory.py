"""The factory's options and its errors."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_origin

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file

from cadnet.config import MethodParams
from cadnet.models.change_attention import AddAttention, MultiplyAttention
from cadnet.models.factory import MODELS, build_model, model_options
from cadnet.models.mit import from_smp_state_dict
from cadnet.models.tensors import WeightsError


def test_options_reach_the_network() -> None:
    assert isinstance(build_model("cadnet", 2).head.attention, AddAttention)
    method = MethodParams(
        title="t", model="cadnet", options={"decoder": "multiply", "drop_path": 0}, recipe="adam"
    )
    network = build_model(method.model, 6, **method.options)
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
