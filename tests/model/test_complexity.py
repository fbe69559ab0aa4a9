"""Sizes equal the published tables; counting rules on small networks; latency."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cadnet.evaluation.complexity import count_macs, count_parameters, measure_latency
from cadnet.models.factory import build_model

pytestmark = pytest.mark.slow

PUBLISHED = [
    # name, options, exact parameters, printed M, exact paper MACs in G, printed G (paper Tables 3 and 7)
    ("segformer", {}, 3_715_939, "3.72", 6.3680, "6.37"),
    ("cadnet", {"decoder": "none"}, 3_715_939, "3.72", 8.1586, "8.16"),
    ("cadnet", {"decoder": "add"}, 3_896_867, "3.90", 8.2093, "8.21"),
    ("cadnet", {"decoder": "multiply"}, 3_847_011, "3.85", 8.1924, "8.19"),
    ("fcn", {}, 49_485_414, "49.49", 57.9058, "57.91"),
    # The paper prints 12.76 and 54.27.
    ("pspnet", {}, 12_786_982, "12.79", 54.2587, "54.26"),
    ("deeplabv3plus", {}, 43_577_558, "43.58", 176.2245, "176.22"),
    ("danet", {}, 49_817_838, "49.82", 199.0512, "199.05"),
    ("ocrnet", {}, 12_067_492, "12.07", 52.8309, "52.83"),
]


@pytest.mark.parametrize(("name", "options", "parameters", "millions", "macs", "giga"), PUBLISHED)
def test_sizes_equal_the_paper(
    name: str, options: dict, parameters: int, millions: str, macs: float, giga: str
) -> None:
    network = build_model(name, 2, **options)
    assert count_parameters(network) == parameters
    assert f"{parameters / 1e6:.2f}" == millions
    counts = count_macs(network, 512)
    assert counts.paper / 1e9 == pytest.approx(macs, abs=5e-5)
    assert f"{counts.paper / 1e9:.2f}" == giga
    assert counts.executed <= counts.full


def test_full_counts_include_attention() -> None:
    single = count_macs(build_model("segformer", 2), 512)
    pair = count_macs(build_model("cadnet", 2, decoder="none"), 512)
    assert single.full / 1e9 == pytest.approx(7.77, abs=0.005)
    assert pair.full / 1e9 == pytest.approx(10.97, abs=0.01)
    assert single.executed < single.full
    # Without the head the pair costs exactly twice; the head is the same.
    assert pair.executed - single.executed == pair.full - single.full


def test_attention_products_of_danet_are_in_the_full_count_only() -> None:
    counts = count_macs(build_model("danet", 2), 512)
    positions, width = 64 * 64, 512
    position_attention = positions**2 * (width // 8 + width)
    channel_attention = 2 * width**2 * positions
    unlike = counts.full - counts.paper - position_attention - channel_attention
    # What else differs: biases, activations and the one pooling, which only the paper's counting knows.
    assert -0.15e9 < unlike < 0
    # Only training and the published counting classify each branch.
    assert counts.full - counts.executed == 2 * positions * width * 3


def test_auxiliary_heads_are_parameters_but_do_not_run() -> None:
    network = build_model("fcn", 2)
    auxiliary = 1024 * 256 * 9 + 2 * 256 + (256 + 1) * 3
    assert count_parameters(network.auxiliary) == auxiliary
    counts = count_macs(network, 512)
    del network.auxiliary
    assert count_macs(network, 512) == counts


@pytest.mark.parametrize(("classes", "millions"), [(1, 3.8966), (6, 3.8979), (15, 3.9002)])
def test_parameters_of_other_class_counts(classes: int, millions: float) -> None:
    assert count_parameters(build_model("cadnet", classes)) / 1e6 == pytest.approx(millions, abs=5e-5)


def test_parameters_of_the_contrastive_head() -> None:
    network = build_model("cadnet", 1, decoder="multiply", head="contrastive")
    assert count_parameters(network) / 1e6 == pytest.approx(3.8465, abs=5e-5)


# The known sizes are those for one defect class, with the final convolution; their multiply-adds leave out
# biases and activations. For two classes a decoder costs 7.90 G, and the network with four has 4.236 M.
@pytest.mark.parametrize(("auxiliary", "millions"), [(0, "1.944"), (1, "2.708"), (3, "4.235")])
def test_sizes_of_the_unet(auxiliary: int, millions: str) -> None:
    network = build_model("unet", 1, auxiliary=auxiliary)
    assert f"{count_parameters(network) / 1e6:.3f}" == millions
    assert f"{count_parameters(network.encoder) / 1e6:.3f}" == "1.181"
    assert {f"{count_parameters(decoder) / 1e6:.3f}" for decoder in network.decoders} == {"0.764"}
    encoder = count_macs(OneImage(network.encoder), 512).full
    decoder = count_macs(network, 512).full - encoder  # the auxiliary ones do not run
    assert (f"{encoder / 1e9:.2f}", f"{decoder / 1e9:.2f}") == ("4.34", "7.86")


def test_sizes_of_the_unet_with_two_classes() -> None:
    network = build_model("unet", 2)
    assert count_parameters(network) == 1_944_467
    counts = count_macs(network, 512)
    assert (f"{counts.full / 1e9:.2f}", f"{counts.paper / 1e9:.2f}") == ("12.24", "12.32")
    assert counts.executed == counts.full


class OneImage(nn.Module):
    """A part of a network that takes no reference."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, image: torch.Tensor, reference: torch.Tensor) -> object:
        return self.part(image)


