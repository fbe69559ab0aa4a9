"""What every network of the factory must do. A new network adds one line to ``CASES``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from cadnet.losses.composite import CompositeLoss
from cadnet.models.factory import MODELS, build_model
from cadnet.models.smp import SMP_PREFIX
from cadnet.models.weights import load_model, save_weights
from cadnet.types import SegOutput

pytestmark = pytest.mark.slow


class Case(NamedTuple):
    """One network and what is known about it."""

    name: str
    options: dict[str, str | float]
    siamese: bool
    golden: tuple[float, ...]
    """Logits of one pixel under the weights of ``fill`` and the statistics of ``calibrate``."""
    auxiliary: tuple[float, ...] = ()
    """Weights of the logits that only train."""
    classes: int = 2


CONTRASTIVE: dict[str, str | float] = {"decoder": "multiply", "head": "contrastive", "drop_path": 0.0}
SMALL: dict[str, str | float] = {"encoder": "resnet18c", "width": 32}
SMALL_HRNET: dict[str, str | float] = {"encoder": "hrnet_w18_small", "width": 32, "key_width": 16}

CASES = [
    Case("cadnet", {"decoder": "add", "drop_path": 0.0}, True, (5.949024, -3.132950, 4.598468)),
    Case("cadnet", {"decoder": "multiply", "drop_path": 0.0}, True, (2.771309, -0.562310, 2.299626)),
    Case("cadnet", CONTRASTIVE, True, (1.25, 4.119416), classes=1),
    Case("cadnet", {"decoder": "none", "drop_path": 0.0}, True, (3.447742, -0.532802, 1.285357)),
    Case("segformer", {"drop_path": 0.0}, False, (5.011993, -2.546876, 3.715670)),
    # Narrow and shallow: the published sizes are held by test_complexity.
    Case("fcn", SMALL, False, (-7.066608, 15.026580, -16.349974), (0.4,)),
    Case("pspnet", SMALL, False, (5.113821, -3.045511, 4.596797), (0.4,)),
    Case("deeplabv3plus", SMALL, False, (2.129492, -0.618940, 2.926634), (0.4,)),
    Case("danet", SMALL, False, (-18.132297, -1.912498, 25.389188), (1.0, 1.0, 0.4)),
    Case("ocrnet", SMALL_HRNET, False, (-646.317456, 565.350147, -387.681045), (0.4,)),
    Case("unet", {"width": 8}, False, (0.902629, 0.965359, 1.027875)),
    Case("smp:UnetPlusPlus/resnet18", {}, False, (1.125698, 1.175643, 1.177353)),
    Case("smp:UPerNet/mit_b0", {}, False, (6.664204, -3.669131, 4.939211)),
]


def build(case: Case, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(case.name, case.classes, **case.options)


def pair(batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    image, reference = torch.randn(2, batch, 3, height, width, generator=generator)
    return image, reference


def fill(network: nn.Module) -> None:
    """Give every tensor smooth values from a formula, independent of any random generator."""
    with torch.no_grad():
        for offset, value in enumerate(network.parameters()):
            wave = torch.sin(torch.arange(value.numel(), dtype=torch.float64) * 0.7 + offset)
            scale = value.shape[0] ** -0.5 if value.ndim > 1 else 0.1
            value.copy_((wave * scale + (value.ndim == 1)).view_as(value))


def calibrate(network: nn.Module) -> None:
    """Give batch norms the statistics of one batch, without which values explode in deep networks."""
    dtype = next(network.parameters()).dtype
    ramp = torch.linspace(-2, 2, 2 * 3 * 64 * 64, dtype=dtype).view(2, 3, 64, 64)
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
            module.train()
    with torch.no_grad():
        network((3 * ramp).sin(), (4 * ramp).cos())
    network.eval()


def wake(network: nn.Module) -> None:
    """Open what starts closed: scales of residual branches that are zero let no gradient through."""
    with torch.no_grad():
        for value in network.parameters():
            if not value.any():
                value.fill_(0.5)


def train_step(case: Case, network: nn.Module, seed: int = 1) -> SegOutput:
    torch.manual_seed(seed)
    image, reference = pair(2, 64, 96)
    mask = torch.arange(2 * 64 * 96).view(2, 64, 96) // 700 % (case.classes + 1)
    output = network.train()(image, reference)
    kind = "ce+bcl" if case.siamese else "ce"
    CompositeLoss(kind, 0.1, (30, 10)[: case.classes])(output, mask)["loss"].backward()
    return output


def identify(case: Case) -> str:
    return "-".join([case.name, *(str(v) for k, v in case.options.items() if k != "drop_path")])


def test_every_model_has_a_case() -> None:
    assert {case.name for case in CASES if not case.name.startswith(SMP_PREFIX)} == set(MODELS)


@pytest.mark.parametrize("case", CASES, ids=identify)
class TestEveryModel:
    """The contract."""

    @pytest.mark.parametrize("size", [(64, 64), (33, 47), (96, 70)])
    def test_shapes(self, case: Case, size: tuple[int, int]) -> None:
        network = build(case).eval()
        with torch.no_grad():
            logits, distance, auxiliary = network(*pair(2, *size))
        assert logits.shape == (2, case.classes + 1, *size)
        assert logits.isfinite().all()
        assert auxiliary == ()
        assert (distance is not None) == case.siamese
        if distance is not None:
            assert distance.shape == (2, 1, math.ceil(size[0] / 4), math.ceil(size[1] / 4))
            assert distance.dtype == torch.float32
            assert distance.min() >= 0

    def test_every_parameter_gets_a_gradient(self, case: Case) -> None:
        network = build(case)
        wake(network)
        output = train_step(case, network, seed=2)
        assert tuple(weight for _, weight in output.auxiliary) == case.auxiliary
        dead = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
        unfit = [
            n for n, p in network.named_parameters() if p.grad is not None and not p.grad.isfinite().all()
        ]
        assert not unfit
        # The last norm's bias is the same in both branches of a pair, so it cancels in the subtraction.
        assert dead in ([], ["encoder.stages.3.norm.bias"] if case.siamese else [])

    def test_determinism(self, case: Case) -> None:
        gradients = []
        for _ in range(2):
            network = build(case)
            output = train_step(case, network)
            gradients.append([output.logits.detach(), *(p.grad for p in network.parameters())])
        assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))

    def test_seeds_matter(self, case: Case) -> None:
        first, second = (build(case, seed).eval() for seed in (0, 1))
        with torch.no_grad():
            assert not torch.equal(first(*pair(1, 32, 32)).logits, second(*pair(1, 32, 32)).logits)

    def test_samples_of_a_batch_are_independent_in_eval(self, case: Case) -> None:
        network = build(case)
        wake(network)
        train_step(case, network)
        image, reference = pair(3, 64, 64)
        image[2] *= 10  # a neighbour that would shift anything shared
        with torch.no_grad():
            together = network.eval()(image, reference)
            alone = network(image[:1], reference[:1])
        torch.testing.assert_close(alone.logits, together.logits[:1], rtol=1e-4, atol=3e-5)
        if case.siamese:
            torch.testing.assert_close(alone.distance, together.distance[:1], rtol=1e-4, atol=1e-5)

    def test_the_reference_matters_to_siamese_models_only(self, case: Case) -> None:
        network = build(case).eval()
        image, reference = pair(1, 64, 64)
        with torch.no_grad():
            same = torch.equal(network(image, reference).logits, network(image, reference + 1).logits)
        assert same != case.siamese

    def test_saved_and_loaded_gives_equal_outputs(self, case: Case, tmp_path: Path) -> None:
        network = build(case)
        train_step(case, network)  # so that running statistics differ from their start
        save_weights(tmp_path, network, name=case.name, num_classes=case.classes, options=case.options)
        loaded, _ = load_model(tmp_path)
        with torch.no_grad():
            expected, got = (m.eval()(*pair(2, 64, 64)) for m in (network, loaded))
        assert torch.equal(got.logits, expected.logits)

    def test_golden_value(self, case: Case) -> None:
        network = build(case).double()
        fill(network)
        calibrate(network)
        ramp = torch.linspace(-2, 2, 3 * 64 * 64, dtype=torch.float64).view(1, 3, 64, 64)
        with torch.no_grad():
            logits = network(ramp.sin(), (2 * ramp).cos()).logits
        assert logits[0, :, 20, 37].tolist() == pytest.approx(case.golden, rel=1e-4)
