"""UAMT: a mean teacher whose targets count only where its uncertainty is low (Yu et al. 2019)."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from cadnet.config.training import UamtParams
from cadnet.semi.base import Consistency, SemiSupervised, Views, disagreement, ramp_weight
from cadnet.types import IGNORE_INDEX, PairBatch

CHUNK = 2
"""Stochastic passes per batch: their memory without gradients stays below that of one pass with gradients."""


class UncertaintyMeanTeacher(SemiSupervised):
    """L = L_sup + w(t) sum m (softmax f(x) - q)^2 / (K' sum m), m = 1 where U < H(t).

    q is the teacher's answer to a noisy image; U = -sum p log p the entropy of its mean p over ``passes``
    noisy ones with dropout on; H(t) = (3/4 + 1/4 r(t)) ln K', K' = K + 1 labels. r(t) is the ramp of w(t), 0
    to 1, as in the code that the compared table very probably came from; in the original it takes the whole
    run. Both codes have ln 2, which is the same for one defect class. The teacher is the moving average of
    the student with decay min(1 - 1 / (step + 1), ``decay``); after the first step it equals the student.

    Two choices the published codes leave open: the teacher's batch norm does not learn from noisy images (its
    buffers are copied from the student, only its dropout is active), and noise is on the image, not on the
    reference. The student is kept.
    """

    def __init__(self, network: nn.Module, loss: nn.Module, params: UamtParams) -> None:
        super().__init__(network, loss, params)
        self.params = params
        self.teacher = copy.deepcopy(network).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> UncertaintyMeanTeacher:
        """Set the mode; only the teacher's dropout is ever active."""
        super().train(mode)
        self.teacher.eval()
        for module in self.teacher.modules():
            # All kinds: elements, channels, whole paths.
            if "drop" in type(module).__name__.lower():
                module.train(mode)
        return self

    def unsupervised(self, labelled: PairBatch, views: Views, progress: float) -> Consistency:
        """Return the masked squared difference; the pseudo-labels are the teacher's where it is sure."""
        del labelled
        target, uncertainty = self._teacher(views)
        sure = uncertainty < certainty_threshold(target.shape[1], progress, self.ramp)  # (B, H, W)
        student = self.network(*views).logits.float().softmax(dim=1)
        term = masked_difference(student, target, sure)
        labels = target.argmax(dim=1)
        tallies = {
            "disagreement": disagreement(labels, student.detach().argmax(dim=1)),
            "sure": (sure.sum(), torch.full_like(sure.sum(), sure.numel())),
        }
        return Consistency(
            {"consistency": (term, self.params.weight)}, labels.where(sure, IGNORE_INDEX), tallies
        )

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Move the teacher towards the student."""
        decay = min(1.0 - 1.0 / (step + 1), self.params.decay)
        for mean, value in zip(self.teacher.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(value, 1.0 - decay)
        for copied, buffer in zip(self.teacher.buffers(), self.network.buffers(), strict=True):
            copied.copy_(buffer)

    @torch.no_grad()
    def _teacher(self, views: Views) -> tuple[Tensor, Tensor]:
        """Return q (B, K+1, H, W) and U (B, H, W) in nats, both float32."""
        target = self._noisy(views)
        repeated = Views(*(view.repeat(CHUNK, 1, 1, 1) for view in views))
        total = torch.zeros_like(target)
        for _ in range(self.params.passes // CHUNK):
            total += self._noisy(repeated).unflatten(0, (CHUNK, len(target))).sum(dim=0)
        return target, entropy(total / self.params.passes)

    def _noisy(self, views: Views) -> Tensor:
        noise = torch.randn_like(views.image) * self.params.noise
        noise = noise.clamp(-2 * self.params.noise, 2 * self.params.noise)
        return self.teacher(views.image + noise, views.reference).logits.float().softmax(dim=1)


def certainty_threshold(labels: int, progress: float, ramp: float) -> float:
    """Return H(t) in nats: from 3/4 to 1 times the highest entropy of ``labels`` labels, within ``ramp``."""
    return (0.75 + 0.25 * ramp_weight(1.0, ramp, progress)) * math.log(labels)


def entropy(probability: Tensor) -> Tensor:
    """Return -sum p log(p + 1e-6) over the labels of (B, K+1, H, W): (B, H, W), in nats."""
    return -(probability * (probability + 1e-6).log()).sum(dim=1)


def masked_difference(student: Tensor, teacher: Tensor, sure: Tensor) -> Tensor:
    """Return sum m (p - q)^2 / (K' sum m) of (B, K', H, W), m being bool (B, H, W); 0 without any m."""
    squares = (student - teacher).square() * sure.unsqueeze(1)
    return squares.sum() / (student.shape[1] * sure.sum() + 1e-16)
