"""Stage ``evaluate``: score a trained trial on the test split of its own or (cross-test) another dataset."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from cadnet.config import ProjectParams
from cadnet.datasets.cache import DecodedSplit, decode_split
from cadnet.datasets.manifest import PreparedDataset
from cadnet.evaluation.counts import Counts
from cadnet.evaluation.curves import best_threshold
from cadnet.evaluation.evaluate import Thresholded
from cadnet.evaluation.result import EvaluationResult, per_image_table
from cadnet.evaluation.slices import defect_contrast
from cadnet.files import atomic_directory, atomic_path, write_json
from cadnet.models.tensors import WeightsError
from cadnet.models.weights import ModelDescription, load_model
from cadnet.tracking import metric_points, track_stage
from cadnet.tracking.trials import training_params
from pipelines.stages.command import parse_trial, read_params, run_stage
from pipelines.stages.cost import measure_cost
from pipelines.stages.scoring import (
    SPLIT,
    Chosen,
    Scoring,
    device_name,
    open_scored,
    scored_fingerprint,
    write_counts,
)
from pipelines.trials import (
    CACHE,
    CHECKPOINTS,
    TrialName,
    tracked,
    trained_on,
    training_stage,
)


def evaluate(trial: TrialName, params: ProjectParams) -> None:
    """Score ``trial`` and write its metrics, curves, per-image table, counts and cost."""
    dataset = open_scored(trial, trial.test_dataset, params)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, description = load_model(trial.model)
    require_weights_of(trial, description, dataset, params)
    model.to(device)
    decoded = decode_split(dataset, SPLIT, CACHE, progress=True)
    with track_stage(
        tracked(trial, params),
        scored_fingerprint(trial, description, dataset),
        stage="evaluate",
        params=_tracked_params(trial, params),
    ) as run:
        run.log_dataset(trial.test_dataset, dataset.digest, str(dataset.root), context="test")
        scoring = Scoring(dataset.classes, params.evaluate, device)
        counts, seconds = scoring.count(model, decoded, f"scoring {dataset.name}")
        contrast = defect_contrast(decoded.images, decoded.references, decoded.reference_index, decoded.masks)
        result = scoring.result(counts, decoded, contrast)
        images = per_image_table(counts, dataset.classes, decoded.rows, contrast)
        size = (int(decoded.rows["height"].iloc[0]), int(decoded.rows["width"].iloc[0]))
        cost = measure_cost(model, size, device, pairs_per_second=len(decoded.rows) / seconds)
        chosen = None if trial.fraction is None else _choose(trial, params, model, decoded, scoring, contrast)
        about = asdict(cost) | {"device": device_name(device), "size": size[0]}
        _write(trial, counts, result, images, about, chosen)
        run.log_metrics(metric_points({f"test_{name}": value for name, value in result.scalars().items()}))
        if chosen is not None:
            run.log_metrics(metric_points({f"test_{k}": value for k, value in chosen.scalars().items()}))
        run.log_metrics(metric_points(cost.metrics()))
        run.set_tags({"device": device_name(device)})
        run.log_table(pd.DataFrame([result.scalars()]), "tables/test_metrics.json")
        run.log_artifacts(trial.evaluation, "evaluation")
    # Of the training only what it came to is kept, in case its stage runs again.
    for folder in (CHECKPOINTS / trial.path).glob("*"):
        if folder.name == str(description.metadata["fingerprint"])[:16]:
            for state in folder.glob("state.*"):
                state.unlink()
        else:
            shutil.rmtree(folder)


def _choose(
    trial: TrialName,
    params: ProjectParams,
    model: nn.Module,
    decoded: DecodedSplit,
    scoring: Scoring,
    contrast: np.ndarray,
) -> Chosen:
    """Score ``trial`` at the threshold that suits the validation images of what it learnt from."""
    own = open_scored(trial, trained_on(trial, params), params)
    validation, _ = scoring.count(model, decode_split(own, "val", CACHE), f"threshold from {own.name}")
    threshold = best_threshold(validation)
    thresholded = Thresholded(model, threshold).to(scoring.device)
    counts, _ = scoring.count(thresholded, decoded, f"scoring at {threshold:.2g}", bins=0)
    return Chosen(threshold, counts, scoring.result(counts, decoded, contrast))


def require_weights_of(
    trial: TrialName, description: ModelDescription, dataset: PreparedDataset, params: ProjectParams
) -> None:
    """Check that a trial's weights come from its own training, so that no other's are scored as its own.

    Args:
        trial: what is scored.
        description: of the weights in the trial's folder.
        dataset: what they are scored on.
        params: of the project.

    Raises:
        WeightsError: they come from another training, or have other classes than the dataset.
    """
    trained = description.metadata
    hint = f"train the trial again: dvc repro -f -s {training_stage(trial, params)}"
    learnt = trained_on(trial, params)
    if not {"fingerprint", "method", "seed", "dataset"} <= trained.keys():
        raise WeightsError(f"the weights in {trial.model} do not say which training they are of; {hint}")
    for what, wanted in (("method", trial.method), ("seed", trial.seed)):
        if trained[what] != wanted:
            raise WeightsError(
                f"{trial.model} holds weights of {what} {trained[what]!r}, not {wanted!r}; {hint}"
            )
    if learnt != trained["dataset"].get("name"):
        wrong = trained["dataset"].get("name")
        raise WeightsError(f"{trial.model} holds weights of dataset {wrong!r}, not {learnt!r}; {hint}")
    if trial.test_dataset == learnt and trained["dataset"].get("digest") != dataset.digest:
        raise WeightsError(f"{trial.model} holds weights of another state of dataset '{learnt}'; {hint}")
    if tuple(description.class_names) != dataset.classes:
        raise WeightsError(
            f"{trial.model} knows the classes {list(description.class_names)}, dataset "
            f"'{trial.test_dataset}' has {list(dataset.classes)}; only datasets of equal classes can be "
            "cross-tested"
        )


def _tracked_params(trial: TrialName, params: ProjectParams) -> dict[str, Any]:
    """The evaluation's own parameters; a cross-test's run holds no training, so it repeats those."""
    own = {"evaluate": params.evaluate.model_dump()}
    if not trial.test:
        return own
    return own | training_params(params.methods[trial.method], params.train, trial.seed)


def _write(
    trial: TrialName,
    counts: Counts,
    result: EvaluationResult,
    images: pd.DataFrame,
    cost: dict[str, Any],
    chosen: Chosen | None,
) -> None:
    scalars = result.scalars()
    with atomic_directory(trial.evaluation) as folder:
        write_json(folder / "result.json", result.to_dict())
        write_json(folder / "cost.json", cost)
        images.to_csv(folder / "images.csv", index=False)
        write_counts(folder / "counts.npz", counts)
        if chosen is not None:
            chosen.write(folder)
            scalars |= chosen.scalars()
    with atomic_path(trial.curves) as temporary:
        curve_table(result).to_csv(temporary, index=False)
    write_json(trial.metrics, {name: round(value, 6) for name, value in scalars.items()})


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
    trial = parse_trial("Score one trial of a grid on a test split.", scored=True)
    run_stage(lambda: evaluate(trial, read_params(trial)))


if __name__ == "__main__":
    main()
