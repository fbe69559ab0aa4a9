"""Made-up but plausible studies and cross-tests, and ones whose numbers are given."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from report_fakes import CLASSES, NINE, SIZES, fake_counts, fake_history, fake_manifest

from cadnet.evaluation.bootstrap import Difference, Interval, paired_bootstrap
from cadnet.evaluation.counts import Counts
from cadnet.evaluation.result import evaluation_result
from cadnet.reporting.comparison import merged_differences
from cadnet.reporting.data import CrossTest, Efficiency, Link, MethodRun, Study
from cadnet.reporting.published import published_ablation

STEPS = {
    "CE": {"CE": "✓", "CL": "", "BCL": "", "CAD": ""},
    "CE + CL": {"CE": "✓", "CL": "✓", "BCL": "", "CAD": ""},
    "CE + BCL": {"CE": "✓", "CL": "", "BCL": "✓", "CAD": ""},
    "CADNet": {"CE": "✓", "CL": "", "BCL": "✓", "CAD": "✓"},
}
WEIGHTS = {
    "CADNet, weight 0": 0.0,
    "CADNet, weight 0.001": 0.001,
    "CADNet": 0.02,
    "CADNet, weight 0.1": 0.1,
    "CADNet, weight 1": 1.0,
}
FLAGS = {
    (True, False, False, False): "CE",
    (True, True, False, False): "CE + CL",
    (True, False, True, False): "CE + BCL",
    (True, False, True, True): "CADNet",
}
"""Cross-entropy, CL, BCL and the change-aware decoder, by row."""
LABEL = "weight lambda_2 of the contrastive loss"
KINDS = ("line", "abpt")


def given_run(title: str, seed: int, line: float, abpt: float, validation: float | None = None) -> MethodRun:
    """A run whose IoU is ``line`` and ``abpt`` %, without false alarms; validation mIoU in %."""
    confusion = np.zeros((1, 3, 3), np.int64)
    for k, value in ((1, line), (2, abpt)):
        found = round(10 * value)
        confusion[0, k, k], confusion[0, k, 0] = found, 1000 - found
    confusion[0, 0, 0] = 8000
    history = None
    if validation is not None:
        best = validation / 100
        history = pd.DataFrame({"epoch": [1, 2], "loss": [1.0, 0.5], "val_miou": [best, best - 0.1]})
    counts = Counts(np.arange(1), confusion, np.zeros((2, 2, 0), np.int64))
    result = evaluation_result(counts, CLASSES)
    return MethodRun(title, seed, result, Efficiency(params_m=3.9, gmacs_paper=8.21), history)


def given_difference(low: float, high: float, metric: str = "miou") -> Difference:
    """A difference whose interval is from ``low`` to ``high`` points."""
    middle = (low + high) / 200
    return Difference(metric, middle, 0.0, Interval(low / 100, high / 100, 0.9, 2000), None)


def fake_study(name: str = "ablation", seeds: int = 3) -> Study:
    """The paper's ablation, or with ``lambda`` the weight of the contrastive loss."""
    varied = name == "lambda"
    titles = list(WEIGHTS if varied else STEPS)
    skills = (0.60, 0.63, 0.68, 0.66, 0.40) if varied else (0.58, 0.60, 0.63, 0.68)
    level = dict(zip(titles, skills, strict=True))
    counts = {
        (t, s): fake_counts("CADNet", s + 7 * k, skill=level[t])
        for k, t in enumerate(titles)
        for s in range(seeds)
    }
    runs = []
    for (title, seed), part in counts.items():
        history = fake_history("CADNet", seed + 9 * titles.index(title))
        history["val_miou"] *= level[title] / level["CADNet"]
        result = evaluation_result(part, CLASSES, fake_manifest())
        runs.append(MethodRun(title, seed, result, Efficiency(*SIZES["CADNet"]), history))
    groups = fake_manifest()["group"].tolist()
    parts = {title: [counts[title, seed] for seed in range(seeds)] for title in titles}
    drawn = {
        title: paired_bootstrap(parts["CADNet"], other, CLASSES, groups, resamples=200)
        for title, other in parts.items()
        if title != "CADNet"
    }
    return Study(
        name=name,
        title="Weight of the contrastive loss, SynLCD" if varied else "Ablation: losses and decoder, SynLCD",
        runs=runs,
        base="CADNet",
        factors={t: {"lambda_2": f"{WEIGHTS[t]:g}"} for t in titles} if varied else STEPS,
        text=("All rows have the same encoder, data, schedule and seeds.",),
        published=None if varied else published_ablation(FLAGS),
        axis=(LABEL, WEIGHTS) if varied else None,
        differences={title: one.difference("miou") for title, one in drawn.items()},
        links=(Link("Table (csv)", f"tables/synlcd-{name}.csv"),),
    )


