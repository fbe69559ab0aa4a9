"""Layers of the convolutional baselines against plain formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cadnet.models.danet import ChannelAttention, PositionAttention
from cadnet.models.factory import build_model
from cadnet.models.layers import (
    AdaptiveAvgPool,
    ConvModule,
    PooledBranch,
    SeparableConv,
    _bins,
    crop,
    pad_to_multiple,
    without_autocast,
)
from cadnet.models.ocrnet import object_regions
from cadnet.types import SegOutput


def test_sizes_are_kept() -> None:
    x = torch.randn(1, 4, 9, 7)
    for layer in (ConvModule(4, 6), ConvModule(4, 6, 3, 6), SeparableConv(4, 6, 3)):
        assert layer.eval()(x).shape == (1, 6, 9, 7)
    assert [n for n, _ in ConvModule(4, 6).named_parameters()] == ["0.weight", "1.weight", "1.bias"]


@pytest.mark.parametrize("size", [1, 2, 3, 6])
@pytest.mark.parametrize("shape", [(8, 8), (7, 12), (5, 13)])
def test_bins_of_the_export_equal_the_pooling(size: int, shape: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *shape)
    rows, columns = (_bins(size, length, x) for length in shape)
    torch.testing.assert_close(rows @ x @ columns.T, AdaptiveAvgPool(size)(x))


def test_a_pooled_branch_is_constant_per_bin() -> None:
    out = PooledBranch(3, 4).eval()(torch.randn(1, 3, 5, 6))
    assert out.shape == (1, 4, 5, 6)
    torch.testing.assert_close(out, out[..., :1, :1].expand_as(out))


@pytest.mark.parametrize("name", ["pspnet", "deeplabv3plus"])
def test_one_image_cannot_train_what_pools_to_one_value(name: str) -> None:
    network = build_model(name, 1, encoder="resnet18c", width=8).train()
    with pytest.raises(ValueError, match="at least 2 images per batch and drop a last batch of 1"):
        network(torch.zeros(1, 3, 64, 64))


def test_position_attention_by_hand() -> None:
    torch.manual_seed(0)
    layer = PositionAttention(16)
    x = torch.randn(2, 16, 3, 5)
    assert torch.equal(layer(x), x)  # gamma starts at 0
    layer.gamma.data.fill_(0.5)
    q, k, v = (f(x).flatten(2) for f in (layer.query, layer.key, layer.value))
    weights = torch.einsum("bci,bcj->bij", q, k).softmax(dim=2)  # not scaled, over the positions j
    expected = x + 0.5 * torch.einsum("bij,bcj->bci", weights, v).view_as(x)
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_channel_attention_by_hand() -> None:
    torch.manual_seed(0)
    layer = ChannelAttention()
    x = torch.randn(2, 6, 3, 5)
    assert torch.equal(layer(x), x)
    layer.gamma.data.fill_(2.0)
    flat = x.flatten(2)
    energy = flat @ flat.transpose(1, 2)
    weights = (energy.amax(dim=2, keepdim=True) - energy).softmax(dim=2)
    torch.testing.assert_close(layer(x), x + 2 * (weights @ flat).view_as(x), rtol=1e-4, atol=1e-4)


def test_regions_are_weighted_means() -> None:
    features = torch.arange(2 * 4, dtype=torch.float32).view(1, 2, 2, 2)
    # Class 0 looks at one position alone, class 1 at all alike.
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, 0, 1, 0] = 100.0
    regions = object_regions(features, logits)
    assert regions.shape == (1, 2, 2, 1)
    assert regions[0, :, :, 0].tolist() == [[2.0, 1.5], [6.0, 5.5]]


def test_the_final_loss_reaches_the_coarse_logits() -> None:
    network = build_model("ocrnet", 2, encoder="hrnet_w18_small", width=16, key_width=8).train()
    network(torch.randn(2, 3, 64, 64)).logits.square().sum().backward()
    assert network.coarse[1][1].weight.grad.any()


def test_padding_repeats_the_edge_and_is_cut_off_again() -> None:
    x = torch.arange(6.0).view(1, 1, 2, 3)
    padded = pad_to_multiple(x, 4)
    assert padded.shape == (1, 1, 4, 4)
    assert padded[0, 0, 3].tolist() == [3, 4, 5, 5]
    assert torch.equal(crop(padded, (2, 3)), x)
    assert pad_to_multiple(padded, 4) is padded


def test_odd_sizes_train_with_auxiliary_logits_of_the_image() -> None:
    network = build_model("ocrnet", 2, encoder="hrnet_w18_small", width=16, key_width=8).train()
    output: SegOutput = network(torch.randn(2, 3, 40, 72))
    assert output.auxiliary[0].logits.shape == output.logits.shape == (2, 3, 40, 72)


@pytest.mark.parametrize("name", ["fcn", "pspnet", "deeplabv3plus", "danet", "ocrnet"])
def test_bfloat16_autocast_stays_near_float32(name: str) -> None:
    torch.manual_seed(0)
    options = {"encoder": "hrnet_w18_small"} if name == "ocrnet" else {"encoder": "resnet18c"}
    network = build_model(name, 2, width=32, **options).eval()
    for key, value in network.named_parameters():
        if key.endswith("gamma"):
            value.data.fill_(1.0)
    image = torch.randn(1, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        exact = network(image).logits
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(image).logits
    assert rounded.isfinite().all()
    assert F.mse_loss(rounded.float(), exact).sqrt() < 0.05 * exact.std() + 0.01


def test_products_stay_float32_without_autocast() -> None:
    x = torch.randn(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
        with without_autocast(x):
            assert (x @ x).dtype == torch.float32
