"""Made-up but plausible comparisons with few labels, and ones whose numbers are given."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from report_fakes import fake_row
from study_fakes import given_difference

from cadnet.evaluation.counts import Counts
from cadnet.evaluation.result import EvaluationResult, evaluation_result
from cadnet.reporting.comparison import merged_differences
from cadnet.reporting.data import FewLabelRun, FewLabels, Link, MethodRun, Picture
from cadnet.reporting.overlays import comparison_png

CLASS = ("defect",)
SHARES = (0.0, 0.05, 0.1, 0.15)
COMBINED = ("CADNet + UAPS", "CADNet + CPS")
LEVELS = {
    "DCT": (0.001, 0.50, 0.66, 0.70),
    "UAMT": (0.004, 0.56, 0.63, 0.71),
    "CPS": (0.011, 0.60, 0.64, 0.73),
    "UCC": (0.0, 0.55, 0.66, 0.70),
    "UAPS": (0.008, 0.57, 0.70, 0.775),
    "CADNet": (0.44, 0.75, 0.78, 0.80),
    "CADNet + UAPS": (None, 0.77, 0.785, 0.80),
    "CADNet + CPS": (None, 0.755, 0.79, 0.802),
}
"""IoU of every method at each of :data:`SHARES`."""

Given = Mapping[str, Mapping[float, Sequence[float]]]


EMPTY = FewLabels("Few labels", {}, 0.8, "SynLCD", "PKU-PCB")
SCORES: Given = {
    "UAPS": {0.0: [0.4, 0.5, 0.6], 0.05: [50, 51, 52]},
    "CPS": {0.0: [1.0, 1.0, 1.0], 0.05: [55, 56, 57]},
    "CADNet": {0.0: [40, 41, 42], 0.05: [80, 81, 82]},
}
CLEAR = {share: {"UAPS": (20, 40), "CPS": (15, 30)} for share in (0.0, 0.05)}
"""Intervals with which every lead of :data:`SCORES` is clear."""


def changed(title: str, share: float, values: list[float]) -> dict[str, dict[float, Sequence[float]]]:
    """:data:`SCORES` with other numbers of one method at one share."""
    return {name: {**of, **({share: values} if name == title else {})} for name, of in SCORES.items()}


def counts_of(confusion: np.ndarray) -> Counts:
    return Counts(np.arange(len(confusion)), confusion, np.zeros((1, 2, 0), np.int64))


def given_result(iou: float) -> EvaluationResult:
    """An IoU (%) without false alarms, of one image."""
    confusion = np.zeros((1, 2, 2), np.int64)
    found = round(100 * iou)
    confusion[0, 1, 1], confusion[0, 1, 0], confusion[0, 0, 0] = found, 10_000 - found, 50_000
    return evaluation_result(counts_of(confusion), CLASS)


def given_few(
    scores: Given,
    intervals: Mapping[float, Mapping[str, tuple[float, float]]] | None = None,
    validated: Given | None = None,
    **more: object,
) -> FewLabels:
    """A comparison with these IoUs (%) by title, share and seed; intervals in points by share and title."""
    runs: dict[float, list[FewLabelRun]] = {}
    for title, shares in scores.items():
        for share, values in shares.items():
            chosen = (validated or {}).get(title, {}).get(share, values)
            for seed, (value, other) in enumerate(zip(values, chosen, strict=True)):
                run = MethodRun(title, seed, given_result(value))
                runs.setdefault(share, []).append(FewLabelRun(run, 0.5, given_result(other)))
    drawn = {
        share: {title: given_difference(*ends, "iou_defect") for title, ends in known.items()}
        for share, known in (intervals or {}).items()
    }
    few = FewLabels("Few labels", runs, 0.8, "SynLCD", "PKU-PCB", differences=drawn)
    return dataclasses.replace(few, **more)


def few_counts(title: str, seed: int, level: float, images: int = 24) -> Counts:
    """Counts whose IoU is about ``level``; every third image is clean and has a few false alarms."""
    rng = np.random.default_rng([seed, sum(map(ord, title))])
    confusion = np.zeros((images, 2, 2), np.int64)
    for i in range(images):
        share = float(np.clip(level + rng.normal(0, 0.03 * (level > 0.05)), 0, 1))
        found, clean = round(900 * share), i % 3 == 2
        confusion[i] = [[15_000, rng.integers(0, 30)], [0, 0]]
        if not clean:
            confusion[i, 1] = 900 - found, found
    return counts_of(confusion)


def few_history(title: str, share: float, seed: int, epochs: int = 20) -> pd.DataFrame | None:
    """Pseudo-labels of the methods that have them; DCT knows only how its networks disagree."""
    if share == 0 or title == "CADNet":
        return None
    rng, epoch = np.random.default_rng([seed, len(title)]), np.arange(1, epochs + 1)
    rise = 1 - np.exp(-epoch / (8 - 20 * share))
    history = pd.DataFrame({"epoch": epoch, "loss": 1 - 0.7 * rise, "val_miou": 0.7 * rise})
    history["disagreement"] = 0.05 * (1 - 0.8 * rise) + rng.uniform(0, 0.004, epochs)
    if title != "DCT":
        better = 0.02 * (list(LEVELS).index(title) - 4)
        history["pseudo_precision"] = 0.5 + (0.35 + better) * rise + rng.normal(0, 0.01, epochs)
        history["pseudo_recall"] = (0.3 + 2 * share + better) * rise + rng.normal(0, 0.01, epochs)
        # Nothing is taken for a label before the networks have warmed up.
        history.loc[:2, ["pseudo_precision", "pseudo_recall"]] = np.nan
    return history


def fake_few(seeds: int = 3, levels: Mapping[str, Sequence[float | None]] = LEVELS) -> FewLabels:
    """The paper's order at every share, thresholds that matter without labels, and two combined methods."""
    runs: dict[float, list[FewLabelRun]] = {}
    differences = {}
    for place, share in enumerate(SHARES):
        known = {title: row[place] for title, row in levels.items() if row[place] is not None}
        counts = {(t, s): few_counts(t, s, level) for t, level in known.items() for s in range(seeds)}
        for (title, seed), part in counts.items():
            level = known[title]
            # What a better threshold is worth: much where nothing was tuned on this kind of image.
            chosen = few_counts(title, seed, level + (0.05 if share == 0 else 0.012))
            result = evaluation_result(part, CLASS)
            run = MethodRun(title, seed, result, history=few_history(title, share, seed))
            more = FewLabelRun(run, 0.35 + 0.02 * len(title), evaluation_result(chosen, CLASS))
            runs.setdefault(share, []).append(more)
        drawn = merged_differences([one.run for one in runs[share]], list(counts.values()), resamples=200)
        differences[share] = drawn
    title = "Few labels: 5 % labelled (small scale; seed 0)"
    sheet = comparison_png([fake_row(i, titles=("CADNet", "UAPS", "CPS")) for i in range(2)], title)
    return FewLabels(
        title="Few labels: PKU-PCB",
        runs=runs,
        unlabelled=0.8,
        pretrained_on="SynLCD",
        tested_on="PKU-PCB",
        combined=COMBINED,
        text=("Every network was pre-trained on SynLCD and then given a share of the labels of PKU-PCB.",),
        differences=differences,
        overlays=(Picture(sheet, f"{title}.", "Two samples with predictions of three methods."),),
        links=(Link("Table (csv)", "tables/few-labels.csv"),),
    )
