"""Running a network over a split and counting, at its own decision or at a threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from cadnet.evaluation.counts import CountAccumulator, CountError, Counts
from cadnet.types import PairBatch, SegOutput


def evaluate(
    model: nn.Module,
    batches: Iterable[PairBatch],
    num_images: int,
    class_names: Sequence[str],
    device: torch.device | str,
    *,
    bins: int = 100,
    bf16: bool = False,
    on_batch: Callable[[int], None] | None = None,
) -> Counts:
    """Score ``model(image, reference) -> SegOutput`` over ``batches``, restoring its mode.

    Args:
        model: a network already on ``device``, with len(class_names) + 1 output channels.
        batches: each image once, except padding with index -1; tensors are moved to ``device``.
        num_images: images that must have been scored in the end.
        class_names: the defect classes 1..K.
        device: where to run and count.
        bins: score bins of the curves; 0 for none.
        bf16: run the network under bfloat16 autocast (the counting is exact either way).
        on_batch: called with the number of images after each batch.

    Raises:
        CountError: another number of images was scored, an image twice, wrong mask values, or NaN output.
    """
    device = torch.device(device)
    accumulator = CountAccumulator(len(class_names), device, bins)
    autocast = torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()
    with torch.inference_mode(), _eval_mode(model), autocast:
        for batch in batches:
            batch = batch.to(device)
            output: SegOutput = model(batch.image, batch.reference)
            accumulator.update(output.logits, batch.mask, batch.index)
            if on_batch is not None:
                on_batch(len(batch.index))
    counts = accumulator.compute()
    if counts.num_images != num_images:
        raise CountError(f"{counts.num_images} images were scored where the split has {num_images}")
    return counts


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


class AnyDefect(nn.Module):
    """A network whose defect classes are merged: the probability of any defect, as in prediction."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, reference: Tensor) -> SegOutput:
        """Return the network's output with logits (B, 2, H, W)."""
        output: SegOutput = self.network(image, reference)
        logits = output.logits.float()
        # softmax adds probabilities of classes as logsumexp adds their logits.
        defect = logits[:, 1:].logsumexp(dim=1, keepdim=True)
        return output._replace(logits=torch.cat([logits[:, :1], defect], dim=1))


class Thresholded(nn.Module):
    """A network of one class that calls a pixel a defect where its probability exceeds ``threshold``.

    Raises:
        ValueError: ``threshold`` outside (0, 1).
    """

    shift: Tensor

    def __init__(self, network: nn.Module, threshold: float) -> None:
        super().__init__()
        if not 0 < threshold < 1:
            raise ValueError(f"a threshold is a probability between 0 and 1, got {threshold}")
        self.network = network
        # p > t where the logits' difference exceeds log(t / (1 - t)).
        shift = torch.tensor([math.log(threshold / (1 - threshold)), 0.0]).view(1, 2, 1, 1)
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, image: Tensor, reference: Tensor) -> SegOutput:
        """Return the network's output, background's logits moved so that the larger one decides."""
        output: SegOutput = self.network(image, reference)
        return output._replace(logits=output.logits.float() + self.shift)
