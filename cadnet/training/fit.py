"""Training one job, with a state that survives a kill."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint, RichProgressBar

from cadnet.config import TrainParams
from cadnet.models.weights import save_weights
from cadnet.training.checkpoints import SafetensorsIO
from cadnet.training.job import Job
from cadnet.training.task import Epoch, Learner, SegmentationTask

MONITOR = "val_miou"
"""The metric that chooses the checkpoint; always of the validation split."""


def best_epoch(history: list[Epoch]) -> Epoch | None:
    """Return the row with the highest ``val_miou`` (the latest of equals), or None without any.

    Among equals the latest has trained longest: before validation shows anything, all are 0.
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
    """After each epoch: keep the weights if they are the best, pass on the row, then save the state.

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
        """Run after validation and after the task appended the epoch's row."""
        assert isinstance(pl_module, SegmentationTask)
        row = pl_module.history[-1]
        if trainer.is_global_zero:
            if best_epoch(pl_module.history) is row:
                self.save_best(pl_module.learner, row)
            if self.on_epoch is not None:
                self.on_epoch(row)
        trainer.save_checkpoint(self.state_path)


class ProgressLines(Checkpoint):
    """One plain line per epoch, for logs that are not a terminal."""

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


STATE_FILE = "state.safetensors"


@dataclass(frozen=True)
class FitResult:
    """One history row per epoch, and the row whose weights were kept."""

    history: list[Epoch]
    best: Epoch
    resumed_epochs: int
    """Epochs that an earlier, interrupted process had finished."""


def fit(
    job: Job,
    work: Path | str,
    cache: Path | str,
    on_epoch: Callable[[Epoch], None] | None = None,
    metadata: dict[str, Any] | None = None,
) -> FitResult:
    """Train ``job``, or resume it where a killed process stopped.

    ``work`` holds the training state (replaced after each epoch) and the best weights so far
    (``weights.safetensors``, ``model.json`` with ``metadata``). Resumed on a CPU, the weights come out
    bit-identical to an uninterrupted run. ``on_epoch`` receives each history row on the first process; the
    row around a kill may come twice.

    Raises:
        ValueError: no epoch was validated, or crop or batch do not fit the data.
    """
    work, cache = Path(work), Path(cache)
    work.mkdir(parents=True, exist_ok=True)
    _quiet()
    plan = job.plan(cache)
    task = SegmentationTask(
        plan.learner,
        job.method.recipe,
        job.dataset.classes,
        job.train.batch_size,
        total_steps=plan.epochs * plan.steps,
        seed=job.seed,
    )

    def save_best(learner: Learner, row: Epoch) -> None:
        about = {"best": _scores(row), **(metadata or {})}
        # The companions first: weights of an epoch are complete once the main ones exist.
        networks = {work / name: network for name, network in learner.companions().items()}
        for folder, network in (networks | {work: learner.network}).items():
            save_weights(
                folder,
                network,
                name=job.method.model,
                num_classes=job.dataset.num_classes,
                options=job.method.options,
                class_names=job.dataset.classes,
                metadata=about,
            )

    state = work / STATE_FILE
    callbacks = [progress_callback(), EpochEnd(state, save_best, on_epoch)]
    trainer = _build_trainer(job.train, plan.epochs, callbacks)
    trainer.fit(task, datamodule=plan.data, ckpt_path=state if state.is_file() else None)
    best = best_epoch(task.history)
    if best is None:
        raise ValueError(
            f"no epoch was validated: there are {plan.epochs} epochs and train.validate_every "
            f"{job.train.validate_every}; validate at least once"
        )
    return FitResult(task.history, best, task.resumed_epochs)


def _scores(row: Epoch) -> Epoch:
    """Leave out timings, so that equal trainings give equal files."""
    return {name: value for name, value in row.items() if name == "epoch" or name.startswith("val_")}


def _build_trainer(params: TrainParams, epochs: int, callbacks: list[L.Callback]) -> L.Trainer:
    on_gpu = torch.cuda.is_available()
    available = torch.cuda.device_count() if on_gpu else 1
    devices = available if params.devices == "auto" else int(params.devices)
    if on_gpu and devices > available:
        raise ValueError(f"train.devices is {devices} but this machine has {available} GPU(s)")
    bf16 = params.precision == "bf16" or (params.precision == "auto" and on_gpu)
    return L.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        sync_batchnorm=on_gpu and devices > 1,
        precision="bf16-mixed" if bf16 else "32-true",
        max_epochs=epochs,
        check_val_every_n_epoch=params.validate_every,
        gradient_clip_val=params.gradient_clip or None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        plugins=[SafetensorsIO()],
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=True,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(c, L.pytorch.callbacks.ProgressBar) for c in callbacks),
    )


def _quiet() -> None:
    """Silence advice that does not apply: batches come from the device, and teachers stand still."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    advice = r".*(num_workers|logging interval|isinstance\(treespec|in eval mode at the start).*"
    warnings.filterwarnings("ignore", message=advice)
