"""A training as plain values (a job), and what it builds: networks, data and length (a plan)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from cadnet.config import MethodParams, TrainParams
from cadnet.config.training import AugmentParams
from cadnet.datasets.augment import Augmentation
from cadnet.datasets.cache import DecodedSplit, decode_split
from cadnet.datasets.device import DevicePairs, EvalBatches, TrainBatches
from cadnet.datasets.manifest import PreparedDataset
from cadnet.files import file_digest
from cadnet.losses.composite import build_loss
from cadnet.models.factory import build_model
from cadnet.training.task import Learner, Supervised

EVAL_BATCH = 32


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """A training that is ready to begin. ``steps`` is the number of optimiser steps in an epoch."""

    learner: Learner
    data: L.LightningDataModule
    epochs: int
    steps: int


@dataclass(frozen=True)
class Job:
    """A training as plain values: a method on a prepared dataset with a seed; every image has its mask.

    The few-label protocol derives its own jobs from it (:mod:`cadnet.semi.jobs`). ``seed`` decides the first
    weights, the order of the data and their augmentation.
    """

    dataset: PreparedDataset
    method: MethodParams
    train: TrainParams
    seed: int

    @property
    def augmentation(self) -> Augmentation:
        """How training samples are varied: the method's own way, else that of all."""
        source = self.method.augment or self.train
        return Augmentation(self.train.crop, **source.model_dump(include=set(AugmentParams.model_fields)))

    def identity(self) -> Mapping[str, Any]:
        """Return, as JSON values, everything besides the code that decides the weights.

        Raises:
            FileNotFoundError: the encoder's first weights are not there.
        """
        start = self.method.encoder_weights
        if start is not None and not Path(start).is_file():
            raise FileNotFoundError(
                f"encoder_weights of {self.method.title!r} names {start}, which does not exist; put the file "
                "there, or leave the key out for a random start"
            )
        return {
            "data": self.dataset.digest,
            "method": self.method.model_dump(),
            "train": self.train.model_dump(),
            "seed": self.seed,
            # By content: a file may be replaced under its name.
            "encoder_weights": start and file_digest(Path(start)),
        }

    def plan(self, cache: Path) -> TrainingPlan:
        """Build networks from the seed, and data; decoded splits are kept in ``cache``."""
        torch.manual_seed(self.seed)
        return TrainingPlan(
            self.learner(),
            PairData(self.dataset, self.train, self.augmentation, self.seed, cache),
            self.train.epochs,
            len(self.dataset.split("train")) // self.train.batch_size,
        )

    def learner(self) -> Learner:
        """Build what is trained, from torch's generator."""
        loss = build_loss(self.method, self.dataset.class_pixels("train"))
        return Supervised(build_network(self.method, self.train, self.dataset.num_classes), loss)


def build_network(method: MethodParams, train: TrainParams, num_classes: int) -> nn.Module:
    """Build a method's network from torch's generator, compiled where the parameters say so."""
    model = build_model(method.model, num_classes, method.encoder_weights, **method.options)
    if train.compile:
        model.compile()
    return model


class PairData(L.LightningDataModule):
    """Decodes both splits once, then moves them to each process's device.

    Batches are built when Lightning asks, because only then are rank and device known.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        params: TrainParams,
        augmentation: Augmentation,
        seed: int,
        cache: Path,
    ) -> None:
        super().__init__()
        self.dataset, self.params, self.augmentation = dataset, params, augmentation
        self.seed, self.cache = seed, cache

    def prepare_data(self) -> None:
        """Decode into the cache on the first process only."""
        for split in ("train", "val"):
            decode_split(self.dataset, split, self.cache, progress=True)

    def train_dataloader(self) -> TrainBatches:
        """Return shuffled, augmented batches of this process."""
        return self.batches(self.pairs("train"), self.seed)

    def batches(
        self, pairs: DevicePairs, seed: int, rows: Tensor | None = None, steps: int = 0
    ) -> TrainBatches:
        """Return shuffled, augmented batches of this process; see
        :class:`~cadnet.datasets.device.TrainBatches`."""
        trainer = self.trainer
        assert trainer is not None
        ranks, size = (trainer.global_rank, trainer.world_size), self.params.batch_size
        return TrainBatches(pairs, self.augmentation, size, seed, *ranks, rows=rows, steps=steps)

    def val_dataloader(self) -> EvalBatches:
        """Return whole pairs of this process."""
        trainer = self.trainer
        assert trainer is not None
        return EvalBatches(self.pairs("val"), EVAL_BATCH, trainer.global_rank, trainer.world_size)

    def pairs(self, split: str) -> DevicePairs:
        """Return a split on this process's device, where it fits."""
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
