"""Stage ``evaluate``: score one trained cell on the test split of its own or (cross-test) another dataset."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from cadnet.config import ProjectParams
from cadnet.datasets.cache import DecodedSplit, decode_split
from cadnet.datasets.device import DevicePairs, EvalBatches
from cadnet.datasets.manifest import PreparedDataset, open_dataset
from cadnet.evaluation.contrast import defect_contrast
from cadnet.evaluation.counts import Counts
from cadnet.evaluation.evaluate import evaluate as count
from cadnet.evaluation.result import EvaluationResult, evaluation_result, per_image_table
from cadnet.files import atomic_directory, atomic_path, value_digest, write_json
from cadnet.models.tensors import WeightsError
from cadnet.models.weights import ModelDescription, load_model
from cadnet.tracking.cost import measure_cost, training_params
from cadnet.tracking.stage import track_stage
from cadnet.tracking.tracker import metric_points
from cadnet.writing.progress import open_progress
from pipelines.cells import CACHE, CHECKPOINTS, CellName, dataset_folder, tracked, training_stage
from pipelines.stages.command import parse_cell, read_params, run_stage

SPLIT = "test"


def evaluate(cell: CellName, params: ProjectParams) -> None:
    """Score ``cell`` and write its metrics, curves, per-image table, counts and cost."""
    dataset = open_dataset(dataset_folder(cell.test_dataset))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, description = load_model(cell.model)
    require_weights_of(cell, description, dataset, training_stage(cell, params))
    model.to(device)
    decoded = decode_split(dataset, SPLIT, CACHE, progress=True)
    with track_stage(
        tracked(cell, params),
        scored_fingerprint(cell, description, dataset),
        stage="evaluate",
        params=_tracked_params(cell, params),
    ) as run:
        run.log_dataset(cell.test_dataset, dataset.digest, str(dataset.root), context="test")
        counts, seconds = _count(model, decoded, dataset, params, device)
        contrast = defect_contrast(decoded.images, decoded.references, decoded.reference_index, decoded.masks)
        result = evaluation_result(
            counts,
            dataset.classes,
            decoded.rows,
            params.evaluate.defect_sizes,
            contrast=contrast,
            contrast_bins=params.evaluate.contrast_bins,
        )
        images = per_image_table(counts, dataset.classes, decoded.rows, contrast)
        size = (int(decoded.rows["height"].iloc[0]), int(decoded.rows["width"].iloc[0]))
        cost = measure_cost(model, size, device, pairs_per_second=len(decoded.rows) / seconds)
        _write(cell, counts, result, images, asdict(cost) | {"device": _device_name(device), "size": size[0]})
        run.log_metrics(metric_points({f"test_{name}": value for name, value in result.scalars().items()}))
        run.log_metrics(metric_points(cost.metrics()))
        run.set_tags({"device": _device_name(device)})
        run.log_table(pd.DataFrame([result.scalars()]), "tables/test_metrics.json")
        run.log_artifacts(cell.evaluation, "evaluation")
    shutil.rmtree(CHECKPOINTS / cell.path, ignore_errors=True)


def scored_fingerprint(cell: CellName, description: ModelDescription, dataset: PreparedDataset) -> str:
    """What the run of the evaluation is found by: that of the training, or a cross-test's own."""
    trained = str(description.metadata["fingerprint"])
    return value_digest(trained, dataset.digest) if cell.test else trained


