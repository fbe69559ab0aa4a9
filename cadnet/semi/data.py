"""A training split of which a part is labelled and another part is seen without labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from cadnet.config import TrainParams
from cadnet.datasets.device import TrainBatches
from cadnet.datasets.manifest import PreparedDataset
from cadnet.semi.batches import SemiBatches
from cadnet.training.data import PairData

UNLABELLED_SEED = 500_009
"""Added to the seed, so that the unlabelled stream has an order and an augmentation of its own."""


class FewLabelData(PairData):
    """Validation as usual; training batches of chosen rows, as many as wanted.

    Args:
        dataset: what is fine-tuned on.
        params: batch size and augmentation.
        seed: decides order and augmentation.
        cache: where decoded splits lie.
        labelled: rows of the train split that may be learnt from with their masks.
        unlabelled: rows that are seen without; none gives labelled batches alone.
        steps: batches in an epoch.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        params: TrainParams,
        seed: int,
        cache: Path,
        *,
        labelled: Sequence[int],
        unlabelled: Sequence[int],
        steps: int,
    ) -> None:
        super().__init__(dataset, params, seed, cache)
        self.labelled, self.unlabelled, self.steps = labelled, unlabelled, steps

    def train_dataloader(self) -> TrainBatches | SemiBatches:  # type: ignore[override]
        """Batches of the labelled rows, with as many of unlabelled ones beside them."""
        pairs = self.pairs("train")
        labelled = self.batches(pairs, self.seed, torch.tensor(self.labelled), self.steps)
        if not self.unlabelled:
            return labelled
        seed = self.seed + UNLABELLED_SEED
        return SemiBatches(labelled, self.batches(pairs, seed, torch.tensor(self.unlabelled), self.steps))
