"""Few-label jobs of small methods on fake datasets; as a command, fine-tuning in several processes."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from cadnet.config import MethodParams, Recipe, TrainParams
from cadnet.datasets.manifest import open_dataset
from cadnet.semi.jobs import FinetuningJob, PretrainingJob
from cadnet.training.fit import fit

RECIPE = Recipe(optimizer="adamw", lr=0.01, weight_decay=0.0, schedule="cosine")
LABELLED, UNLABELLED = tuple(range(4)), tuple(range(10, 16))
KINDS = {"dct": 0, "uamt": 0, "cps": 0, "ucc": 1, "uaps": 3}
"""Methods with the auxiliary decoders they need."""


def method(kind: str) -> MethodParams:
    return MethodParams.model_validate(
        {
            "title": kind,
            "model": "unet",
            "options": {"width": 4, "auxiliary": KINDS.get(kind, 0)},
            "family": "small",
            "recipe": RECIPE,
            "loss": "ce+dice",
            "semi": {"kind": kind} if kind in KINDS else None,
        }
    )


def train(epochs: int, devices: int = 1, precision: str = "fp32") -> TrainParams:
    return TrainParams.model_validate(
        {
            "epochs": epochs,
            "batch_size": 4,
            "crop": 32,
            "precision": precision,
            "devices": devices,
        }
    )


def pretraining(dataset: Path, kind: str) -> PretrainingJob:
    return PretrainingJob(open_dataset(dataset).as_one_class(), method(kind), train(1), seed=3)


def finetuning(
    dataset: Path, kind: str, start: Path, epochs: int, devices: int = 1, precision: str = "fp32"
) -> FinetuningJob:
    return FinetuningJob(
        open_dataset(dataset).as_one_class(),
        method(kind),
        train(epochs, devices, precision),
        seed=3,
        labelled=LABELLED,
        unlabelled=UNLABELLED,
        epochs=epochs,
        steps=3,
        start=start,
        origin="a",
    )


if __name__ == "__main__":
    folder, target, *starts = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    for start in starts:
        # Named by the method, as its folder of the pretraining is.
        job = finetuning(folder, start.name, start, epochs=1, devices=2)
        fit(job, target / start.name, target / "cache")
