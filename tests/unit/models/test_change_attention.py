"""Change attention against formulas written out, and the head's cheap form against its literal one."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cadnet.models.change_attention import (
    AddAttention,
    ChannelAttention,
    CoordAttention,
    MultiplyAttention,
    change_map,
    change_prior,
)
from cadnet.models.segformer import FusionHead

CHANNELS = 16


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def levels() -> list[Tensor]:
    return [random(2, CHANNELS, 6, 5, seed=s) for s in range(4)]


def literal_channel_attention(module: ChannelAttention, x: Tensor) -> Tensor:
    """sigmoid(M(avgpool x) + M(maxpool x)) with M as matrices."""
    down, up = module.squeeze.weight[:, :, 0, 0], module.excite.weight[:, :, 0, 0]
    both = [F.relu(v @ down.T) @ up.T for v in (x.mean((2, 3)), x.amax((2, 3)))]
    return torch.sigmoid(both[0] + both[1])


def literal_coordinate_attention(module: CoordAttention, z: Tensor) -> Tensor:
    """Rows and columns one after the other, with matrices."""
    weight, bias = module.squeeze.weight[:, :, 0, 0], module.squeeze.bias
    maps = []
    for axis, head in ((3, module.rows), (2, module.columns)):
        hidden = torch.einsum("oc,bcl->bol", weight, z.mean(axis)) + bias[:, None]
        hidden = F.hardswish(module.norm(hidden.unsqueeze(-1)).squeeze(-1))
        out = torch.einsum("oc,bcl->bol", head.weight[:, :, 0, 0], hidden) + head.bias[:, None]
        maps.append(torch.sigmoid(out))
    return z * maps[0][:, :, :, None] * maps[1][:, :, None, :]


def test_coordinate_attention_equals_its_formula() -> None:
    torch.manual_seed(0)
    module = CoordAttention(CHANNELS).double().eval()
    module.norm.running_mean.uniform_(-0.5, 0.5)
    module.norm.running_var.uniform_(0.5, 2)
    z = random(2, CHANNELS, 6, 5)
    torch.testing.assert_close(module(z), literal_coordinate_attention(module, z))


def test_add_mode_equals_its_formula() -> None:
    torch.manual_seed(0)
    module, maps, distance = (
        AddAttention(CHANNELS).double().eval(),
        levels(),
        random(2, 1, 6, 5, seed=9).abs(),
    )
    delta = torch.sigmoid(distance)
    weights = module(maps, distance)
    expected = literal_channel_attention(module.channel, torch.cat(maps, 1) + delta)
    torch.testing.assert_close(weights.channel[:, :, 0, 0], expected)
    shared = literal_coordinate_attention(module.coordinate, sum(maps) + delta)
    torch.testing.assert_close(weights.shared, shared)
    assert weights.spatial is None


def test_multiply_mode_equals_its_formula() -> None:
    torch.manual_seed(0)
    module, maps, distance = MultiplyAttention(CHANNELS).double(), levels(), random(2, 1, 6, 5, seed=9).abs()
    weights = module(maps, distance)
    torch.testing.assert_close(
        weights.channel[:, :, 0, 0], literal_channel_attention(module.channel, torch.cat(maps, 1))
    )
    delta = torch.sigmoid(distance)
    for sample in range(2):
        low, high = delta[sample].min(), delta[sample].max()
        torch.testing.assert_close(weights.spatial[sample], (delta[sample] - low) / (high - low))
    assert weights.shared is None


def test_the_prior_is_per_image_and_a_constant_image_gives_zeros() -> None:
    delta = torch.tensor([[0.5, 0.6, 0.7], [0.9, 0.9, 0.9]]).view(2, 1, 1, 3)
    expected = torch.tensor([[0.0, 0.5, 1.0], [0.0, 0.0, 0.0]]).view(2, 1, 1, 3)
    torch.testing.assert_close(change_prior(torch.logit(delta)), expected)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 0.001), (0, 1), (0, 80), (5, 5.01), (20, 21), (20, 60), (79, 80)]
)
def test_the_prior_equals_its_formula_at_small_and_large_distances(low: float, high: float) -> None:
    share = torch.rand(3, 1, 8, 9, generator=torch.Generator().manual_seed(0))
    distance = low + (high - low) * share
    # 1 - delta in float64, because from about 37 on delta is 1 there too.
    rest = torch.sigmoid(-distance.double())
    least, most = rest.amin((1, 2, 3), keepdim=True), rest.amax((1, 2, 3), keepdim=True)
    expected = (most - rest) / (most - least)
    prior = change_prior(distance)
    assert prior.min() == 0
    assert prior.max() <= 1
    torch.testing.assert_close(prior.double(), expected, rtol=0, atol=1e-5)


def test_the_prior_does_not_stretch_rounding() -> None:
    # The distances of equal images: all the same but for the last bit.
    distance = torch.full((1, 1, 2, 2), math.sqrt(512) * 1e-6)
    distance[0, 0, 0, 0] = torch.nextafter(distance[0, 0, 0, 0], torch.tensor(1.0))
    assert change_prior(distance).max() < 0.01


def test_the_decoder_does_not_train_the_distance() -> None:
    distance = torch.rand(1, 1, 2, 2, requires_grad=True)
    assert not change_map(distance).requires_grad
    assert not change_prior(distance).requires_grad


@pytest.mark.parametrize("attention", [AddAttention, MultiplyAttention, None])
def test_cheap_and_literal_fusion_are_equal(attention: type[nn.Module] | None) -> None:
    torch.manual_seed(0)
    module = attention(CHANNELS) if attention else None
    head = FusionHead((8, 6, 5, 4), 3, module, width=CHANNELS, dropout=0.0).double()
    # Sizes as of a 50 x 70 image: no factor of two between the levels.
    sizes = ((13, 18), (7, 9), (4, 5), (2, 3))
    shapes = zip((8, 6, 5, 4), sizes, strict=True)
    features = [random(2, c, *s, seed=c).requires_grad_() for c, s in shapes]
    distance = random(2, 1, 13, 18, seed=7).abs()
    results = []
    for literal in (False, True):
        head.literal = literal
        logits = head(features, distance)
        (logits * random(*logits.shape, seed=11)).sum().backward()
        gradients = [t.grad.clone() for t in (*features, *head.parameters())]
        results.append((logits, gradients))
        head.zero_grad()
        for feature in features:
            feature.grad = None
    torch.testing.assert_close(results[0][0], results[1][0])
    for cheap, literal_gradient in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(cheap, literal_gradient)


def test_dropout_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="dropout"):
        FusionHead((8, 6, 5, 4), 3, dropout=1.5)
