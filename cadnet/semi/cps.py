"""CPS: two networks label the unlabelled images for each other (Chen et al. 2021, in UAPS's variant)."""

from __future__ import annotations

from torch import Tensor, nn

from cadnet.config.consistency import CpsParams
from cadnet.semi.base import Consistency, disagreement
from cadnet.semi.batches import Views
from cadnet.semi.two import TwoNetworks
from cadnet.types import PairBatch


class CrossPseudoSupervision(TwoNetworks):
    """L = L_sup(f1) + L_sup(f2) + w(t) [L(f1(x), argmax f2(x)) + L(f2(x), argmax f1(x))].

    L is the loss that labels are learnt with, (CE + Dice) / 2 for the compared row, every pixel counts, and
    with ``on_labelled`` the labelled images are cross-supervised, too. That is UAPS's variant; the original
    has cross-entropy alone, a constant weight of 1.5 and CutMix. The two networks differ by their first
    weights and dropout; the first is kept.
    """

    def __init__(self, network: nn.Module, second: nn.Module, loss: nn.Module, params: CpsParams) -> None:
        super().__init__(network, second, loss, params)
        self.weight, self.on_labelled = params.weight, params.on_labelled

    def unsupervised(self, labelled: PairBatch, views: Views, progress: float) -> Consistency:
        """Return the cross-supervision; the pseudo-labels are the first network's."""
        del progress
        term, first, second = self._crossed(*views)
        if self.on_labelled:
            term = term + self._crossed(labelled.image, labelled.reference)[0]
        tallies = {"disagreement": disagreement(first, second)}
        return Consistency({"cross": (term, self.weight)}, first, tallies)

    def _crossed(self, image: Tensor, reference: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The cross-supervision's loss, and both networks' labels (B, H, W)."""
        outputs = self.both(image, reference)
        first, second = (output.logits.detach().argmax(dim=1) for output in outputs)
        term = self.loss(outputs[0], second)["loss"] + self.loss(outputs[1], first)["loss"]
        return term, first, second
