"""UAPS: pseudo-labels mixed from four decoders, trusted where these agree (Djene Mengistu et al.)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cadnet.config.consistency import UapsParams
from cadnet.losses.segmentation import OverlapLoss
from cadnet.models.perturbation import element_dropout, feature_dropout, feature_noise
from cadnet.models.unet import UNet
from cadnet.semi.agreement import divergence, doubted_loss
from cadnet.semi.base import Consistency, SemiSupervised, disagreement, mean_supervised
from cadnet.semi.batches import Views
from cadnet.types import PairBatch, SegOutput

AUXILIARY = 3
"""Decoders besides the main one; each sees the encoder's maps disturbed in its own way."""


class MixedPseudoSupervision(SemiSupervised):
    """L = L_sup + w1(t) L_ps + w2(t) L_unc over one encoder and 1 + 3 decoders.

    p_i: what decoder i gives, p their mean, V_i = KL(p || p_i). L_sup: the mean of the decoders' losses.
    L_ps: the mean of (CE + Dice) / 2 against Y weighed by e^-V_i, where Y = argmax sum beta_i p_i without
    gradient and beta is drawn from Dirichlet(1, 1, 1, 1) once a step. L_unc: the mean of V_i. The auxiliary
    decoders see noise, dropout of elements, and dropout of what they attend to most. The main one is kept.
    """

    network: UNet

    def __init__(self, network: UNet, params: UapsParams) -> None:
        super().__init__(network, OverlapLoss(), params)
        self.params = params

    def supervised(self, batch: PairBatch) -> Mapping[str, Tensor]:
        """Return the mean of the decoders' losses."""
        outputs = self._decode(batch.image)
        return mean_supervised([self.loss(SegOutput(one), batch.mask) for one in outputs], 1 / len(outputs))

    def unsupervised(self, labelled: PairBatch, views: Views, progress: float) -> Consistency:
        """Return L_ps and L_unc; the pseudo-labels are Y."""
        del labelled, progress
        outputs = self._decode(views.image)
        probabilities = torch.stack([logits.float().softmax(dim=1) for logits in outputs])
        labels = mixed_labels(probabilities.detach())
        mean = probabilities.mean(dim=0)
        doubts = [divergence(mean, one) for one in probabilities]
        losses = [
            doubted_loss(logits, labels, doubt, self.params.weighting)
            for logits, doubt in zip(outputs, doubts, strict=True)
        ]
        terms = {
            "pseudo": (torch.stack(losses).mean(), self.params.weight),
            "uncertainty": (torch.stack(doubts).mean(), self.params.uncertainty_weight),
        }
        main, other = probabilities[:2].detach().argmax(dim=2)
        return Consistency(terms, labels, {"disagreement": disagreement(main, other)})

    def _decode(self, image: Tensor) -> Sequence[Tensor]:
        """Logits of the main decoder, then of the auxiliary ones."""
        features = self.network.encode(image)
        disturbed = (features, feature_noise(features), element_dropout(features), feature_dropout(features))
        return [self.network.decode(maps, number) for number, maps in enumerate(disturbed)]


def mixed_labels(probabilities: Tensor) -> Tensor:
    """Return argmax sum beta_i p_i, int64 (B, H, W), of (decoders, B, K+1, H, W); beta ~ Dirichlet(1)."""
    # Exponential numbers over their sum are a draw from it.
    shares = torch.empty(len(probabilities), device=probabilities.device).exponential_()
    mixed = (probabilities * (shares / shares.sum()).view(-1, 1, 1, 1, 1)).sum(dim=0)
    return mixed.argmax(dim=1)
