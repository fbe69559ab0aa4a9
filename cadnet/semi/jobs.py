"""The protocol's two trainings: on all labels of one kind of defect, then on few of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cadnet.config import MethodParams, TrainParams
from cadnet.datasets.manifest import PreparedDataset
from cadnet.semi.build import build_learner
from cadnet.semi.data import FewLabelData
from cadnet.training.data import PairData
from cadnet.training.plan import TrainingPlan


@dataclass(frozen=True)
class PretrainingJob:
    """A method learns all labels of ``dataset``, whose classes are one; nothing is unlabelled."""

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
            "labels": "all",
        }

    def plan(self, cache: Path) -> TrainingPlan:
        """Build the networks from the seed."""
        torch.manual_seed(self.seed)
        return TrainingPlan(
            build_learner(self.method, self.train),
            PairData(self.dataset, self.train, self.seed, cache),
            self.train.epochs,
            len(self.dataset.split("train")) // self.train.batch_size,
        )


@dataclass(frozen=True)
class FinetuningJob:
    """A pre-trained method learns few labels of ``dataset``, whose classes are one.

    ``labelled`` and ``unlabelled`` are rows of the train split; only methods that use unlabelled images see
    the second. ``start`` is the folder of the pre-trained weights, ``origin`` the fingerprint of their
    training.
    """

    dataset: PreparedDataset
    method: MethodParams
    train: TrainParams
    seed: int
    labelled: tuple[int, ...]
    unlabelled: tuple[int, ...]
    epochs: int
    steps: int
    start: Path
    origin: str

    def identity(self) -> Mapping[str, Any]:
        """Return all besides the code that decides the weights."""
        return {
            "data": self.dataset.digest,
            "method": self.method.model_dump(),
            "train": self.train.model_dump(),
            "seed": self.seed,
            "labelled": list(self.labelled),
            "unlabelled": list(self.seen_unlabelled),
            "epochs": self.epochs,
            "steps": self.steps,
            "origin": self.origin,
        }

    @property
    def seen_unlabelled(self) -> tuple[int, ...]:
        """Rows that the method sees without labels."""
        return self.unlabelled if self.method.semi is not None else ()

    def plan(self, cache: Path) -> TrainingPlan:
        """Build the networks with the pre-trained weights.

        Raises:
            ValueError: the method needs unlabelled images and there are none.
        """
        if self.method.semi is not None and not self.unlabelled:
            raise ValueError(
                f"method {self.method.title!r} learns from unlabelled images and there are none; raise "
                "semi.unlabelled and draw the label list again with `python -m pipelines.labels`"
            )
        torch.manual_seed(self.seed)
        data = FewLabelData(
            self.dataset,
            self.train,
            self.seed,
            cache,
            labelled=self.labelled,
            unlabelled=self.seen_unlabelled,
            steps=self.steps,
        )
        learner = build_learner(self.method, self.train, self.start)
        return TrainingPlan(learner, data, self.epochs, self.steps)
