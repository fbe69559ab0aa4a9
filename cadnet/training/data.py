"""The splits of a dataset as Lightning asks for them, on whatever devices training runs."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import torch
from torch import Tensor

from cadnet.config import TrainParams
from cadnet.datasets.augment import Augmentation
from cadnet.datasets.cache import DecodedSplit, decode_split
from cadnet.datasets.device import DevicePairs, EvalBatches, TrainBatches
from cadnet.datasets.manifest import PreparedDataset

EVAL_BATCH = 32


class PairData(L.LightningDataModule):
    """Decodes both splits once, then places them on each process's device.

    Batches are built when Lightning asks, because only then are rank and device known.
    """

    def __init__(self, dataset: PreparedDataset, params: TrainParams, seed: int, cache: Path) -> None:
        super().__init__()
        self.dataset, self.params, self.seed, self.cache = dataset, params, seed, cache

    def prepare_data(self) -> None:
        """Decode into the cache on the first process only."""
        for split in ("train", "val"):
            decode_split(self.dataset, split, self.cache, progress=True)

    def train_dataloader(self) -> TrainBatches:
        """Shuffled, augmented batches of this process."""
        return self.batches(self.pairs("train"), self.seed)

    def batches(
        self, pairs: DevicePairs, seed: int, rows: Tensor | None = None, steps: int = 0
    ) -> TrainBatches:
        """Shuffled, augmented batches of this process; see :class:`~cadnet.datasets.device.TrainBatches`."""
        trainer = self.trainer
        assert trainer is not None
        augmentation = Augmentation(self.params.crop, self.params.flip, self.params.photometric)
        ranks = trainer.global_rank, trainer.world_size
        return TrainBatches(pairs, augmentation, self.params.batch_size, seed, *ranks, rows=rows, steps=steps)

    def val_dataloader(self) -> EvalBatches:
        """Whole pairs of this process."""
        trainer = self.trainer
        assert trainer is not None
        return EvalBatches(self.pairs("val"), EVAL_BATCH, trainer.global_rank, trainer.world_size)

    def pairs(self, split: str) -> DevicePairs:
        """A split on this process's device, where it fits."""
        assert self.trainer is not None
        decoded = decode_split(self.dataset, split, self.cache)
        return DevicePairs(decoded, fitting_device(decoded, self.trainer.strategy.root_device))


def fitting_device(split: DecodedSplit, device: torch.device) -> torch.device:
    """Return ``device``, or the CPU when the split would fill more than half of a GPU's free memory."""
    if device.type != "cuda":
        return device
    needed = split.images.nbytes + split.masks.nbytes + split.references.nbytes
    free, _total = torch.cuda.mem_get_info(device)
    return device if needed < free / 2 else torch.device("cpu")
