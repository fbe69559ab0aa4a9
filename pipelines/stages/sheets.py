"""Pictures of samples that a rule chooses: all methods side by side, and what the Siamese network sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from cadnet.config import ProjectParams
from cadnet.datasets.cache import DecodedSplit, decode_split
from cadnet.datasets.device import DevicePairs
from cadnet.datasets.manifest import PreparedDataset
from cadnet.evaluation.selection import RULE, Selection, select_samples
from cadnet.models.weights import load_model
from cadnet.reporting.data import Picture
from cadnet.reporting.maps import LEGEND, MapRow, map_png
from cadnet.reporting.overlays import SheetRow, comparison_png
from cadnet.types import BACKGROUND
from pipelines.stages.evaluate import SPLIT
from pipelines.stages.scoring import read_counts
from pipelines.trials import CACHE, TrialName


class Prediction(NamedTuple):
    """What a network says of B pairs.

    ``labels`` uint8 (B, H, W); ``probability`` of any defect, float32 (B, H, W) in [0, 1]; ``distance``
    float32 (B, h, w), or None for a network that looks at one image.
    """

    labels: np.ndarray
    probability: np.ndarray
    distance: np.ndarray | None


class SamplePictures(NamedTuple):
    """Comparison sheets of all methods, and maps of the first Siamese one (none without one)."""

    overlays: list[Picture]
    maps: list[Picture]


def sample_pictures(
    dataset: PreparedDataset, trials: Sequence[TrialName], params: ProjectParams, what: str = "test samples"
) -> SamplePictures:
    """Draw test samples of ``dataset`` with the methods of ``trials`` at their first seed."""
    seed = trials[0].seed
    shown = {params.methods[trial.method].title: trial for trial in trials if trial.seed == seed}
    counts = {title: read_counts(trial.evaluation / "counts.npz") for title, trial in shown.items()}
    chosen = select_samples(counts, dataset.classes, params.evaluate.overlays)
    decoded = decode_split(dataset, SPLIT, CACHE)
    index = torch.tensor([selection.index for selection in chosen])
    pairs = DevicePairs(decoded)
    predictions = {title: predict(trial, pairs, index) for title, trial in shown.items()}
    stamp = f"({params.run.scale}, seed {seed})"
    overlays = [_comparison(f"{dataset.name}: {what} {stamp}", decoded, chosen, predictions)]
    siamese = next((title for title, one in predictions.items() if one.distance is not None), None)
    if siamese is None:
        return SamplePictures(overlays, [])
    title = f"{dataset.name}: DistMap and defect probability of {siamese} {stamp}"
    return SamplePictures(overlays, [_maps(title, decoded, chosen, predictions[siamese])])


def predict(trial: TrialName, pairs: DevicePairs, index: torch.Tensor) -> Prediction:
    """Run the network of ``trial`` on the pairs ``index``."""
    model, _description = load_model(trial.model)
    batch = pairs.plain(index)
    with torch.inference_mode():
        output = model.eval()(batch.image, batch.reference)
    labels: np.ndarray = output.logits.argmax(dim=1).to(torch.uint8).numpy()
    probability = 1 - output.logits.float().softmax(dim=1)[:, BACKGROUND]
    distance = None if output.distance is None else output.distance[:, 0].float().numpy()
    return Prediction(labels, probability.numpy(), distance)


def _comparison(
    title: str, decoded: DecodedSplit, chosen: Sequence[Selection], predictions: Mapping[str, Prediction]
) -> Picture:
    rows = [
        SheetRow(
            *_pair(decoded, selection),
            predictions={method: one.labels[row] for method, one in predictions.items()},
        )
        for row, selection in enumerate(chosen)
    ]
    caption = f"{title}. White: found, green: missed, red: false. {RULE}"
    alt = f"Error maps of {', '.join(predictions)} on {len(rows)} test samples."
    return Picture(comparison_png(rows, title), caption, alt)


def _maps(title: str, decoded: DecodedSplit, chosen: Sequence[Selection], seen: Prediction) -> Picture:
    assert seen.distance is not None
    rows = [
        MapRow(*_pair(decoded, selection), seen.distance[row], seen.probability[row], seen.labels[row])
        for row, selection in enumerate(chosen)
    ]
    largest = "; ".join(f"{row.label}: {row.distance.max():.2g}" for row in rows)
    return Picture(
        map_png(rows, title), f"{title}. {LEGEND} {RULE}", f"{title}; largest feature distance of {largest}."
    )


def _pair(decoded: DecodedSplit, selection: Selection) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """Label, image and reference uint8 RGB (H, W, 3), and truth."""
    row = selection.index
    return (
        f"{decoded.rows['sample_id'][row]} ({selection.reason})",
        decoded.images[row].transpose(1, 2, 0),
        decoded.references[decoded.reference_index[row]].transpose(1, 2, 0),
        decoded.masks[row],
    )
