"""A decision threshold chosen on validation images."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cadnet.evaluation.counts import Counts
from cadnet.evaluation.curves import curves
from cadnet.types import SegOutput

LOWEST = 0.005
"""No threshold below half a bin of 100: at 0 every pixel is a defect."""


def best_threshold(counts: Counts) -> float:
    """Return the probability in [LOWEST, 1) from which on calling pixels defects gives the highest IoU.

    The Fscore, which the curves hold, is highest at the same threshold. Without a true or a predicted defect
    there is nothing to choose by, and 0.5 is returned.

    Args:
        counts: of validation images, one class, with score bins.

    Raises:
        ValueError: more than one class, or no bins.
    """
    if counts.num_classes != 1 or counts.histograms.shape[2] == 0:
        raise ValueError(
            f"a threshold needs one class and score bins, got {counts.num_classes} classes and "
            f"{counts.histograms.shape[2]} bins"
        )
    (line,) = curves(counts.histograms)
    if line.best_threshold is None or not line.best_fscore:
        return 0.5
    return max(line.best_threshold, LOWEST)


class AnyDefect(nn.Module):
    """A network whose defect classes are taken as one: the probability of any defect, as in prediction."""

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
