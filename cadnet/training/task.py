"""Learners (methods of training) and the Lightning task that trains one."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from cadnet.config import Recipe
from cadnet.evaluation.counts import CountAccumulator, Counts
from cadnet.evaluation.metrics import segmentation_metrics
from cadnet.training.checkpoints import rng_for_epoch
from cadnet.training.optimisers import build_optimizer, build_scheduler, learning_rates
from cadnet.types import PairBatch, SegOutput


@dataclass(frozen=True)
class Outcome:
    """The result of one step.

    ``parts``: scalars, "loss" to differentiate and its parts detached. ``tallies``: name -> (count, total),
    scalars whose sums over an epoch give a fraction, such as the precision of pseudo-labels.
    """

    parts: Mapping[str, Tensor]
    tallies: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


class Learner(nn.Module, ABC):
    """A method of training. All its state is in its parameters and buffers, so that it can be resumed.

    ``network`` is what is validated, kept and used afterwards: ``forward(image, reference) -> SegOutput``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @abstractmethod
    def forward(self, batch: PairBatch, progress: float) -> Outcome:
        """Return the losses of a batch.

        Args:
            batch: of the method's data.
            progress: finished fraction of the run's steps, in [0, 1).
        """

    def companions(self) -> dict[str, nn.Module]:
        """Return further networks that a later training must start from, by name."""
        return {}

    def after_step(self, step: int) -> None:
        """React to the optimiser's ``step``, counted from 0 (moving averages)."""
        del step


class Supervised(Learner):
    """Every training image has its mask."""

    def __init__(self, network: nn.Module, loss: nn.Module) -> None:
        super().__init__(network)
        self.loss = loss

    def forward(self, batch: PairBatch, progress: float) -> Outcome:
        """Return the loss's parts."""
        del progress
        output: SegOutput = self.network(batch.image, batch.reference)
        return Outcome(self.loss(output, batch.mask))


Epoch = dict[str, float | int | None]
"""One row of the history: epoch (from 1), losses, learning rate, seconds, validation metrics (or None)."""


def validation_metrics(pooled: np.ndarray, class_names: tuple[str, ...]) -> dict[str, float | None]:
    """Reduce a pooled confusion matrix int64 (K+1, K+1) to the metrics of the history."""
    one_image = Counts(np.zeros(1, np.int64), pooled[None], np.zeros((len(class_names), 2, 0), np.int64))
    metrics = segmentation_metrics(one_image)
    values = {f"val_iou_{name}": c.iou for name, c in zip(class_names, metrics.classes, strict=True)}
    return values | {"val_miou": metrics.miou, "val_macc": metrics.macc, "val_mfscore": metrics.mfscore}


class SegmentationTask(L.LightningModule):
    """Training of any learner, supervised or not.

    Losses are summed on the device and read once an epoch, so no step waits for the host.
    """

    def __init__(
        self,
        learner: Learner,
        recipe: Recipe,
        class_names: tuple[str, ...],
        batch_size: int,
        total_steps: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.learner, self.recipe = learner, recipe
        self.class_names, self.batch_size = class_names, batch_size
        self.total_steps, self.seed = total_steps, seed
        self.history: list[Epoch] = []
        self.resumed_epochs = 0
        self._sums: dict[str, Tensor] = {}
        self._tallies: dict[str, Tensor] = {}
        self._steps = 0
        self._started = 0.0
        self._train_seconds = 0.0
        self._counts: CountAccumulator | None = None
        self._validation: dict[str, float | None] = {}

    def configure_optimizers(self) -> Any:
        """Return the optimiser and per-step schedule of the recipe."""
        optimizer = build_optimizer(self.learner, self.recipe, self.batch_size)
        scheduler = build_scheduler(optimizer, self.recipe, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        """Reset the sums and make the epoch's randomness a function of its number."""
        rng_for_epoch(self.seed, self.current_epoch)
        self._sums, self._tallies, self._validation = {}, {}, {}
        self._steps, self._started = 0, time.perf_counter()

    def training_step(self, batch: PairBatch, _batch_index: int) -> Tensor:
        """Return the loss and add up its parts on the device."""
        outcome: Outcome = self.learner(batch, self.global_step / self.total_steps)
        for name, value in outcome.parts.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value.detach()
        for name, pair in outcome.tallies.items():
            tally = torch.stack([number.detach().double() for number in pair])
            self._tallies[name] = self._tallies.get(name, torch.zeros_like(tally)) + tally
        self._steps += 1
        return outcome.parts["loss"]

    def on_train_batch_end(self, *_: Any) -> None:
        """Call the learner's hook; Lightning has counted the step already."""
        self.learner.after_step(self.global_step - 1)

    def on_validation_epoch_start(self) -> None:
        """Start counting."""
        self._train_seconds = time.perf_counter() - self._started
        self._counts = CountAccumulator(len(self.class_names), self.device, bins=0)

    def validation_step(self, batch: PairBatch, _batch_index: int) -> None:
        """Count one batch on the device."""
        assert self._counts is not None
        output: SegOutput = self.learner.network(batch.image, batch.reference)
        self._counts.update(output.logits, batch.mask, batch.index)

    def on_validation_epoch_end(self) -> None:
        """Pool the counts of all devices and reduce them to metrics."""
        assert self._counts is not None
        pooled = torch.as_tensor(self._counts.compute().pooled, device=self.device)
        pooled = self.trainer.strategy.reduce(pooled, reduce_op="sum")
        assert isinstance(pooled, Tensor)
        self._validation = validation_metrics(pooled.cpu().numpy(), self.class_names)
        self._counts = None

    def on_train_epoch_end(self) -> None:
        """Append the epoch's row to the history (before the checkpoint callback saves it)."""
        reduce = self.trainer.strategy.reduce
        means = {name: reduce(total / self._steps, reduce_op="mean") for name, total in self._sums.items()}
        optimizer = self.optimizers()
        seconds = self._train_seconds if self._validation else time.perf_counter() - self._started
        fractions = {name: reduce(tally, reduce_op="sum") for name, tally in self._tallies.items()}
        row: Epoch = {"epoch": self.current_epoch + 1}
        row |= {"loss" if k == "loss" else f"loss_{k}": float(v) for k, v in means.items()}
        row |= {name: float(count / total) if total else None for name, (count, total) in fractions.items()}
        row["lr"] = max(learning_rates(optimizer))  # type: ignore[arg-type]
        row["train_seconds"] = round(seconds, 3)
        row["pairs_per_second"] = round(self._steps * self.batch_size / max(seconds, 1e-9), 2)
        self.history.append(row | self._validation)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the history with the state."""
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the history."""
        self.history = checkpoint["history"]
        self.resumed_epochs = len(self.history)
