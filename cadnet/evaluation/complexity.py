"""Cost of a network: parameters, multiply-adds in the paper's counting and in full, latency."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from cadnet.models.change_attention import AddAttention, CoordAttention, MultiplyAttention
from cadnet.models.danet import DANet
from cadnet.models.mit import ReducedAttention
from cadnet.models.segformer import FusionHead

POOLS = (nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


class MacCounts(NamedTuple):
    """Multiply-adds of one image (Siamese: one pair).

    ``paper``: what the published tables count; ``full``: every convolution, linear layer and attention
    product of the published structure; ``executed``: the same for the executed operations, which are fewer.
    """

    paper: int
    full: int
    executed: int


class Latency(NamedTuple):
    """Seconds per call, and images (Siamese: pairs) per second at the median."""

    median: float
    p90: float
    throughput: float


def count_parameters(model: nn.Module, trainable_only: bool = False) -> int:
    """Return the number of parameters; buffers do not count."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable_only)


def count_macs(model: nn.Module, size: int | tuple[int, int] = 512) -> MacCounts:
    """Count the multiply-adds of one forward pass of batch 1 without computing it (meta tensors).

    The paper's numbers are those of the counter in mmcv 0.x, which looks at modules: convolution and linear
    layer with bias, 2 per element of a layer norm, 1 per element of a ReLU and per input element of a
    pooling. It counts neither batch norm nor GELU, and inside self-attention only the reducing convolution
    and its norm.

    Args:
        model: a network of the factory; not changed.
        size: height and width, or one number for both.
    """
    height, width = (size, size) if isinstance(size, int) else size
    image = torch.empty(1, 3, height, width, device="meta")
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            with _literal(model, False):
                executed = _count_full(model, image)
            with _literal(model, True):
                return MacCounts(_count_paper(model, image), _count_full(model, image), executed)
    finally:
        model.train(training)


def measure_latency(
    call: Callable[[], object], batch: int = 1, repeats: int = 20, warmup: int = 3, device: str = "cpu"
) -> Latency:
    """Time ``call``, one forward pass of ``batch`` images on ``device``; on CUDA each call is waited for.

    Raises:
        ValueError: fewer than one repeat.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    on_gpu = device.startswith("cuda")
    seconds = []
    for index in range(warmup + repeats):
        if on_gpu:
            torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        if on_gpu:
            torch.cuda.synchronize()
        if index >= warmup:
            seconds.append(time.perf_counter() - start)
    seconds.sort()
    middle = median(seconds)
    return Latency(middle, seconds[min(repeats - 1, int(0.9 * repeats))], batch / middle)


@contextmanager
def _literal(model: nn.Module, on: bool) -> Iterator[None]:
    """Run those parts of the model that have a cheap form in their published (long) or their cheap one."""
    heads = [module for module in model.modules() if isinstance(module, FusionHead | DANet)]
    before = [head.literal for head in heads]
    for head in heads:
        head.literal = on
    try:
        yield
    finally:
        for head, value in zip(heads, before, strict=True):
            head.literal = value


def _forward_meta(model: nn.Module, image: Tensor) -> None:
    """One forward pass of shapes alone; the model's own tensors are untouched."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    functional_call(model, {name: t.detach().to("meta") for name, t in tensors.items()}, (image, image))


def _count_full(model: nn.Module, image: Tensor) -> int:
    """Multiply-adds of all matrix products and convolutions (a counted operation is half of one)."""
    with FlopCounterMode(display=False) as counter:
        _forward_meta(model, image)
    return counter.get_total_flops() // 2


def _count_paper(model: nn.Module, image: Tensor) -> int:
    """Multiply-adds by the rules in ``count_macs``."""
    total = 0

    def add(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal total
        total += _paper_rule(module, inputs, output)

    unseen = {
        id(layer)
        for attention in model.modules()
        if isinstance(attention, ReducedAttention | nn.MultiheadAttention)
        for layer in attention.modules()
        if isinstance(layer, nn.Linear)
    }
    hooks = [m.register_forward_hook(add) for m in model.modules() if id(m) not in unseen]
    try:
        _forward_meta(model, image)
    finally:
        for hook in hooks:
            hook.remove()
    return total


def _paper_rule(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> int:
    """Return the count of one call of a module; 0 for containers and unknown modules."""
    if isinstance(module, nn.Conv2d):
        per_output = module.weight[0].numel() + (module.bias is not None)
        return int(output.numel() * per_output)
    if isinstance(module, nn.ConvTranspose2d):
        # Each input position is multiplied by the whole kernel; the bias is added at each output.
        products = inputs[0][:, 0].numel() * module.weight.numel()
        return int(products + output.numel() * (module.bias is not None))
    if isinstance(module, nn.Linear):
        return int(output.numel() * (module.in_features + (module.bias is not None)))
    if isinstance(module, nn.LayerNorm):
        return int(2 * output.numel())
    if isinstance(module, nn.ReLU | nn.LeakyReLU):
        return int(output.numel())
    if isinstance(module, POOLS):
        return int(inputs[0].numel())
    # Both pool twice: channel attention to mean and maximum, coordinate attention over rows and columns.
    if isinstance(module, AddAttention | MultiplyAttention):
        return sum(2 * level.numel() for level in inputs[0])
    if isinstance(module, CoordAttention):
        return int(2 * inputs[0].numel())
    return 0