class Tiny(nn.Module):
    """One of everything the counter knows, on a 4 x 4 image."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.linear, self.norm = nn.Linear(2, 5), nn.LayerNorm(5)

    def forward(self, image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        return self.norm(self.linear(self.layers(image).permute(0, 2, 3, 1)))


def test_counting_rules_by_hand() -> None:
    network = Tiny()
    conv, relu, pool = 16 * 2 * (27 + 1), 32, 32
    linear, norm = 4 * 5 * (2 + 1), 2 * 20
    counts = count_macs(network, 4)
    assert counts.paper == conv + relu + pool + linear + norm
    assert counts.full == counts.executed == 16 * 2 * 27 + 4 * 5 * 2


def test_transposed_convolution_and_leaky_relu_by_hand() -> None:
    up = nn.ConvTranspose2d(6, 4, kernel_size=(2, 3), stride=2, groups=2)
    # 5 x 5 positions, each of 6 channels times the 2 outputs of its group times 6 taps; 10 x 11 outputs.
    products, biases, leaky = 5 * 5 * 6 * 2 * 6, 4 * 10 * 11, 4 * 10 * 11
    conv = 5 * 5 * 6 * 3
    counts = count_macs(OneImage(nn.Sequential(nn.Conv2d(3, 6, 1, bias=False), up, nn.LeakyReLU())), 5)
    assert counts.paper == conv + products + biases + leaky
    assert counts.full == counts.executed == conv + products


def test_counting_leaves_the_network_as_it_was() -> None:
    network = build_model("cadnet", 2).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    count_macs(network, (64, 96))
    assert network.training
    assert not network.head.literal
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_parameters_can_be_counted_without_frozen_ones() -> None:
    network = Tiny()
    network.linear.requires_grad_(False)
    assert count_parameters(network) - count_parameters(network, trainable_only=True) == 15


def test_latency() -> None:
    calls = []
    latency = measure_latency(lambda: calls.append(1), batch=4, repeats=5, warmup=2)
    assert len(calls) == 7
    assert 0 < latency.median <= latency.p90
    assert latency.throughput == pytest.approx(4 / latency.median)
    with pytest.raises(ValueError, match="repeats"):
        measure_latency(lambda: None, repeats=0)
