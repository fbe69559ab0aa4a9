"""Two networks, or two views of one, that have to agree: deep co-training (DCT) and cross pseudo supervision.

Sources: DCT in UAPS's and SSL4MIS's variant "deep co-training" (rotation) and in its first form of two
networks under attack (Qiao et al. 2018, for segmentation with the weights of Peng et al. 2020); CPS (Chen et
al. 2021) in UAPS's variant."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cadnet.config.training import CpsParams, DctParams
from cadnet.datasets.augment import from_unit_range, to_unit_range
from cadnet.semi.base import Consistency, SemiSupervised, TwoNetworks, Views, disagreement
from cadnet.types import PairBatch, SegOutput


class RotationCoTraining(SemiSupervised):
    """L = L_sup + w(t) mean |softmax f(R x) - R softmax f(x)|^2, R a turn by 0, 90, 180 or 270 degrees.

    The turn is sampled once a step, so a quarter of the steps compares dropout's noise only. The mean is over
    batch, labels and pixels; gradients flow through both sides. Batches must be square.
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


class AdversarialCoTraining(TwoNetworks):
    """L = L_sup(f1) + L_sup(f2) + w(t) L_cot + w'(t) L_dif.

    L_cot = H((p1 + p2) / 2) - (H(p1) + H(p2)) / 2, mean over the pixels of unlabelled images.
    L_dif = H(p1(x), p2(x + a1)) + H(p2(x), p1(x + a2)), the clean side without gradient, mean over labelled
    and unlabelled images; a_i = epsilon sign of the gradient of network i's loss, against the mask or, where
    there is none, its own labels. Batch norm is frozen under attack, and attacked images stay within the
    range of grey levels. Unlike the original both networks see the same labelled batch. The first is kept.
    """

    def __init__(self, network: nn.Module, second: nn.Module, loss: nn.Module, params: DctParams) -> None:
        super().__init__(network, second, loss, params)
        self.params = params

    def unsupervised(self, labelled: PairBatch, views: Views, progress: float) -> Consistency:
        """Return L_cot and L_dif; the pseudo-labels are the first network's."""
        del progress
        p1, p2 = (output.logits.float().softmax(dim=1) for output in self.both(*views))
        labels = [p.detach().argmax(dim=1) for p in (p1, p2)]
        parts = [(views, labels), (Views(labelled.image, labelled.reference), [labelled.mask] * 2)]
        adversarial = torch.stack([self._attacked_loss(pairs, masks) for pairs, masks in parts]).mean()
        terms = {
            "agreement": (jensen_shannon(p1, p2), self.params.weight),
            "adversarial": (adversarial, self.params.adversarial_weight),
        }
        return Consistency(terms, labels[0], {"disagreement": disagreement(*labels)})

    def _attacked_loss(self, pairs: Views, masks: list[Tensor]) -> Tensor:
        """Return L_dif on ``pairs``; ``masks`` are what each network is attacked against."""
        terms = []
        networks = (self.network, self.second)
        with frozen_norms(self):
            for victim, other, mask in zip(networks, networks[::-1], masks, strict=True):
                attacked = self._attack(victim, pairs, mask)
                with torch.no_grad():
                    clean = victim(*pairs).logits.float().softmax(dim=1)
                logits = other(attacked, pairs.reference).logits.float()
                terms.append(-(clean * logits.log_softmax(dim=1)).sum(dim=1).mean())
        return torch.stack(terms).sum()

    def _attack(self, victim: nn.Module, pairs: Views, mask: Tensor) -> Tensor:
        """Move images a step up the victim's loss; no parameter receives a gradient from it."""
        image = pairs.image.detach().requires_grad_(True)
        with torch.enable_grad():
            output: SegOutput = victim(image, pairs.reference)
            (gradient,) = torch.autograd.grad(self.loss(output, mask)["loss"], image)
        return attacked_image(pairs.image, gradient, self.params.epsilon)


def attacked_image(image: Tensor, gradient: Tensor, epsilon: float) -> Tensor:
    """Move normalised images (B, 3, H, W) by ``epsilon`` of the full range along the gradient's sign."""
    pixels = to_unit_range(image) + epsilon * gradient.sign()
    return from_unit_range(pixels.clamp(0, 1)).detach()


def jensen_shannon(first: Tensor, second: Tensor) -> Tensor:
    """Return H((p + q) / 2) - (H(p) + H(q)) / 2 of (B, K+1, H, W), mean over pixels, in nats."""
    halves = _entropy(first).mean() + _entropy(second).mean()
    return _entropy((first + second) / 2).mean() - halves / 2


def _entropy(probability: Tensor) -> Tensor:
    return -(probability * probability.clamp(min=1e-8).log()).sum(dim=1)


@contextmanager
def frozen_norms(module: nn.Module) -> Iterator[None]:
    """Freeze batch norms: they neither learn nor normalise by the batch."""
    norms = [one for one in module.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    modes = [one.training for one in norms]
    for one in norms:
        one.eval()
    try:
        yield
    finally:
        for one, mode in zip(norms, modes, strict=True):
            one.train(mode)


class CrossPseudoSupervision(TwoNetworks):
    """L = L_sup(f1) + L_sup(f2) + w(t) [L(f1(x), argmax f2(x)) + L(f2(x), argmax f1(x))].

    L is the supervised loss, (CE + Dice) / 2 for the compared row; every pixel counts, and
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
        """Return the cross-supervision's loss, and both networks' labels (B, H, W)."""
        outputs = self.both(image, reference)
        first, second = (output.logits.detach().argmax(dim=1) for output in outputs)
        term = self.loss(outputs[0], second)["loss"] + self.loss(outputs[1], first)["loss"]
        return term, first, second
