"""Decoders of one encoder that supervise each other: UCC and UAPS.

Sources: UCC (Fan et al. 2022) in UAPS's variant; UAPS (Djene Mengistu et al.)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cadnet.config.training import UapsParams, UccParams, Weighting
from cadnet.losses.segmentation import OverlapLoss, cross_entropy_map, dice_loss, overlap_loss
from cadnet.models.perturbation import element_dropout, feature_dropout, feature_noise
from cadnet.models.unet import UNet
from cadnet.semi.base import Consistency, SemiSupervised, Views, disagreement, mean_supervised
from cadnet.semi.views import random_boxes, strong_view, weak_view
from cadnet.types import IGNORE_INDEX, PairBatch, SegOutput


def kl_divergence(target: Tensor, probability: Tensor) -> Tensor:
    """Return KL(target || probability) per pixel, (B, H, W) in nats, of two distributions (B, K+1, H, W)."""
    logarithms = target.clamp(min=1e-8).log() - probability.clamp(min=1e-8).log()
    return (target * logarithms).sum(dim=1)


def uncertainty_weighted_loss(
    logits: Tensor, labels: Tensor, divergence: Tensor, weighting: Weighting
) -> Tensor:
    """Return (CE + Dice) / 2 against pseudo-labels, weighted down by the decoders' ``divergence``.

    "scalar": mean(e^-V) (CE + Dice) / 2, which is what the published code computes, its CE being a mean;
    "pixel": (mean(e^-V CE) + mean(e^-V) Dice) / 2, the formula, Dice having no pixels. Gradients flow through
    V as well.

    Args:
        logits: (B, K+1, H, W).
        labels: int64 (B, H, W) in {0..K, 255}.
        divergence: V >= 0 in nats, (B, H, W).
        weighting: see above.
    """
    trust = (-divergence).exp()
    if weighting == "scalar":
        return trust.mean() * overlap_loss(logits, labels)
    pixels = trust * cross_entropy_map(logits, labels)
    return 0.5 * (pixels.mean() + trust.mean() * dice_loss(logits, labels))


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
    auxiliary = 1
    """Decoders besides the main one."""

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
        v1, v2 = kl_divergence(p2s, p1w), kl_divergence(p2w, p1s)
        term = uncertainty_weighted_loss(strong[0], labels2, v1, self.params.weighting) + v1.mean()
        term = term + uncertainty_weighted_loss(strong[1], labels1, v2, self.params.weighting) + v2.mean()
        tallies = {"disagreement": disagreement(labels1, labels2)}
        pseudo = labels1.masked_fill(box.squeeze(1), IGNORE_INDEX)
        return Consistency({"cross": (term, self.params.weight)}, pseudo, tallies)

    def _decode(self, image: Tensor) -> Sequence[Tensor]:
        """Return logits of the main and of the auxiliary decoder."""
        features = self.network.encode(image)
        return self.network.decode(features, 0), self.network.decode(feature_noise(features), 1)


class MixedPseudoSupervision(SemiSupervised):
    """L = L_sup + w1(t) L_ps + w2(t) L_unc over one encoder and 1 + 3 decoders.

    p_i: what decoder i gives, p their mean, V_i = KL(p || p_i). L_sup: the mean of the decoders' losses.
    L_ps: the mean of (CE + Dice) / 2 against Y weighed by e^-V_i, where Y = argmax sum beta_i p_i without
    gradient and beta is sampled from Dirichlet(1, 1, 1, 1) once a step. L_unc: the mean of V_i. The auxiliary
    decoders see noise, dropout of elements, and dropout of what they attend to most. The main one is kept.
    """

    network: UNet
    auxiliary = 3
    """Decoders besides the main one; each sees the encoder's maps perturbed in its own way."""

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
        divergences = [kl_divergence(mean, one) for one in probabilities]
        losses = [
            uncertainty_weighted_loss(logits, labels, v, self.params.weighting)
            for logits, v in zip(outputs, divergences, strict=True)
        ]
        terms = {
            "pseudo": (torch.stack(losses).mean(), self.params.weight),
            "uncertainty": (torch.stack(divergences).mean(), self.params.uncertainty_weight),
        }
        main, other = probabilities[:2].detach().argmax(dim=2)
        return Consistency(terms, labels, {"disagreement": disagreement(main, other)})

    def _decode(self, image: Tensor) -> Sequence[Tensor]:
        """Return logits of the main decoder, then of the auxiliary ones."""
        features = self.network.encode(image)
        perturbed = (features, feature_noise(features), element_dropout(features), feature_dropout(features))
        return [self.network.decode(maps, number) for number, maps in enumerate(perturbed)]


def mixed_labels(probabilities: Tensor) -> Tensor:
    """Return argmax sum beta_i p_i, int64 (B, H, W), of (decoders, B, K+1, H, W); beta ~ Dirichlet(1)."""
    # Exponential numbers over their sum are Dirichlet(1).
    weights = torch.empty(len(probabilities), device=probabilities.device).exponential_()
    mixed = (probabilities * (weights / weights.sum()).view(-1, 1, 1, 1, 1)).sum(dim=0)
    return mixed.argmax(dim=1)
