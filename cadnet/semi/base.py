"""Base of the methods: batches, supervised part, ramp, and quality of pseudo-labels."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cadnet.config.training import RampParams
from cadnet.training.task import Learner, Outcome
from cadnet.types import BACKGROUND, IGNORE_INDEX, PairBatch, SegOutput


class Views(NamedTuple):
    """Pairs without their masks: ``image`` and ``reference`` as in :class:`~cadnet.types.PairBatch`."""

    image: Tensor
    reference: Tensor


@dataclass(frozen=True)
class SemiBatch:
    """One step's data.

    The masks of ``unlabelled`` only measure pseudo-labels: methods get its :attr:`views`. Without a known
    truth its mask is 255 everywhere.
    """

    labelled: PairBatch
    unlabelled: PairBatch

    @property
    def views(self) -> Views:
        """The unlabelled pairs without their masks."""
        return Views(self.unlabelled.image, self.unlabelled.reference)

    def to(self, device: torch.device | str) -> SemiBatch:
        """Return both batches on ``device``."""
        return SemiBatch(self.labelled.to(device), self.unlabelled.to(device))


def ramp_weight(highest: float, ramp: float, progress: float) -> float:
    """Return w(t) = w_max exp(-5 (1 - min(t, T) / T)^2), t and T being fractions of the run.

    Args:
        highest: w_max.
        ramp: T in [0, 1]; 0 gives w_max at once.
        progress: t in [0, 1].
    """
    done = 1.0 if ramp == 0 else min(progress / ramp, 1.0)
    return highest * math.exp(-5.0 * (1.0 - done) ** 2)


@dataclass(frozen=True)
class Consistency:
    """What a method computed from unlabelled images.

    ``losses``: scalars by name, each with the factor it enters the sum with. ``pseudo``: the labels it
    assigned, int64 (B, H, W) in {0..K}, 255 where it assigned none. ``tallies``: fractions to record, as in
    :class:`~cadnet.training.task.Outcome`.
    """

    losses: Mapping[str, tuple[Tensor, float]]
    pseudo: Tensor
    tallies: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


class SemiSupervised(Learner):
    """L = L_sup + sum of ramped terms on unlabelled images.

    Given a batch whose pairs all have masks it learns from them alone; all methods are pre-trained like that.

    Args:
        network: the one that is kept.
        loss: ``loss(output, mask)`` of labelled pairs.
        params: of the method.
    """

    def __init__(self, network: nn.Module, loss: nn.Module, params: RampParams) -> None:
        super().__init__(network)
        self.loss = loss
        self.ramp = params.ramp

    def forward(self, batch: PairBatch | SemiBatch, progress: float) -> Outcome:
        """Return L, its unweighted parts, and the quality of the pseudo-labels."""
        if isinstance(batch, PairBatch):
            return Outcome(self.supervised(batch))
        parts = dict(self.supervised(batch.labelled))
        found = self.unsupervised(batch.labelled, batch.views, progress)
        loss = parts["loss"]
        for name, (value, highest) in found.losses.items():
            loss = loss + ramp_weight(highest, self.ramp, progress) * value
            parts[name] = value.detach()
        parts["loss"] = loss
        return Outcome(parts, {**label_quality(found.pseudo, batch.unlabelled.mask), **found.tallies})

    def supervised(self, batch: PairBatch) -> Mapping[str, Tensor]:
        """Return "loss", L_sup of labelled pairs, and its parts."""
        output: SegOutput = self.network(batch.image, batch.reference)
        parts: Mapping[str, Tensor] = self.loss(output, batch.mask)
        return parts

    @abstractmethod
    def unsupervised(self, labelled: PairBatch, views: Views, progress: float) -> Consistency:
        """Return the terms of the unlabelled ``views``; methods may use the ``labelled`` pairs, too."""


def label_quality(pseudo: Tensor, truth: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Tally precision and recall of pseudo-labelled defects against the hidden truth.

    Args:
        pseudo: int64 (B, H, W) in {0..K, 255}, 255 where no label was assigned.
        truth: int64 (B, H, W) in {0..K, 255}, 255 where unknown.

    Returns:
        ``pseudo_precision``: fraction of the pixels labelled as a defect whose class is right;
        ``pseudo_recall``: fraction of the defects' pixels that are labelled with their class; unlabelled ones
        count as missed. Each as scalars (count, total).
    """
    known = truth != IGNORE_INDEX
    labelled = known & (pseudo != IGNORE_INDEX) & (pseudo != BACKGROUND)
    defect = known & (truth != BACKGROUND)
    right = (labelled & (pseudo == truth)).sum()
    return {"pseudo_precision": (right, labelled.sum()), "pseudo_recall": (right, defect.sum())}


def disagreement(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Tally the pixels where two labellings (B, H, W) differ, of those where either has a defect."""
    seen = (first != BACKGROUND) | (second != BACKGROUND)
    return (first != second).sum(), seen.sum()


def mean_supervised(parts: Sequence[Mapping[str, Tensor]], weight: float) -> dict[str, Tensor]:
    """Return ``weight`` times the sum of several networks' losses, and the mean of each of their parts."""
    names = parts[0].keys()
    return {
        name: torch.stack([one[name] for one in parts]).sum() * (weight if name == "loss" else 1 / len(parts))
        for name in names
    }


class TwoNetworks(SemiSupervised):
    """L_sup(f1) + L_sup(f2), both over the same labelled batch; the first network is kept."""

    def __init__(self, network: nn.Module, second: nn.Module, loss: nn.Module, params: RampParams) -> None:
        super().__init__(network, loss, params)
        self.second = second

    def companions(self) -> dict[str, nn.Module]:
        """Return the second network."""
        return {"second": self.second}

    def both(self, image: Tensor, reference: Tensor) -> tuple[SegOutput, SegOutput]:
        """Return the outputs of both networks."""
        return self.network(image, reference), self.second(image, reference)

    def supervised(self, batch: PairBatch) -> Mapping[str, Tensor]:
        """Return the sum of both networks' losses."""
        outputs = self.both(batch.image, batch.reference)
        return mean_supervised([self.loss(output, batch.mask) for output in outputs], 1.0)
