"""What a tracked run is about, and the names and tags that make it findable."""

from __future__ import annotations

import contextlib
import getpass
from dataclasses import dataclass
from typing import Any, Literal

from cadnet.config import MethodParams, TrainParams

FinalStatus = Literal["FINISHED", "FAILED", "KILLED"]

TAG_TRIAL = "cadnet.trial"
TAG_FINGERPRINT = "cadnet.fingerprint"
TAG_SUPERSEDED = "cadnet.superseded_fingerprint"
TAG_INVOCATION = "cadnet.invocation"
TAG_KIND = "cadnet.kind"
TAG_ERROR = "cadnet.error"
TAG_SKIPPED = "cadnet.not_finite"
TAG_COMMIT = "cadnet.commit."
TAG_STAGE_STATUS = "cadnet.stage."
TAG_DATASET_DIGEST = "cadnet.dataset_digest."
TAG_WEIGHTS_DIGEST = "cadnet.model_sha256"
TAG_PARENT = "mlflow.parentRunId"
"""The tag by which MLflow's own page draws a run beneath another."""


@dataclass(frozen=True)
class Trial:
    """One trial of the experiment grid: a method trained and scored on a dataset with a seed.

    ``variant`` tells apart trials that share the rest, for example the fraction of labels (``label10``).
    ``scale`` and ``subset`` (the part of a dataset, such as ``line``) are shown and filtered by, and are no
    part of the name.
    """

    dataset: str
    method: str
    seed: int
    task: str = "supervised"
    scale: str = ""
    variant: str = ""
    subset: str = ""

    @property
    def experiment(self) -> str:
        """Name of the experiment the trial belongs to: ``cadnet/<dataset>/<task>``."""
        return f"cadnet/{self.dataset}/{self.task}"

    @property
    def name(self) -> str:
        """Name of the trial within its experiment: ``<method>-<dataset>[-<variant>]-s<seed>``."""
        parts = [self.method, self.dataset, self.variant, f"s{self.seed}"]
        return "-".join(part for part in parts if part)

    def run_name(self, commit: str | None) -> str:
        """Name of the trial's run: the trial and the short commit it was made from."""
        return f"{self.name}-{commit[:7] if commit else 'nogit'}"

    def tags(self) -> dict[str, str]:
        """Tags to filter and compare by."""
        tags = {
            TAG_TRIAL: self.name,
            "dataset": self.dataset,
            "method": self.method,
            "seed": str(self.seed),
            "task": self.task,
        }
        optional = {"scale": self.scale, "variant": self.variant, "subset": self.subset}
        return tags | {key: value for key, value in optional.items() if value}


def user_tags(stage: str) -> dict[str, str]:
    """Tags MLflow's page shows in its own columns: who started what."""
    tags = {"mlflow.source.name": f"cadnet {stage}", "mlflow.source.type": "LOCAL"}
    # A container may run under a user id that has no name.
    with contextlib.suppress(KeyError, OSError):
        tags["mlflow.user"] = getpass.getuser()
    return tags


def training_params(method: MethodParams, train: TrainParams, seed: int) -> dict[str, Any]:
    """Return what a run logs of a training: all of it, and the few settings one compares by."""
    whole = {"method": method.model_dump(), "train": train.model_dump(), "seed": seed}
    return whole | comparable_params(method, train)


def comparable_params(method: MethodParams, train: TrainParams) -> dict[str, str | int | float]:
    """Return the settings to compare trials by, under short names that each method has.

    ``lr`` is the rate really used, scaled with the batch. ``lambda`` and ``decoder`` of a method without them
    are 0 and ``none``, so that it too has a position on the axis.
    """
    recipe = method.recipe
    return {
        "model": method.model,
        "loss": method.loss,
        "lambda": method.contrastive_weight,
        "decoder": str(method.options.get("decoder", "none")),
        "optimizer": recipe.optimizer,
        "schedule": recipe.schedule,
        "lr": recipe.lr * train.batch_size / recipe.reference_batch,
        "weight_decay": recipe.weight_decay,
        "epochs": train.epochs,
        "batch_size": train.batch_size,
        "crop": train.crop,
    }
