"""The encoder: equal to segmentation-models-pytorch on the same weights, and its own parts."""

from __future__ import annotations

import math

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from cadnet.models.mit import MIT_SPECS, DropPath, MiT, from_smp_state_dict


@pytest.fixture(scope="module")
def foreign() -> nn.Module:
    torch.manual_seed(0)
    encoder = smp.encoders.get_encoder("mit_b0", weights=None).eval()
    with torch.no_grad():
        for (
            parameter
        ) in encoder.parameters():  # norms and biases away from 1 and 0, so that a swap would show
            parameter.add_(0.05 * torch.randn_like(parameter))
    for module in encoder.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
    return encoder


@pytest.fixture(scope="module")
def own(foreign: nn.Module) -> MiT:
    encoder = MiT("b0").eval()
    encoder.load_state_dict(from_smp_state_dict(foreign.state_dict()))
    return encoder


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (65, 50)])
def test_features_equal_the_reference_implementation(
    foreign: nn.Module, own: MiT, size: tuple[int, int]
) -> None:
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, got = foreign(image)[2:], own(image)
    assert [tuple(f.shape) for f in got] == [
        (2, c, math.ceil(size[0] / s), math.ceil(size[1] / s))
        for c, s in zip((32, 64, 160, 256), (4, 8, 16, 32), strict=True)
    ]
    for theirs, ours in zip(expected, got, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)


def test_gradients_equal_the_reference_implementation(foreign: nn.Module, own: MiT) -> None:
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    results = []
    for features, module in ((foreign(image)[2:], foreign), (own(image), own)):
        sum((f * f.detach().sin()).sum() for f in features).backward()
        results.append({name: p.grad for name, p in module.named_parameters()})
        module.zero_grad(set_to_none=True)
    for name, gradient in from_smp_state_dict(results[0]).items():
        torch.testing.assert_close(results[1][name], gradient, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("variant", ["b0", "b1", "b2"])
def test_variants_take_the_reference_weights(variant: str) -> None:
    theirs = smp.encoders.get_encoder(f"mit_{variant}", weights=None).state_dict()
    with torch.device("meta"):
        ours = MiT(variant).state_dict()
    shapes = {name: value.shape for name, value in from_smp_state_dict(theirs).items()}
    assert shapes == {name: value.shape for name, value in ours.items()}


@pytest.mark.parametrize("variant", sorted(MIT_SPECS))
def test_widths_and_depths_equal_the_reference(variant: str) -> None:
    params = smp.encoders.encoders[f"mit_{variant}"]["params"]
    assert MIT_SPECS[variant] == (tuple(params["embed_dims"]), tuple(params["depths"]))


def test_the_classifier_of_foreign_weights_is_left_out_and_strangers_are_named() -> None:
    assert from_smp_state_dict({"head.weight": torch.zeros(1)}) == {}
    with pytest.raises(KeyError, match=r"layer1\.0\.conv1\.weight"):
        from_smp_state_dict({"layer1.0.conv1.weight": torch.zeros(1)})


def test_initialisation_follows_segformer() -> None:
    torch.manual_seed(0)
    encoder = MiT("b0", drop_path=0.1)
    block = encoder.stages[3].blocks[1]
    assert block.ffn.expand.weight.std().item() == pytest.approx(0.02, rel=0.02)
    fan_out = 3 * 3 * 256
    assert encoder.stages[3].embed.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.02)
    assert block.ffn.depthwise.weight.std().item() == pytest.approx(math.sqrt(2 / 9), rel=0.05)
    assert not block.attention.query.bias.any()
    rates = [b.drop_path.rate for stage in encoder.stages for b in stage.blocks]
    assert rates == pytest.approx([0.1 * i / 7 for i in range(8)])
    assert {m.eps for m in encoder.modules() if isinstance(m, nn.LayerNorm)} == {1e-6}


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop, x = DropPath(0.25), torch.ones(4000, 2, 3)
    out = drop(x)
    assert sorted(out.unique().tolist()) == pytest.approx([0.0, 1 / 0.75])
    assert (out.flatten(1).amin(1) == out.flatten(1).amax(1)).all()
    assert out.mean().item() == pytest.approx(1.0, abs=0.05)
    assert drop.eval()(x) is x


@pytest.mark.parametrize("shape", [(1, 3, 31, 64), (1, 1, 64, 64), (3, 64, 64)])
def test_wrong_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 32 px"):
        MiT("b0")(torch.zeros(shape))


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="b9"):
        MiT("b9")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="drop_path"):
        MiT("b0", drop_path=1.0)
