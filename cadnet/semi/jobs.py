"""The protocol's two trainings: on all labels of one kind of defect, then on few of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cadnet.semi.build import build_learner
from cadnet.semi.data import FewLabelData
from cadnet.training.learner import Learner
from cadnet.training.plan import TrainingPlan
from cadnet.training.supervised import TrainingJob


@dataclass(frozen=True)
class PretrainingJob(TrainingJob):
    """A method learns all labels of ``dataset``, whose classes are one; nothing is unlabelled."""

    def identity(self) -> Mapping[str, Any]:
        """Return all besides the code that decides the weights."""
        return {**super().identity(), "labels": "all"}

    def learner(self) -> Learner:
        """Build the method's networks and what trains them."""
        return build_learner(self.method, self.train)


@dataclass(frozen=True)
class FinetuningJob(TrainingJob):
    """A pre-trained method learns few labels of ``dataset``, whose classes are one.

    ``labelled`` and ``unlabelled`` are rows of the train split; only methods that use unlabelled images see
    the second. ``start`` is the folder of the pre-trained weights, ``origin`` the fingerprint of their
    training.
    """

    labelled: tuple[int, ...]
    unlabelled: tuple[int, ...]
    epochs: int
    steps: int
    start: Path
    origin: str

    def identity(self) -> Mapping[str, Any]:
        """Return all besides the code that decides the weights."""
        return {
            **super().identity(),
            "labelled": list(self.labelled),
            "unlabelled": list(self.seen_unlabelled),
            "epochs": self.epochs,
            "steps": self.steps,
            "origin": self.origin,
        }

    def learner(self) -> Learner:
        """Build the method's networks with the pre-trained weights, and what trains them."""
        return build_learner(self.method, self.train, self.start)

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
        return TrainingPlan(self.learner(), data, self.epochs, self.steps)
