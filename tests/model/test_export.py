"""ONNX files compute what the networks compute, and there is none that does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cadnet.types import SegOutput
from tests.model.test_contract import CASES, Case, build, identify, pair, train_step, wake

onnx = pytest.importorskip("onnx", reason="ONNX export needs the extra cadnet[onnx]")
pytest.importorskip("onnxscript", reason="ONNX export needs the extra cadnet[onnx]")
onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX export needs the extra cadnet[onnx]")

from cadnet.inference.export import OPSET, TOLERANCE, ExportError, export_onnx  # noqa: E402

pytestmark = pytest.mark.slow


def run(path: Path, *images: Tensor) -> list[Tensor]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    results = session.run(None, {name: x.numpy() for name, x in zip(names, images, strict=True)})
    return [torch.from_numpy(result) for result in results]


# The ablation without attention is a part of the other two.
EXPORTED = [case for case in CASES if case.options.get("decoder") != "none"]
# The bins of the first are of other sizes at each height and width; the second looks at what 16 divides.
VARIABLE = ("pspnet", "unet")


@pytest.mark.parametrize("case", EXPORTED, ids=identify)
def test_the_file_equals_the_network(case: Case, tmp_path: Path) -> None:
    network = build(case)
    wake(network)
    train_step(case, network)  # leaves statistics and training mode behind
    path = tmp_path / "model.onnx"
    export = export_onnx(network, path, 64, dynamic=case.name in VARIABLE)
    assert network.training
    assert export.difference <= TOLERANCE
    assert export.inputs == (("image", "reference") if case.siamese else ("image",))
    assert export.outputs == (("logits", "distance") if case.siamese else ("logits",))
    model = onnx.load(path)
    assert [opset.version for opset in model.opset_import if opset.domain == ""] == [OPSET]
    image, noise = pair(1, 32, 224) if case.name in VARIABLE else pair(1, 64, 64)
    images = (image, image + 0.2 * noise)[: len(export.inputs)]
    with torch.no_grad():
        expected = network.eval()(image, image + 0.2 * noise).logits
    assert expected.shape == (1, case.classes + 1, *image.shape[2:])
    got = run(path, *images)
    torch.testing.assert_close(got[0], expected, rtol=0, atol=1e-4 * max(1, expected.abs().max().item()))
    assert list(tmp_path.iterdir()) == [path]


def test_large_distances_keep_their_digits(tmp_path: Path) -> None:
    # Far beyond where the sigmoid of ONNX Runtime still tells 1 from less.
    network = build(next(case for case in CASES if case.options.get("decoder") == "multiply")).eval()
    with torch.no_grad():
        for stage in network.encoder.stages:
            stage.norm.weight.mul_(1.5)
        network.head.classifier.weight.mul_(100)
    image, reference = pair(1, 64, 96)
    path = tmp_path / "model.onnx"
    export_onnx(network, path, (64, 96))
    with torch.no_grad():
        logits, distance, _ = network(image, reference)
    assert distance.min() > 20
    assert 40 < distance.max() < 60
    assert logits.std() > 1
    got = run(path, image, reference)
    torch.testing.assert_close(got[0], logits, rtol=0, atol=1e-4 * logits.abs().max().item())
    torch.testing.assert_close(got[1], distance, rtol=0, atol=1e-4 * distance.max().item())


def test_sizes_that_vary_are_multiples() -> None:
    with pytest.raises(ValueError, match=r"multiples of 32, got 64 x 70"):
        export_onnx(build(CASES[0]), "unused.onnx", (64, 70), dynamic=True)


class Fickle(nn.Module):
    """Gives something else at each call."""

    def forward(self, image: Tensor, reference: Tensor | None = None) -> SegOutput:
        return SegOutput(image + torch.rand_like(image))


class Rigid(nn.Module):
    """Reads its height as a number."""

    def forward(self, image: Tensor, reference: Tensor | None = None) -> SegOutput:
        return SegOutput(image + float(image.shape[2]))


def test_a_file_that_differs_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    with pytest.raises(ExportError, match=r"model\.onnx was not written: its outputs on input .* differ"):
        export_onnx(Fickle(), path, 32)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_network_of_one_size_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"Rigid cannot be written as ONNX[\s\S]*dynamic=False"):
        export_onnx(Rigid(), tmp_path / "model.onnx", 32, dynamic=True)
    assert not list(tmp_path.iterdir())
    assert export_onnx(Rigid(), tmp_path / "model.onnx", 32).difference == 0
