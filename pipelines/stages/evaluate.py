"""Stage ``evaluate``: score one trained cell on the test split."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

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
from cadnet.files import atomic_directory, atomic_path, write_json
from cadnet.models.tensors import WeightsError
from cadnet.models.weights import ModelDescription, load_model
from cadnet.tracking.cost import measure_cost
from cadnet.tracking.stage import track_stage
from cadnet.tracking.tracker import metric_points
from cadnet.writing.progress import open_progress
from pipelines.cells import CACHE, CHECKPOINTS, CellName, dataset_folder
from pipelines.stages.command import parse_cell, read_params, run_stage

SPLIT = "test"


def evaluate(cell: CellName, params: ProjectParams) -> None:
    """Score ``cell`` and write its metrics, curves, per-image table and counts."""
    dataset = open_dataset(dataset_folder(cell.dataset))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, description = load_model(cell.model)
    require_weights_of(cell, description, dataset)
    model.to(device)
    decoded = decode_split(dataset, SPLIT, CACHE, progress=True)
    with track_stage(
        cell.tracked(params.run.scale),
        description.metadata["fingerprint"],
        stage="evaluate",
        params={"evaluate": params.evaluate.model_dump()},
    ) as run:
        run.log_dataset(cell.dataset, dataset.digest, str(dataset.root), context="test")
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
        speed = len(decoded.rows) / seconds
        images = per_image_table(counts, dataset.classes, decoded.rows, contrast)
        _write(cell, counts, result, images)
        write_json(
            cell.evaluation / "speed.json", {"eval_pairs_per_second": speed, "device": _device_name(device)}
        )
        run.log_metrics(metric_points({f"test_{name}": value for name, value in result.scalars().items()}))
        run.log_metrics([("eval_pairs_per_second", speed, None)])
        row = decoded.rows.iloc[0]
        cost = measure_cost(model, (int(row["height"]), int(row["width"])), device, pairs_per_second=speed)
        run.log_metrics(metric_points(cost.metrics()))
        run.set_tags({"device": _device_name(device)})
        run.log_table(pd.DataFrame([result.scalars()]), "tables/test_metrics.json")
        run.log_artifacts(cell.evaluation, "evaluation")
    shutil.rmtree(CHECKPOINTS / cell.path, ignore_errors=True)


def require_weights_of(cell: CellName, description: ModelDescription, dataset: PreparedDataset) -> None:
    """Check that a cell's weights come from its own training, so that no other's are scored as its own.

    Raises:
        WeightsError: they do not.
    """
    trained = description.metadata
    cure = f"train the cell again: dvc repro -f -s train@{cell.stage_suffix}"
    if not {"fingerprint", "method", "seed", "dataset"} <= trained.keys():
        raise WeightsError(f"the weights in {cell.model} do not say which training they are of; {cure}")
    for what, wanted in (("method", cell.method), ("seed", cell.seed)):
        if trained[what] != wanted:
            raise WeightsError(
                f"{cell.model} holds weights of {what} {trained[what]!r}, not {wanted!r}; {cure}"
            )
    if trained["dataset"].get("digest") != dataset.digest:
        raise WeightsError(f"{cell.model} holds weights of another state of dataset '{cell.dataset}'; {cure}")


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


def _write(cell: CellName, counts: Counts, result: EvaluationResult, images: pd.DataFrame) -> None:
    with atomic_directory(cell.evaluation) as folder:
        write_json(folder / "result.json", result.to_dict())
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
    cell = parse_cell("Score one cell of the grid on the test split.")
    run_stage(lambda: evaluate(cell, read_params(cell)))


if __name__ == "__main__":
    main()
