"""All that a training needs to begin: what learns, from what data, how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import lightning as L

from cadnet.config import MethodParams, Recipe, TrainParams
from cadnet.datasets.manifest import PreparedDataset
from cadnet.training.learner import Learner


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """A training that is ready to begin. ``steps`` is the number of optimiser steps in an epoch."""

    learner: Learner
    data: L.LightningDataModule
    epochs: int
    steps: int


class Job(Protocol):
    """A training to be done, as plain values."""

    @property
    def dataset(self) -> PreparedDataset:
        """What is trained on."""

    @property
    def method(self) -> MethodParams:
        """The network, its options and losses."""

    @property
    def train(self) -> TrainParams:
        """What all methods share."""

    @property
    def seed(self) -> int:
        """Decides the first weights, the order of the data and their augmentation."""

    def identity(self) -> Mapping[str, Any]:
        """Return, as JSON values, all besides the code that decides the weights."""

    def plan(self, cache: Path) -> TrainingPlan:
        """Build networks and data; decoded splits lie in ``cache``."""


def recipe_of(job: Job) -> Recipe:
    """The recipe of the job's family of networks."""
    return job.train.recipes[job.method.recipe]
