"""Counting a split with a network, and the files of counts and results."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cadnet.config import EvaluateParams, ProjectParams
from cadnet.datasets.cache import DecodedSplit
from cadnet.datasets.device import DevicePairs, EvalBatches
from cadnet.datasets.manifest import PreparedDataset, open_dataset
from cadnet.evaluation.counts import Counts
from cadnet.evaluation.evaluate import evaluate
from cadnet.evaluation.result import EvaluationResult, evaluation_result
from cadnet.files import read_json, value_digest, write_json
from cadnet.models.weights import ModelDescription
from cadnet.writing.progress import open_progress
from pipelines.trials import TrialName, dataset_folder, takes_one_class

SPLIT = "test"
"""The split that trials are scored on."""


def open_scored(trial: TrialName, name: str, params: ProjectParams) -> PreparedDataset:
    """Open the dataset ``name`` as ``trial`` uses it, see :func:`~pipelines.trials.takes_one_class`."""
    dataset = open_dataset(dataset_folder(name))
    return dataset.as_one_class() if takes_one_class(trial, params) else dataset


def scored_fingerprint(trial: TrialName, description: ModelDescription, dataset: PreparedDataset) -> str:
    """Return what the run of an evaluation is found by: the training's fingerprint, or a cross-test's own."""
    trained = str(description.metadata["fingerprint"])
    return value_digest(trained, dataset.digest) if trial.test else trained


@dataclass(frozen=True)
class Scoring:
    """How networks of the defect classes ``classes`` are scored, on which device."""

    classes: tuple[str, ...]
    params: EvaluateParams
    device: str

    def count(
        self, model: nn.Module, decoded: DecodedSplit, title: str, *, bins: int | None = None
    ) -> tuple[Counts, float]:
        """Count a split, showing progress under ``title``; returns the seconds it took, too.

        ``bins`` are those of the curves, by default as many as the parameters say.
        """
        batches = EvalBatches(DevicePairs(decoded, self.device), self.params.batch_size)
        started = time.perf_counter()
        with open_progress(True, len(decoded.rows), 0, title) as bar:
            counts = evaluate(
                model,
                batches,
                len(decoded.rows),
                self.classes,
                self.device,
                bins=self.params.thresholds if bins is None else bins,
                bf16=self.device == "cuda",
                on_batch=bar.advance,
            )
        return counts, time.perf_counter() - started

    def result(self, counts: Counts, decoded: DecodedSplit, contrast: np.ndarray) -> EvaluationResult:
        """Reduce counts of a split whose defects have the ``contrast``."""
        return evaluation_result(
            counts,
            self.classes,
            decoded.rows,
            self.params.defect_sizes,
            contrast=contrast,
            contrast_bins=self.params.contrast_bins,
        )


THRESHOLD, THRESHOLD_COUNTS = "threshold.json", "threshold-counts.npz"


@dataclass(frozen=True, eq=False)
class Chosen:
    """What the test gives at a ``threshold`` (a probability) that validation images chose."""

    threshold: float
    counts: Counts
    result: EvaluationResult

    def scalars(self) -> dict[str, float]:
        """The headline numbers under flat names."""
        values = self.result.scalars()
        named = {f"{key}_validated": values[key] for key in ("iou_defect", "fscore_defect") if key in values}
        return {"threshold_validated": self.threshold, **named}

    def write(self, folder: Path) -> None:
        """Write it into the folder of an evaluation."""
        write_json(folder / THRESHOLD, {"threshold": self.threshold, "result": self.result.to_dict()})
        write_counts(folder / THRESHOLD_COUNTS, self.counts)

    @classmethod
    def read(cls, folder: Path) -> Chosen:
        """Read what :meth:`write` wrote."""
        kept = read_json(folder / THRESHOLD)
        result = EvaluationResult.from_dict(kept["result"])
        return cls(float(kept["threshold"]), read_counts(folder / THRESHOLD_COUNTS), result)


def write_counts(path: Path, counts: Counts) -> None:
    """Keep the counts, from which every number can be reduced again."""
    np.savez_compressed(path, index=counts.index, confusion=counts.confusion, histograms=counts.histograms)


def read_counts(path: Path) -> Counts:
    """Read what :func:`write_counts` wrote."""
    with np.load(path, allow_pickle=False) as data:
        return Counts(data["index"], data["confusion"], data["histograms"])


def device_name(device: str) -> str:
    """Name of the processor that networks ran on."""
    return torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