def require_weights_of(
    cell: CellName, description: ModelDescription, dataset: PreparedDataset, stage: str
) -> None:
    """Check that a cell's weights come from its own training, so that no other's are scored as its own.

    Args:
        cell: what is scored.
        description: of the weights that lie in the cell's place.
        dataset: what they are scored on.
        stage: the DVC stage that trains the cell.

    Raises:
        WeightsError: they do not, or they know other classes than a cross-test's dataset.
    """
    trained = description.metadata
    cure = f"train the cell again: dvc repro -f -s {stage}"
    if not {"fingerprint", "method", "seed", "dataset"} <= trained.keys():
        raise WeightsError(f"the weights in {cell.model} do not say which training they are of; {cure}")
    for what, wanted in (("method", cell.method), ("seed", cell.seed)):
        if trained[what] != wanted:
            raise WeightsError(
                f"{cell.model} holds weights of {what} {trained[what]!r}, not {wanted!r}; {cure}"
            )
    if cell.dataset != trained["dataset"].get("name"):
        wrong = trained["dataset"].get("name")
        raise WeightsError(f"{cell.model} holds weights of dataset {wrong!r}, not {cell.dataset!r}; {cure}")
    if cell.test_dataset == cell.dataset and trained["dataset"].get("digest") != dataset.digest:
        raise WeightsError(f"{cell.model} holds weights of another state of dataset '{cell.dataset}'; {cure}")
    if tuple(description.class_names) != dataset.classes:
        raise WeightsError(
            f"{cell.model} knows the classes {list(description.class_names)}, dataset "
            f"'{cell.test_dataset}' has {list(dataset.classes)}; only datasets of equal classes can be "
            "cross-tested"
        )


def _tracked_params(cell: CellName, params: ProjectParams) -> dict[str, Any]:
    """The evaluation's own parameters; a cross-test's run holds no training, so it repeats those."""
    own = {"evaluate": params.evaluate.model_dump()}
    if not cell.test:
        return own
    return own | training_params(params.methods[cell.method], params.train, cell.seed)


def _count(
    model: nn.Module, decoded: DecodedSplit, dataset: PreparedDataset, params: ProjectParams, device: str
) -> tuple[Counts, float]:
    batches = EvalBatches(DevicePairs(decoded, device), params.evaluate.batch_size)
    started = time.perf_counter()
    with open_progress(True, len(decoded.rows), 0, f"scoring {dataset.name}") as bar:
        counts = count(
            model,
            batches,
            len(decoded.rows),
            dataset.classes,
            device,
            bins=params.evaluate.thresholds,
            bf16=device == "cuda",
            on_batch=bar.advance,
        )
    return counts, time.perf_counter() - started


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"


def _write(
    cell: CellName, counts: Counts, result: EvaluationResult, images: pd.DataFrame, cost: dict[str, Any]
) -> None:
    with atomic_directory(cell.evaluation) as folder:
        write_json(folder / "result.json", result.to_dict())
        write_json(folder / "cost.json", cost)
        images.to_csv(folder / "images.csv", index=False)
        write_counts(folder / "counts.npz", counts)
    with atomic_path(cell.curves) as temporary:
        curve_table(result).to_csv(temporary, index=False)
    write_json(cell.metrics, {name: round(value, 6) for name, value in result.scalars().items()})


def write_counts(path: Path, counts: Counts) -> None:
    """Keep the counts, from which every number can be reduced again."""
    np.savez_compressed(path, index=counts.index, confusion=counts.confusion, histograms=counts.histograms)


def read_counts(path: Path) -> Counts:
    """Read what :func:`write_counts` wrote."""
    with np.load(path, allow_pickle=False) as data:
        return Counts(data["index"], data["confusion"], data["histograms"])


def curve_table(result: EvaluationResult) -> pd.DataFrame:
    """Precision, recall and F-score by threshold, one row per class and threshold."""
    tables = [
        pd.DataFrame(
            {
                "class": name,
                "threshold": curve.thresholds,
                "precision": curve.precision,
                "recall": curve.recall,
                "fscore": curve.fscore,
            }
        )
        for name, curve in zip(result.class_names, result.curves, strict=True)
    ]
    return pd.concat(tables, ignore_index=True)


def main() -> None:
    """Entry of ``python -m pipelines.stages.evaluate``."""
    cell = parse_cell("Score one cell of a grid on a test split.", cross=True)
    run_stage(lambda: evaluate(cell, read_params(cell)))


if __name__ == "__main__":
    main()
