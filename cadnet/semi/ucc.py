"""UCC: two decoders label a weak view for each other's strong view (Fan et al. 2022, in UAPS's variant)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cadnet.config.consistency import UccParams
from cadnet.losses.segmentation import OverlapLoss
from cadnet.models.perturbation import feature_noise
from cadnet.models.unet import UNet
from cadnet.semi.agreement import divergence, doubted_loss
from cadnet.semi.base import Consistency, SemiSupervised, disagreement, mean_supervised
from cadnet.semi.batches import Views
from cadnet.semi.mixing import random_boxes
from cadnet.semi.views import strong_view, weak_view
from cadnet.types import IGNORE_INDEX, PairBatch, SegOutput

AUXILIARY = 1
"""Decoders besides the main one."""


class CrossHeadCoTraining(SemiSupervised):
    """L = L_sup1 + L_sup2 + w(t) L_ps over one encoder and two decoders, the second on noisy maps.

    With weak and strong view w and s of an unlabelled image and p_i, Y_i the decoders' answers and labels:
    L_ps = L(s1, Y2w) e^-V1 + V1 + L(s2, Y1w) e^-V2 + V2, L = (CE + Dice) / 2, V1 = KL(p2s || p1w),
    V2 = KL(p2w || p1s), both means over pixels. That V1 and V2 are not mirror images is the published code's.
    Boxes stand for the original's copying of rare classes: labelled images get boxes of each other, with
    labels; both views of an unlabelled image get the same box of a labelled one, without. Their second
    decoder's noise is off when the network is used. The main decoder is kept.
    """

    network: UNet

    def __init__(self, network: UNet, params: UccParams) -> None:
        super().__init__(network, OverlapLoss(), params)
        self.params = params

    def supervised(self, batch: PairBatch) -> Mapping[str, Tensor]:
        """Return the sum of both decoders' losses on images that may hold boxes of each other."""
        box = random_boxes(batch.image, self.params.mix_labelled)
        order = torch.randperm(len(batch.image), device=batch.image.device)
        image = torch.where(box, batch.image[order], batch.image)
        mask = torch.where(box.squeeze(1), batch.mask[order], batch.mask)
        return mean_supervised([self.loss(SegOutput(one), mask) for one in self._decode(image)], 1.0)

    def unsupervised(self, labelled: PairBatch, views: Views, progress: float) -> Consistency:
        """Return L_ps; the pseudo-labels are the main decoder's of the weak view, none in boxes."""
        del progress
        image = views.image
        box = random_boxes(image, self.params.mix_unlabelled)
        donors = torch.randint(len(labelled.image), (len(image),), device=image.device)
        weak, strong = (
            self._decode(torch.where(box, labelled.image[donors], view))
            for view in (weak_view(image), strong_view(image))
        )
        p1w, p2w, p1s, p2s = (logits.float().softmax(dim=1) for logits in (*weak, *strong))
        labels1, labels2 = (p.detach().argmax(dim=1) for p in (p1w, p2w))
        doubt1, doubt2 = divergence(p2s, p1w), divergence(p2w, p1s)
        term = doubted_loss(strong[0], labels2, doubt1, self.params.weighting) + doubt1.mean()
        term = term + doubted_loss(strong[1], labels1, doubt2, self.params.weighting) + doubt2.mean()
        tallies = {"disagreement": disagreement(labels1, labels2)}
        pseudo = labels1.masked_fill(box.squeeze(1), IGNORE_INDEX)
        return Consistency({"cross": (term, self.params.weight)}, pseudo, tallies)

    def _decode(self, image: Tensor) -> Sequence[Tensor]:
        """Logits of the main and of the auxiliary decoder."""
        features = self.network.encode(image)
        return self.network.decode(features, 0), self.network.decode(feature_noise(features), 1)
