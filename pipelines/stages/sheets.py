"""Pictures of samples that a rule chooses: all methods side by side, and what the Siamese network sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from cadnet.config import ProjectParams
from cadnet.datasets.cache import DecodedSplit, decode_split
from cadnet.datasets.device import DevicePairs
from cadnet.datasets.manifest import PreparedDataset
from cadnet.evaluation.selection import RULE, Selection, select_samples
from cadnet.models.weights import load_model
from cadnet.reporting.maps import LEGEND, OWN_SCALES, MapRow, map_png
from cadnet.reporting.overlays import SheetRow, comparison_png
from cadnet.reporting.pages import Figure, Picture
from cadnet.types import BACKGROUND
from pipelines.stages.scoring import SPLIT, read_counts
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
    """Error maps of all methods, one row of them, and maps of the first Siamese method (None without one)."""

    first: Figure
    overlays: Figure
    maps: Figure | None


def sample_pictures(
    dataset: PreparedDataset, trials: Sequence[TrialName], params: ProjectParams
) -> SamplePictures:
    """Draw test samples of ``dataset`` with the methods of ``trials`` at their first seed."""
    shown = _Samples.of(dataset, trials, params)
    overlays = shown.comparison(f"{dataset.name}: test samples {shown.stamp}")
    first = shown.comparison(f"{dataset.name}: one of the test samples below {shown.stamp}", 1)
    siamese = next((title for title, one in shown.predictions.items() if one.distance is not None), None)
    maps = None
    if siamese is not None:
        title = f"{dataset.name}: DistMap and defect probability of {siamese} {shown.stamp}"
        maps = Figure("maps", [shown.maps(title, siamese)], LEGEND, wide=True)
    caption = "White: found, green: missed, red: false, blue: wrong class."
    return SamplePictures(
        Figure("overview", [first], caption, wide=True),
        Figure("overlays", [overlays], f"{caption} {RULE}", wide=True),
        maps,
    )


SAMPLES = 3
"""Test samples on a sheet that has several rows for each."""


def study_maps(dataset: PreparedDataset, trials: Sequence[TrialName], params: ProjectParams) -> Figure:
    """Draw DistMap, probability and prediction of Siamese variants, one below the other (paper Fig. 7)."""
    shown = _Samples.of(dataset, trials, params)
    rows = [
        replace(shown.map_row(number, title), label=f"{title}: {shown.map_row(number, title).label}")
        for number in range(min(SAMPLES, len(shown.chosen)))
        for title, one in shown.predictions.items()
        if one.distance is not None
    ]
    title = f"{dataset.name}: what {', '.join(shown.predictions)} see {shown.stamp}"
    picture = Picture(map_png(rows, title, own_scales=True), f"{title}; {_largest(rows)}.")
    return Figure("variants", [picture], f"{OWN_SCALES} {RULE}", wide=True)


def label_sheet(
    dataset: PreparedDataset,
    trials: Sequence[TrialName],
    supervised: Mapping[str, TrialName],
    params: ProjectParams,
) -> Figure:
    """Draw error maps with a row for each labelled fraction and a column for each method (paper Figs 1, 12).

    Args:
        dataset: with its defects as one class.
        trials: of the few-label grid, of which the first seed is shown.
        supervised: networks that learnt all labels, which are the same in every row, by column title.
        params: of the project.
    """
    own = [trial for trial in trials if trial.seed == trials[0].seed]
    fractions = sorted({trial.fraction or 0.0 for trial in own})
    titles = {trial: params.methods[trial.method].title for trial in own}
    last = {titles[t]: read_counts(t.evaluation / "counts.npz") for t in own if t.fraction == fractions[-1]}
    chosen = select_samples(last, dataset.classes, SAMPLES)
    decoded = decode_split(dataset, SPLIT, CACHE)
    index, pairs = torch.tensor([selection.index for selection in chosen]), DevicePairs(decoded)

    def labels(trial: TrialName) -> np.ndarray:
        # A network that learnt several kinds of defect tells them apart; here they are one.
        return predict(trial, pairs, index).labels.clip(max=1)

    complete = {title: labels(trial) for title, trial in supervised.items()}
    by_fraction = {
        fraction: {titles[trial]: labels(trial) for trial in own if trial.fraction == fraction}
        for fraction in fractions
    }
    rows = []
    for number, selection in enumerate(chosen):
        for fraction, found in by_fraction.items():
            shown = {title: one[number] for title, one in (found | complete).items()}
            row = SheetRow(*_pair(decoded, selection), shown)
            rows.append(replace(row, label=f"{100 * fraction:g} % of the labels; {row.label}"))
    title = f"{dataset.name}: test samples by labelled fraction ({params.run.scale}, seed {own[0].seed})"
    alt = f"{title}; errors of {', '.join(rows[0].predictions)}."
    caption = f"White: found, green: missed, red: false. Samples are chosen at the largest fraction. {RULE}"
    return Figure("overlays", [Picture(comparison_png(rows, title), alt)], caption, wide=True)


@dataclass(frozen=True, eq=False)
class _Samples:
    """Test samples chosen by rule, and what the networks predict on them, by method title."""

    decoded: DecodedSplit
    chosen: Sequence[Selection]
    predictions: Mapping[str, Prediction]
    stamp: str

    @classmethod
    def of(cls, dataset: PreparedDataset, trials: Sequence[TrialName], params: ProjectParams) -> _Samples:
        seed = trials[0].seed
        shown = {params.methods[trial.method].title: trial for trial in trials if trial.seed == seed}
        counts = {title: read_counts(trial.evaluation / "counts.npz") for title, trial in shown.items()}
        chosen = select_samples(counts, dataset.classes, params.evaluate.overlays)
        decoded = decode_split(dataset, SPLIT, CACHE)
        index, pairs = torch.tensor([selection.index for selection in chosen]), DevicePairs(decoded)
        predictions = {title: predict(trial, pairs, index) for title, trial in shown.items()}
        return cls(decoded, chosen, predictions, f"({params.run.scale}, seed {seed})")

    def comparison(self, title: str, count: int | None = None) -> Picture:
        """Error maps of the first ``count`` samples, a column per method."""
        found = self.predictions.items()
        rows = [
            SheetRow(*_pair(self.decoded, item), {title: one.labels[row] for title, one in found})
            for row, item in enumerate(self.chosen[:count])
        ]
        alt = f"Error maps of {', '.join(self.predictions)} on test samples: {len(rows)}."
        return Picture(comparison_png(rows, title), alt)

    def maps(self, title: str, siamese: str) -> Picture:
        """DistMap and defect probability of a Siamese method on every sample."""
        rows = [self.map_row(number, siamese) for number in range(len(self.chosen))]
        return Picture(map_png(rows, title), f"{title}; {_largest(rows)}.")

    def map_row(self, number: int, siamese: str) -> MapRow:
        """What a Siamese method sees on one of the chosen samples."""
        seen = self.predictions[siamese]
        assert seen.distance is not None
        maps = seen.distance[number], seen.probability[number], seen.labels[number]
        return MapRow(*_pair(self.decoded, self.chosen[number]), *maps)


def _largest(rows: Sequence[MapRow]) -> str:
    found = "; ".join(f"{row.label}: {row.distance.max():.2g}" for row in rows)
    return f"largest feature distance of {found}"


def _pair(decoded: DecodedSplit, selection: Selection) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """Label, image and reference uint8 RGB (H, W, 3), and truth."""
    row = selection.index
    return (
        f"{decoded.rows['sample_id'][row]} ({selection.reason})",
        decoded.images[row].transpose(1, 2, 0),
        decoded.references[decoded.reference_index[row]].transpose(1, 2, 0),
        decoded.masks[row],
    )


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
