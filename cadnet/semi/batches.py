"""Labelled and unlabelled batches side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cadnet.datasets.device import TrainBatches
from cadnet.types import PairBatch


class Views(NamedTuple):
    """Pairs without their masks: ``image`` and ``reference`` as in :class:`~cadnet.types.PairBatch`."""

    image: Tensor
    reference: Tensor


@dataclass(frozen=True)
class SemiBatch:
    """One step's data.

    ``unlabelled`` holds the hidden truth, which measures pseudo-labels and teaches nothing: methods get its
    :attr:`views` only. Where there is no truth, its mask is 255 everywhere.
    """

    labelled: PairBatch
    unlabelled: PairBatch

    @property
    def views(self) -> Views:
        """The unlabelled pairs without their masks."""
        return Views(self.unlabelled.image, self.unlabelled.reference)

    def to(self, device: torch.device | str) -> SemiBatch:
        """Return both on ``device``."""
        return SemiBatch(self.labelled.to(device), self.unlabelled.to(device))


class SemiBatches:
    """Both streams in step, each with an order and an augmentation of its own.

    Raises:
        ValueError: the streams have different numbers of batches.
    """

    def __init__(self, labelled: TrainBatches, unlabelled: TrainBatches) -> None:
        if len(labelled) != len(unlabelled):
            raise ValueError(f"{len(labelled)} labelled batches do not go with {len(unlabelled)} unlabelled")
        self.labelled, self.unlabelled = labelled, unlabelled

    @property
    def sampler(self) -> SemiBatches:
        """Where Lightning looks for ``set_epoch``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self.labelled.set_epoch(epoch)
        self.unlabelled.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.labelled)

    def __iter__(self) -> Iterator[SemiBatch]:
        for labelled, unlabelled in zip(self.labelled, self.unlabelled, strict=True):
            yield SemiBatch(labelled, unlabelled)
