"""DCT in the form the paper describes: one network has to see a turned image as it sees the image.

Formula and weights: UAPS's and SSL4MIS's variant "deep co-training", which has neither a second network nor
an attack; for those see :mod:`cadnet.semi.dct_adversarial`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cadnet.config.consistency import DctParams
from cadnet.semi.base import Consistency, SemiSupervised, disagreement
from cadnet.semi.batches import Views
from cadnet.types import PairBatch


class RotationCoTraining(SemiSupervised):
    """L = L_sup + w(t) mean |softmax f(R x) - R softmax f(x)|^2, R a turn by 0, 90, 180 or 270 degrees.

    The turn is drawn once a step, a quarter of the steps thus comparing dropout's noise only. The mean is
    over batch, labels and pixels; gradients flow through both sides. Batches must be square.
    """

    def __init__(self, network: nn.Module, loss: nn.Module, params: DctParams) -> None:
        super().__init__(network, loss, params)
        self.weight = params.weight

    def unsupervised(self, labelled: PairBatch, views: Views, progress: float) -> Consistency:
        """Return the squared difference of both views; the pseudo-labels are those of the unturned one."""
        del labelled, progress
        turns = int(torch.randint(4, ()))
        plain = self.network(*views).logits.float().softmax(dim=1)
        turned = self.network(*(turn(view, turns) for view in views)).logits.float().softmax(dim=1)
        term = F.mse_loss(turned, turn(plain, turns))
        labels = plain.argmax(dim=1)
        other = turn(turned, -turns).argmax(dim=1)
        tallies = {"disagreement": disagreement(labels, other)}
        return Consistency({"consistency": (term, self.weight)}, labels, tallies)


def turn(image: Tensor, quarters: int) -> Tensor:
    """Turn (..., H, W) by ``quarters`` of a circle, counterclockwise."""
    return image.rot90(quarters, dims=(-2, -1))