def given_steps(
    scores: dict[str, list[float]], intervals: dict[str, tuple[float, float]] | None = None, **more: object
) -> Study:
    """An ablation whose rows have these mIoUs (%) by seed, with intervals in points."""
    runs = [given_run(title, seed, v, v) for title, values in scores.items() for seed, v in enumerate(values)]
    known = {title: given_difference(*ends) for title, ends in (intervals or {}).items()}
    factors = {title: STEPS[title] for title in scores}
    study = Study("ablation", "Ablation, SynLCD", runs, "CADNet", factors, differences=known)
    return dataclasses.replace(study, **more)


def given_weights(scores: dict[float, list[tuple[float, float | None]]], own: float = 0.02) -> Study:
    """A varied weight, by value the (test, validation) mIoU of every seed; ``own`` is the base's."""
    titles = {value: "CADNet" if value == own else f"CADNet, weight {value:g}" for value in scores}
    runs = [
        given_run(titles[value], seed, test, test, seen)
        for value, pairs in scores.items()
        for seed, (test, seen) in enumerate(pairs)
    ]
    known = {titles[value]: given_difference(-1, 3) for value in scores if value != own}
    return Study(
        name="lambda",
        title="Weight, SynLCD",
        runs=runs,
        base="CADNet",
        factors={title: {"lambda_2": f"{value:g}"} for value, title in titles.items()},
        axis=(LABEL, {title: value for value, title in titles.items()}),
        differences=known,
    )


def given_cross(
    scores: Mapping[str, Mapping[str, Sequence[float]]], interval: tuple[float, float] | None = None
) -> CrossTest:
    """Cross-tests with these IoUs (%) by title, pair and seed; all differences have one interval."""
    kinds = {"L": "line", "A": "abpt"}
    runs: dict[tuple[str, str], list[MethodRun]] = {}
    for title, pairs in scores.items():
        for letters, values in pairs.items():
            key = (kinds[letters[0]], kinds[letters[1]])
            label = 1 + KINDS.index(key[1])
            for seed, value in enumerate(values):
                confusion = np.zeros((1, 3, 3), np.int64)
                confusion[0, label, 1] = found = round(100 * value)
                confusion[0, label, 0], confusion[0, 0, 0] = 10_000 - found, 50_000
                counts = Counts(np.arange(1), confusion, np.zeros((2, 2, 0), np.int64))
                runs.setdefault(key, []).append(MethodRun(title, seed, evaluation_result(counts, CLASSES)))
    drawn = {} if interval is None else {t: given_difference(*interval, "iou_defect") for t in scores}
    crossed = {key: drawn for key in runs if key[0] != key[1]}
    return CrossTest("Cross-testing", runs, {"line": "L", "abpt": "A"}, differences=crossed)


def pair_run(title: str, seed: int, kind: str, iou: float) -> tuple[MethodRun, Counts]:
    """A run on 20 images with defects of one kind, found ``iou`` of each but called a line."""
    confusion = np.zeros((20, 3, 3), np.int64)
    rng = np.random.default_rng([seed, sum(map(ord, title + kind))])
    label = 1 + KINDS.index(kind)
    for i in range(20):
        found = round(1000 * float(np.clip(iou + rng.normal(0, 0.02 * (iou > 0.05)), 0, 1)))
        confusion[i, label, 1] += found
        confusion[i, label, 0] += 1000 - found
        confusion[i, 0, 0] = 15_000
    counts = Counts(np.arange(20), confusion, np.zeros((2, 2, 0), np.int64))
    return MethodRun(title, seed, evaluation_result(counts, CLASSES)), counts


def fake_cross(titles: Sequence[str] = NINE, seeds: int = 3) -> CrossTest:
    """Defects of the kind trained on are well found by all, unseen ones by hardly any but CADNet."""
    unseen = {title: 0.45 if title == "CADNet" else 0.002 for title in titles} | {"UPerNet (smp)": 0.03}
    runs, differences = {}, {}
    for trained in KINDS:
        for tested in KINDS:
            harder = 0.7 if tested == "abpt" else 1.0
            found = []
            for place, title in enumerate(titles):
                iou = 0.7 - 0.03 * place if trained == tested else harder * unseen[title]
                found += [pair_run(title, seed, tested, iou) for seed in range(seeds)]
            runs[trained, tested] = [run for run, _ in found]
            if trained != tested:
                counts = [part for _, part in found]
                drawn = merged_differences(runs[trained, tested], counts, resamples=200)
                differences[trained, tested] = drawn
    return CrossTest(
        title="Cross-testing: unseen kinds of defects",
        runs=runs,
        short={"line": "L", "abpt": "A"},
        text=("Each network was trained on one kind of defect and tested on each.",),
        links=(Link("Table (csv)", "tables/cross.csv"),),
        differences=differences,
    )
