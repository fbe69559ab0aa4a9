"""Supervised training: one network, every training image with its mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cadnet.config import MethodParams, TrainParams
from cadnet.datasets.manifest import PreparedDataset
from cadnet.losses.build import build_loss
from cadnet.models.factory import build_model
from cadnet.training.data import PairData
from cadnet.training.learner import Learner, Supervised
from cadnet.training.plan import TrainingPlan


@dataclass(frozen=True)
class TrainingJob:
    """A method on a prepared dataset with a seed."""

    dataset: PreparedDataset
    method: MethodParams
    train: TrainParams
    seed: int

    def identity(self) -> Mapping[str, Any]:
        """Return all besides the code that decides the weights."""
        return {
            "data": self.dataset.digest,
            "method": self.method.model_dump(),
            "train": self.train.model_dump(),
            "seed": self.seed,
        }

    def plan(self, cache: Path) -> TrainingPlan:
        """Build what is trained from the seed, beside the whole training split."""
        torch.manual_seed(self.seed)
        return TrainingPlan(
            self.learner(),
            PairData(self.dataset, self.train, self.seed, cache),
            self.train.epochs,
            len(self.dataset.split("train")) // self.train.batch_size,
        )

    def learner(self) -> Learner:
        """Build what is trained, from torch's generator."""
        loss = build_loss(self.method, self.dataset.class_pixels("train"))
        return Supervised(build_network(self.method, self.train, self.dataset.num_classes), loss)


def build_network(method: MethodParams, train: TrainParams, num_classes: int) -> nn.Module:
    """Build a method's network from torch's generator, compiled where the parameters say so."""
    model = build_model(method.model, num_classes, encoder_weights=train.encoder_weights, **method.options)
    if train.compile:
        model.compile()
    return model
