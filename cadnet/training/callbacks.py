"""What happens at the end of an epoch, in the order that makes a kill harmless, and how progress is shown."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, RichProgressBar

from cadnet.training.learner import Learner
from cadnet.training.task import Epoch, SegmentationTask

MONITOR = "val_miou"
"""The number that chooses the checkpoint; always from the validation split."""


def best_epoch(history: list[Epoch]) -> Epoch | None:
    """Return the row with the highest ``val_miou`` (the latest of equals), or None without any.

    Of equal epochs the latest has learnt most: where validation shows nothing yet, all are 0.
    """
    scored = [row for row in history if MONITOR in row]
    if not scored:
        return None

    # Undefined (no defect in truth or prediction) ranks below every number.
    def score(row: Epoch) -> float:
        value = row[MONITOR]
        return -1.0 if value is None else float(value)

    return max(reversed(scored), key=score)


class EpochEnd(Checkpoint):
    """After each epoch: keep the weights if they are the best, report the row, then save the state.

    Derived from Lightning's ``Checkpoint`` because such callbacks run after the task's own hooks. The state
    is saved last: killed before that, the epoch runs again and does the same again.
    """

    def __init__(
        self,
        state_path: Path,
        save_best: Callable[[Learner, Epoch], None],
        on_epoch: Callable[[Epoch], None] | None,
    ) -> None:
        self.state_path, self.save_best, self.on_epoch = state_path, save_best, on_epoch

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Runs after validation and after the task appended the epoch's row."""
        assert isinstance(pl_module, SegmentationTask)
        row = pl_module.history[-1]
        if trainer.is_global_zero:
            if best_epoch(pl_module.history) is row:
                self.save_best(pl_module.learner, row)
            if self.on_epoch is not None:
                self.on_epoch(row)
        trainer.save_checkpoint(self.state_path)


class ProgressLines(Checkpoint):
    """One plain line an epoch, for logs that are not a terminal."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the finished epoch's row."""
        assert isinstance(pl_module, SegmentationTask)
        if trainer.is_global_zero:
            sys.stdout.write(format_row(pl_module.history[-1], trainer.max_epochs or 0) + "\n")
            sys.stdout.flush()


def format_row(row: Epoch, epochs: int) -> str:
    """Format one epoch's row as one line."""
    numbers = " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in row.items()
        if name != "epoch"
    )
    return f"epoch {row['epoch']}/{epochs} {numbers}"


def progress_callback() -> L.Callback:
    """Return a progress bar for a terminal, plain lines for anything else."""
    return RichProgressBar() if sys.stdout.isatty() else ProgressLines()
