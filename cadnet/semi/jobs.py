"""The few-label protocol's two trainings: on all labels of one kind of defect, then on few of another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cadnet.config import MethodParams, TrainParams
from cadnet.config.training import CpsParams, DctParams, UamtParams, UapsParams, UccParams
from cadnet.datasets.augment import Augmentation
from cadnet.datasets.device import TrainBatches
from cadnet.datasets.manifest import PreparedDataset
from cadnet.losses.composite import build_loss
from cadnet.models.unet import UNet
from cadnet.models.weights import load_weights
from cadnet.semi.base import SemiBatch
from cadnet.semi.cotraining import AdversarialCoTraining, CrossPseudoSupervision, RotationCoTraining
from cadnet.semi.decoders import CrossHeadCoTraining, MixedPseudoSupervision
from cadnet.semi.uamt import UncertaintyMeanTeacher
from cadnet.training.job import Job, PairData, TrainingPlan, build_network
from cadnet.training.task import Learner, Supervised


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


UNLABELLED_SEED = 500_009
"""Added to the seed, so that the unlabelled stream has an order and an augmentation of its own."""


class FewLabelData(PairData):
    """Validation as usual; training batches of chosen rows, as many as wanted.

    Args:
        dataset: for fine-tuning.
        params: batch size.
        augmentation: of both streams.
        seed: decides order and augmentation.
        cache: folder of decoded splits.
        labelled: rows of the train split whose masks may be used.
        unlabelled: rows that are seen without masks; none gives labelled batches alone.
        steps: batches in an epoch.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        params: TrainParams,
        augmentation: Augmentation,
        seed: int,
        cache: Path,
        *,
        labelled: Sequence[int],
        unlabelled: Sequence[int],
        steps: int,
    ) -> None:
        super().__init__(dataset, params, augmentation, seed, cache)
        self.labelled, self.unlabelled, self.steps = labelled, unlabelled, steps

    def train_dataloader(self) -> TrainBatches | SemiBatches:  # type: ignore[override]
        """Return batches of the labelled rows, paired with as many of unlabelled ones."""
        pairs = self.pairs("train")
        labelled = self.batches(pairs, self.seed, torch.tensor(self.labelled), self.steps)
        if not self.unlabelled:
            return labelled
        seed = self.seed + UNLABELLED_SEED
        return SemiBatches(labelled, self.batches(pairs, seed, torch.tensor(self.unlabelled), self.steps))


SECOND = "second"
"""Folder of the second network's weights beside the first one's."""


def build_learner(method: MethodParams, train: TrainParams, start: Path | None = None) -> Learner:
    """Build a method's networks from torch's generator and what trains them, for one class of defects.

    Args:
        method: what to build.
        train: what all methods share.
        start: folder of initial weights; None starts at random.

    Raises:
        ValueError: the method does not fit its network or its loss.
        FileNotFoundError, cadnet.models.tensors.WeightsError: ``start`` holds no weights of these networks.
    """
    loss = build_loss(method, (1,))

    def network(folder: str = ".") -> nn.Module:
        built = build_network(method, train, 1)
        if start is not None:
            load_weights(start / folder, built)
        return built

    params = method.semi
    match params:
        case None:
            return Supervised(network(), loss)
        case DctParams(variant="rotation"):
            return RotationCoTraining(network(), loss, params)
        case DctParams():
            return AdversarialCoTraining(network(), network(SECOND), loss, params)
        case CpsParams():
            return CrossPseudoSupervision(network(), network(SECOND), loss, params)
        case UamtParams():
            return UncertaintyMeanTeacher(network(), loss, params)
        case UccParams():
            return CrossHeadCoTraining(
                _with_decoders(network(), method, CrossHeadCoTraining.auxiliary), params
            )
        case UapsParams():
            return MixedPseudoSupervision(
                _with_decoders(network(), method, MixedPseudoSupervision.auxiliary), params
            )


def _with_decoders(network: nn.Module, method: MethodParams, auxiliary: int) -> UNet:
    """Return the network if it fits a method of several decoders, else raise ValueError."""
    if not isinstance(network, UNet) or len(network.decoders) != auxiliary + 1 or method.loss != "ce+dice":
        raise ValueError(
            f"method {method.title!r} needs model: unet, options: {{auxiliary: {auxiliary}}} and loss: "
            f"ce+dice; it has model {method.model}, options {method.options} and loss {method.loss}"
        )
    return network


@dataclass(frozen=True)
class PretrainingJob(Job):
    """A method learns all labels of ``dataset``, whose classes are one; nothing is unlabelled."""

    def identity(self) -> Mapping[str, Any]:
        """Return everything besides the code that decides the weights."""
        return {**super().identity(), "labels": "all"}

    def learner(self) -> Learner:
        """Build the method's networks and what trains them."""
        return build_learner(self.method, self.train)


@dataclass(frozen=True)
class FinetuningJob(Job):
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
        """Return everything besides the code that decides the weights."""
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
            ValueError: the method needs unlabelled images and has none.
        """
        if self.method.semi is not None and not self.unlabelled:
            raise ValueError(
                f"method {self.method.title!r} learns from unlabelled images and there are none; raise "
                "semi.unlabelled and generate the label list again with `python -m pipelines.labels`"
            )
        torch.manual_seed(self.seed)
        data = FewLabelData(
            self.dataset,
            self.train,
            self.augmentation,
            self.seed,
            cache,
            labelled=self.labelled,
            unlabelled=self.seen_unlabelled,
            steps=self.steps,
        )
        return TrainingPlan(self.learner(), data, self.epochs, self.steps)
