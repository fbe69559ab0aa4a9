"""Networks as ONNX files, compared with the network before they get their name."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from cadnet.files import atomic_path
from cadnet.types import SegOutput

if TYPE_CHECKING:
    from torch.export.dynamic_shapes import Dim

OPSET = 18

STEP = 32
"""Heights and widths of a file for varying sizes are multiples of this."""

TOLERANCE = 1e-4
"""Largest difference between file and network, as a fraction of the largest output (at least of 1)."""


class ExportError(ValueError):
    """A network cannot be written as ONNX, or the file does not compute what the network does."""


class OnnxExport(NamedTuple):
    """Inputs and outputs of a written file, and its difference from the network."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    difference: float


class _Plain(nn.Module):
    """A network whose outputs are tensors, as ONNX needs them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, reference: Tensor | None = None) -> tuple[Tensor, ...]:
        output: SegOutput = self.model(image, reference)
        return (output.logits,) if output.distance is None else (output.logits, output.distance)


def export_onnx(
    model: nn.Module, path: Path | str, size: int | tuple[int, int], *, dynamic: bool = False
) -> OnnxExport:
    """Write a network as an ONNX file of opset 18; needs the extra ``cadnet[onnx]``.

    The file takes ``image``, float32 (1, 3, H, W) and normalised, and gives ``logits`` (1, K+1, H, W); of
    Siamese networks it also takes ``reference`` and gives ``distance``. ONNX Runtime runs it on the CPU and
    its outputs are compared with the network's before the file gets its name.

    Args:
        model: a network of the factory; not changed.
        path: the file; an existing one is replaced.
        size: height and width, or one number for both.
        dynamic: let H and W vary in multiples of 32; ``size`` must then be such multiples.

    Raises:
        ExportError: the network cannot be exported like this, or outputs differ by more than ``TOLERANCE``.
        ValueError: ``dynamic`` with a size that is no multiple of 32.
        ImportError: the extra is not installed.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if dynamic and (height % STEP or width % STEP):
        raise ValueError(f"a file for varying sizes needs multiples of {STEP}, got {height} x {width}")
    plain = _Plain(copy.deepcopy(model).cpu().eval())
    with torch.no_grad():
        siamese = len(plain(*_inputs(height, width, siamese=True))) == 2
    example = _inputs(height, width, siamese=siamese)
    inputs = ("image", "reference")[: len(example)]
    outputs = ("logits", "distance")[: len(example)]
    checks = [example]
    if dynamic:
        checks.append(_inputs(height + STEP, width + 3 * STEP, siamese=siamese))
    with atomic_path(path) as temporary:
        _write(plain, temporary, example, inputs, outputs, dynamic)
        difference = max(_compare(plain, temporary, tensors, inputs, Path(path)) for tensors in checks)
    return OnnxExport(inputs, outputs, difference)


def _inputs(height: int, width: int, *, siamese: bool) -> tuple[Tensor, ...]:
    """A random normalised image of a fixed seed, and for a Siamese network a reference much like it."""
    generator = torch.Generator().manual_seed(0)
    image, noise = torch.randn(2, 1, 3, height, width, generator=generator)
    return (image, image + 0.1 * noise) if siamese else (image,)


def _write(
    plain: nn.Module,
    path: Path,
    example: tuple[Tensor, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    dynamic: bool,
) -> None:
    shapes: dict[str, dict[int, Dim]] | None = None
    if dynamic:
        rows, columns = (torch.export.Dim(name, min=1) for name in ("rows", "columns"))
        shapes = {name: {2: STEP * rows, 3: STEP * columns} for name in inputs}
    try:
        with torch.no_grad():
            program = torch.export.export(plain, example, dynamic_shapes=shapes)
        onnx_program = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=shapes,
            verbose=False,
        )
    except ImportError as error:
        raise ImportError(f"writing ONNX needs {error.name}; install cadnet[onnx]") from error
    except Exception as error:  # the exporter raises errors of many kinds
        name = type(plain.model).__name__
        hint = "; export it for one size (dynamic=False)" if dynamic else ""
        reason = str(error).partition("\n")[0]  # pages of advice to developers follow
        raise ExportError(f"{name} cannot be written as ONNX: {reason}{hint}") from error
    assert onnx_program is not None
    onnx_program.save(path)


def _compare(
    plain: nn.Module, file: Path, tensors: tuple[Tensor, ...], inputs: tuple[str, ...], path: Path
) -> float:
    """Return the largest difference, relative to the largest output (at least 1), or raise if too large."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("writing ONNX needs onnxruntime; install cadnet[onnx]") from error

    shape = tuple(tensors[0].shape)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = plain(*tensors)
    try:
        got = session.run(None, {name: x.numpy() for name, x in zip(inputs, tensors, strict=True)})
    except Exception as error:  # ONNX Runtime's errors have no common base
        raise ExportError(f"{path} was not written: ONNX Runtime fails on input {shape}: {error}") from error
    worst = 0.0
    for want, have in zip(expected, got, strict=True):
        if tuple(want.shape) != have.shape:
            raise ExportError(f"{path} was not written: input {shape} gives {have.shape}, not {want.shape}")
        difference = (want - torch.from_numpy(have)).abs().max() / want.abs().max().clamp(min=1.0)
        worst = max(worst, float(difference))
    if not worst <= TOLERANCE:
        raise ExportError(
            f"{path} was not written: its outputs on input {shape} differ from the network's by {worst:.1e} "
            f"of the largest, allowed are {TOLERANCE:.0e}; if sizes were to vary, export it for one size"
        )
    return worst
