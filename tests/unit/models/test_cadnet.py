"""CADNet: the distance map, the cached reference, autocast, errors."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cadnet.losses.composite import CompositeLoss
from cadnet.losses.contrastive import MARGIN_NG, MARGIN_OK
from cadnet.models.cadnet import THRESHOLD, CADNet, distance_map

SIZES = ((12, 16), (6, 8), (3, 4), (2, 2))
WIDTHS = (4, 6, 8, 10)


def features(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = zip(WIDTHS, SIZES, strict=True)
    return [torch.randn(2, c, *s, generator=generator, dtype=torch.float64) for c, s in shapes]


def literal_distance(ng: list[Tensor], ok: list[Tensor]) -> Tensor:
    """Paper Eq. 7 as written: resize, concatenate, pairwise distance over channels."""
    stacked = []
    for maps in (ng, ok):
        up = [F.interpolate(m, size=SIZES[0], mode="bilinear", align_corners=False) for m in maps]
        stacked.append(torch.cat(up, dim=1).permute(0, 2, 3, 1))
    return F.pairwise_distance(stacked[0], stacked[1], p=2).unsqueeze(1)


@pytest.mark.parametrize("scale", [1.0, 1e-6, 0.0])
def test_distance_equals_its_definition(scale: float) -> None:
    ng, ok = features(0), features(1)
    ok = [o * scale + n * (1 - scale) for n, o in zip(ng, ok, strict=True)]
    distance = distance_map([n - o for n, o in zip(ng, ok, strict=True)])
    assert distance.dtype == torch.float32
    assert distance.shape == (2, 1, 12, 16)
    torch.testing.assert_close(distance.double(), literal_distance(ng, ok), rtol=1e-5, atol=1e-9)


def test_distance_of_equal_features_has_a_finite_gradient() -> None:
    zero = [torch.zeros(1, c, *s, requires_grad=True) for c, s in zip(WIDTHS, SIZES, strict=True)]
    distance = distance_map(zero)
    expected = sum(WIDTHS) ** 0.5 * 1e-6
    torch.testing.assert_close(distance, torch.full_like(distance, expected))
    distance.sum().backward()
    assert all(z.grad is not None and z.grad.isfinite().all() for z in zero)


@pytest.fixture(scope="module")
def network() -> CADNet:
    torch.manual_seed(0)
    return CADNet(2).eval()


def pair(batch: int = 2, size: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return tuple(torch.randn(2, batch, 3, size, size, generator=generator))


def test_cached_reference_equals_uncached(network: CADNet) -> None:
    image, reference = pair()
    with torch.no_grad():
        plain = network(image, reference)
        cached = network(image, reference_features=network.encode(reference))
    torch.testing.assert_close(cached.logits, plain.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(cached.distance, plain.distance, rtol=1e-4, atol=1e-5)


def test_one_cached_reference_serves_a_batch(network: CADNet) -> None:
    image, reference = pair(3)
    with torch.no_grad():
        plain = network(image, reference[:1].expand(3, -1, -1, -1))
        cached = network(image, reference_features=network.encode(reference[:1]))
    torch.testing.assert_close(cached.logits, plain.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(cached.distance, plain.distance, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("decoder", ["add", "multiply", "none"])
def test_identical_pairs_train_without_nan(decoder: str) -> None:
    torch.manual_seed(0)
    network = CADNet(2, decoder=decoder, drop_path=0.0)
    image, _ = pair(2, 32)
    mask = torch.zeros(2, 32, 32, dtype=torch.long)
    mask[0, :8] = 1
    output = network(image, image)
    assert output.distance.max() < 1e-4
    CompositeLoss("ce+bcl", 0.1, [5, 3])(output, mask)["loss"].backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_autocast_keeps_the_distance_in_float32(network: CADNet) -> None:
    image, reference = pair()
    with torch.no_grad():
        plain = network(image, reference)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = network(image, reference)
            identical = network(image, image)
    assert cast.distance.dtype == torch.float32
    torch.testing.assert_close(cast.distance, plain.distance, rtol=0.05, atol=0.05)
    torch.testing.assert_close(cast.logits.float(), plain.logits, rtol=0.1, atol=0.05)
    assert identical.distance.max() < 1e-4


def test_wrong_calls_are_refused(network: CADNet) -> None:
    image, reference = pair()
    encoded = network.encode(reference)
    with pytest.raises(ValueError, match="either reference or reference_features"):
        network(image)
    with pytest.raises(ValueError, match="either reference or reference_features"):
        network(image, reference, reference_features=encoded)
    with pytest.raises(ValueError, match="differ in shape"):
        network(image, reference[:, :, :32])
    with pytest.raises(ValueError, match="encode a reference of the image's size"):
        network(image[:, :, :32], reference_features=encoded)
    with pytest.raises(ValueError, match="encode a reference of the image's size"):
        network(torch.cat([image, image]), reference_features=encoded)
    with pytest.raises(ValueError, match="'sum'"):
        CADNet(2, decoder="sum")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'hinge'; choose 'softmax' or 'contrastive'"):
        CADNet(1, head="hinge")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"one defect class, got num_classes 2; merge .* head 'softmax'"):
        CADNet(2, head="contrastive")


def few_labels() -> CADNet:
    torch.manual_seed(0)
    return CADNet(1, decoder="multiply", head="contrastive", drop_path=0.0)


def test_the_threshold_is_midway_between_the_margins() -> None:
    assert THRESHOLD == (MARGIN_OK + MARGIN_NG) / 2 == 1.25


def test_the_contrastive_head_thresholds_one_channel() -> None:
    network = few_labels().eval()
    assert network.head.classifier.out_channels == 1
    with torch.no_grad():
        image, reference = pair()
        network.head.classifier.weight.mul_(20)
        network.head.classifier.bias.fill_(1.25 - network(image, reference).logits[:, 1].mean())
        logits = network(image, reference).logits
        features = network.encode(image)
        differences = [a - b for a, b in zip(features, network.encode(reference), strict=True)]
        z = network.head(differences, distance_map(differences))
        z = F.interpolate(z, size=(64, 64), mode="bilinear", align_corners=False)[:, 0]
    assert logits.shape == (2, 2, 64, 64)
    assert (logits[:, 0] == 1.25).all()
    torch.testing.assert_close(logits[:, 1], z, rtol=1e-4, atol=1e-4)
    defect = logits[:, 1] > 1.25
    assert 0.05 < defect.float().mean() < 0.95
    assert torch.equal(logits.argmax(dim=1) == 1, defect)
    torch.testing.assert_close(logits.softmax(dim=1)[:, 1], torch.sigmoid(logits[:, 1] - 1.25))


def test_the_threshold_is_exact_under_autocast() -> None:
    image, reference = pair()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = few_labels().eval()(image, reference).logits
    assert (logits[:, 0].float() == 1.25).all()


@pytest.mark.parametrize("training", [True, False])
def test_the_contrastive_head_starts_with_no_defect_and_within_the_lower_margin(training: bool) -> None:
    network = few_labels().train(training)
    image, reference = pair()
    with torch.no_grad():
        z = network(image, reference).logits[:, 1]
    assert z.max() < THRESHOLD
    assert (z < MARGIN_OK).float().mean() > 0.9
