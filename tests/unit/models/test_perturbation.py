"""Perturbed feature maps: numbers by hand, what is shared, what is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from cadnet.models.perturbation import element_dropout, feature_dropout, feature_noise

Perturbation = Callable[[Sequence[Tensor]], list[Tensor]]
KINDS = [feature_noise, feature_dropout, element_dropout]


def maps(seed: int = 0, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Two levels of equal shape and a coarser one, as a leaky ReLU gives them."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(3, 4, 8, 6), (3, 4, 8, 6), (3, 8, 4, 3)]
    return [torch.nn.functional.leaky_relu(torch.randn(s, generator=generator)).to(dtype) for s in shapes]


@pytest.mark.parametrize("perturb", KINDS)
class TestEveryKind:
    def test_shapes_and_inputs_are_kept(self, perturb: Perturbation) -> None:
        features = maps()
        perturbed = perturb(features)
        assert [p.shape for p in perturbed] == [z.shape for z in features]
        assert all(torch.equal(z, again) for z, again in zip(features, maps(), strict=True))
        assert all(not torch.equal(p, z) for p, z in zip(perturbed, features, strict=True))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
    def test_float_types_are_kept(self, perturb: Perturbation, dtype: torch.dtype) -> None:
        perturbed = perturb(maps(dtype=dtype))
        assert all(p.dtype == dtype and p.isfinite().all() for p in perturbed)

    def test_the_global_generator_decides(self, perturb: Perturbation) -> None:
        drawn = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            drawn.append(torch.cat([p.flatten() for p in perturb(maps())]))
        assert torch.equal(drawn[0], drawn[1])
        assert perturb is feature_dropout or not torch.equal(drawn[0], drawn[2])

    def test_gradient_is_the_factor(self, perturb: Perturbation) -> None:
        # All three multiply each element by a factor that the gradient sees as a constant.
        features = [z.requires_grad_() for z in maps()]
        perturbed = perturb(features)
        torch.autograd.backward([p.sum() for p in perturbed])
        for p, z in zip(perturbed, features, strict=True):
            assert z.grad is not None
            torch.testing.assert_close(p, z * z.grad)

    def test_the_host_waits_for_no_value(self, perturb: Perturbation) -> None:
        # Meta tensors have no values that could be read.
        (perturbed,) = perturb([torch.empty(2, 3, 4, 4, device="meta")])
        assert perturbed.shape == (2, 3, 4, 4)

    def test_channels_last_is_kept(self, perturb: Perturbation) -> None:
        features = [z.contiguous(memory_format=torch.channels_last) for z in maps()]
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in perturb(features))


class TestFeatureNoise:
    def test_equals_its_formula(self) -> None:
        z = torch.tensor([[[[1.0, -2.0]]], [[[4.0, 0.5]]]])  # (2, 1, 1, 2)
        torch.manual_seed(3)
        (perturbed,) = feature_noise([z], 0.3)
        torch.manual_seed(3)
        a, b = torch.empty(1, 1, 2).uniform_(0.7, 1.3).flatten().tolist()
        assert perturbed.flatten().tolist() == pytest.approx([a, -2 * b, 4 * a, 0.5 * b])

    def test_bounds_and_moments(self) -> None:
        (factor,) = feature_noise([torch.ones(1, 64, 64, 64, dtype=torch.float64)], 0.3)
        assert 0.7 <= factor.min() < 0.701
        assert 1.299 < factor.max() < 1.3
        assert factor.mean().item() == pytest.approx(1.0, abs=2e-3)
        assert factor.var().item() == pytest.approx(0.3**2 / 3, rel=0.01)

    def test_one_draw_per_level_serves_the_batch(self) -> None:
        first, second = feature_noise([torch.ones(3, 4, 8, 6)] * 2)
        assert torch.equal(first[0], first[1])
        assert torch.equal(first[0], first[2])
        assert len(first[0].unique()) > 150  # each channel and position its own
        assert not torch.equal(first, second)

    def test_no_amount_changes_nothing(self) -> None:
        assert all(torch.equal(p, z) for p, z in zip(feature_noise(maps(), 0.0), maps(), strict=True))

    @pytest.mark.parametrize("amount", [-0.1, 1.1, float("nan")])
    def test_other_amounts_are_refused(self, amount: float) -> None:
        with pytest.raises(ValueError, match=r"amount must lie in \[0, 1\]"):
            feature_noise(maps(), amount)


class TestFeatureDropout:
    def test_by_hand(self) -> None:
        # Attention 10, 9.5, 6.5 and 1: gamma * 10 lies between 7 and 9, so the first two always go.
        z = torch.tensor([[[12.0, 9.5], [6.5, 1.0]], [[8.0, 9.5], [6.5, 1.0]]]).unsqueeze(0)
        (perturbed,) = feature_dropout([z])
        kept = [[0.0, 0.0], [6.5, 1.0]]
        assert perturbed[0].tolist() == [kept, kept]

    def test_the_largest_is_each_samples_own(self) -> None:
        z = torch.tensor([10.0, 5.0, 5.0, 4.9, 100.0, 69.0]).view(3, 1, 1, 2)
        (perturbed,) = feature_dropout([z])
        assert perturbed.flatten().tolist() == [0, 5, 0, 0, 0, 69]

    def test_gamma_is_uniform_and_one_for_the_batch(self) -> None:
        # How much of a ramp is left is gamma itself.
        ramp = torch.linspace(0, 1, 1001).view(1, 1, 1, -1).repeat(2, 1, 1, 1)
        torch.manual_seed(0)
        kept = torch.stack([p.amax(dim=(1, 2, 3)) for p in feature_dropout([ramp] * 400)])  # (levels, B)
        assert torch.equal(kept[:, 0], kept[:, 1])
        assert 0.698 < kept.min() < 0.703
        assert 0.897 < kept.max() < 0.9005
        assert kept.mean().item() == pytest.approx(0.8, abs=0.01)
        assert len(kept[:, 0].unique()) > 100

    def test_attention_that_is_negative_everywhere_drops_nothing(self) -> None:
        z = -torch.arange(1.0, 9.0).view(1, 2, 2, 2)
        (perturbed,) = feature_dropout([z])
        assert torch.equal(perturbed, z)

    def test_bfloat16_decides_as_float32(self) -> None:
        rounded = maps(dtype=torch.bfloat16)
        for dtype in (torch.bfloat16, torch.float32):
            torch.manual_seed(5)
            perturbed = feature_dropout([z.to(dtype) for z in rounded])
            masks = [p == 0 for p in perturbed]
            if dtype == torch.bfloat16:
                before = masks
        assert all(torch.equal(a, b) for a, b in zip(before, masks, strict=True))


class TestElementDropout:
    @pytest.mark.parametrize("p", [0.5, 0.2])
    def test_elements_vanish_or_grow(self, p: float) -> None:
        z = torch.full((2, 8, 32, 32), 3.0)
        (perturbed,) = element_dropout([z], p)
        left = perturbed[perturbed != 0]
        torch.testing.assert_close(left, torch.full_like(left, 3 / (1 - p)))
        assert 1 - left.numel() / z.numel() == pytest.approx(p, abs=0.02)
        assert not torch.equal(perturbed[0], perturbed[1])

    @pytest.mark.parametrize("p", [-0.1, 1.0])
    def test_other_probabilities_are_refused(self, p: float) -> None:
        with pytest.raises(ValueError, match=r"p must lie in \[0, 1\)"):
            element_dropout(maps(), p)
