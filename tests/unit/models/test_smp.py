"""Networks of segmentation_models_pytorch by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch

from cadnet.models.factory import build_model, model_options
from cadnet.models.smp import SmpNetwork
from cadnet.models.tensors import WeightsError
from cadnet.models.weights import ModelDescription, load_model, save_weights


def test_it_is_the_library_network() -> None:
    torch.manual_seed(0)
    network = build_model("smp:FPN/resnet18", 2).eval()
    assert isinstance(network, SmpNetwork)
    torch.manual_seed(0)
    original = smp.FPN("resnet18", encoder_weights=None, classes=3).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(network(image).logits, original(image))


@pytest.mark.parametrize("name", ["smp:DeepLabV3Plus/resnet18", "smp:PSPNet/resnet18", "smp:MAnet/mit_b0"])
def test_sizes_of_any_kind(name: str) -> None:
    network = build_model(name, 2).eval()
    for size in ((33, 47), (64, 64)):
        with torch.no_grad():
            assert network(torch.zeros(1, 3, *size)).logits.shape == (1, 3, *size)


def test_all_offered_architectures_can_be_built() -> None:
    offered = {cls.__name__ for cls in smp.MODEL_ARCHITECTURES_MAPPING.values()} - {"DPT"}
    assert len(offered) >= 11
    with torch.device("meta"):
        for architecture in offered:
            build_model(f"smp:{architecture}/resnet18", 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smp:UnetPlus/resnet18", r"no architecture 'UnetPlus'; near ones are \['UnetPlusPlus', 'Unet'"),
        ("smp:unet/resnet18", r"no architecture 'unet'; near ones are \['Unet'"),
        ("smp:DPT/resnet18", r"no architecture 'DPT'"),
        ("smp:Unet/resnet19", r"no encoder 'resnet19'; near ones are \['resnet18'"),
        ("smp:Unet/tu-resnet50x", r"no encoder 'tu-resnet50x'; near ones are \['tu-resnet50c?'"),
        ("smp:Unet/qqqq", r"no encoder 'qqqq'; there are \[.* and others"),
        ("smp:Unet", r"'smp:Unet' is not of the form 'smp:<Architecture>/<encoder>'"),
        ("smp:/resnet18", r"not of the form"),
        ("smp:UnetPlusPlus/mit_b0", r"cannot join UnetPlusPlus and mit_b0: .*not support"),
    ],
)
def test_mistakes_are_explained(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(name, 2)


def test_there_are_no_options() -> None:
    assert model_options("smp:Unet/resnet18") == {}
    with pytest.raises(ValueError, match=r"'smp:Unet/resnet18' has no option 'width'"):
        build_model("smp:Unet/resnet18", 2, width=3)


def test_the_description_names_the_network(tmp_path: Path) -> None:
    name = "smp:Unet/tu-resnet10t"
    network = build_model(name, 2).eval()
    save_weights(tmp_path, network, name=name, num_classes=2, class_names=("line", "abpt"))
    assert ModelDescription.read(tmp_path).name == name
    loaded, _ = load_model(tmp_path)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(image).logits, network(image).logits)
    save_weights(tmp_path, network, name="smp:Unet/resnet1", num_classes=2)
    with pytest.raises(WeightsError, match=r"cannot be built here: smp has no encoder 'resnet1'"):
        load_model(tmp_path)
