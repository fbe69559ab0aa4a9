"""Made-up but plausible runs, pictures and reports, drawn from a seed."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pandas as pd

from cadnet.evaluation.counts import Counts
from cadnet.evaluation.result import EvaluationResult, evaluation_result
from cadnet.reporting.comparison import compare_methods
from cadnet.reporting.data import (
    Comparison,
    DatasetReport,
    Efficiency,
    Link,
    MethodRun,
    Picture,
    ReportData,
    Section,
)
from cadnet.reporting.maps import LEGEND, MapRow, map_png
from cadnet.reporting.overlays import SheetRow, comparison_png

CLASSES = ("line", "abpt")
SCALE = "small scale: 128 px, 10 epochs"
PIXELS = 128 * 128
MVTEC = (
    "bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw",
    "tile", "toothbrush", "transistor", "wood", "zipper",
)  # fmt: skip
THREE = ("CADNet", "SegFormer", "DeepLabV3+")
SEVEN = (*THREE, "OCRNet", "DANet", "PSPNet", "FCN")
NINE = (*SEVEN, "Unet++ (smp)", "UPerNet (smp)")
SKILL = {
    "CADNet": (0.78, 0.55),
    "SegFormer": (0.68, 0.46),
    "DeepLabV3+": (0.62, 0.40),
    "OCRNet": (0.60, 0.41),
    "DANet": (0.58, 0.38),
    "PSPNet": (0.57, 0.36),
    "FCN": (0.50, 0.33),
    "Unet++ (smp)": (0.64, 0.44),
    "UPerNet (smp)": (0.66, 0.43),
}
SIZES = {"CADNet": (3.90, 8.21), "SegFormer": (3.72, 6.37), "DeepLabV3+": (43.58, 176.22)}


def fake_manifest(images: int = 60) -> pd.DataFrame:
    """Three patterns, every second image defective."""
    return pd.DataFrame(
        {
            "sample_id": [f"mixed_p{8 + i % 3:02d}_{i:04d}" for i in range(images)],
            "subset": "mixed",
            "group": [f"pattern {8 + i % 3:02d}" for i in range(images)],
            "has_defect": [i % 2 == 0 for i in range(images)],
        }
    )


def fake_counts(
    title: str,
    seed: int,
    images: int = 60,
    classes: Sequence[str] = CLASSES,
    skill: float | None = None,
) -> Counts:
    """Counts with an IoU near the method's skill; what is true is the same for all methods and seeds."""
    truth, rng = np.random.default_rng(99), np.random.default_rng([seed, sum(map(ord, title))])
    number = len(classes)
    level = np.resize(SKILL[title] if skill is None else skill, number)
    level = level - 0.25 * np.linspace(0, 1, number) + rng.normal(0, 0.02, number)
    defects = np.arange(1, number + 1)
    confusion = np.zeros((images, number + 1, number + 1), np.int64)
    for i in range(images):
        sizes = truth.integers(10, 900, number) * (i % 2 == 0) * (truth.random(number) < 2.5 / number)
        found = (sizes * np.clip(level + rng.normal(0, 0.1, number), 0, 1)).astype(int)
        alarms = (sizes * rng.uniform(0, 0.1, number)).astype(int)
        alarms += (rng.random() < 0.15) * rng.integers(0, 9, number)
        confusion[i, defects, defects] = found
        confusion[i, defects, 0] = sizes - found
        confusion[i, 0, defects] = alarms
        confusion[i, 0, 0] = PIXELS - confusion[i].sum()
    return Counts(np.arange(images), confusion, fake_histograms(rng, level))


def fake_result(
    title: str, seed: int, images: int = 60, classes: Sequence[str] = CLASSES
) -> EvaluationResult:
    contrast = np.where(np.arange(images) % 2 == 0, np.random.default_rng(5).gamma(2, 20, images), np.nan)
    counts = fake_counts(title, seed, images, classes)
    return evaluation_result(counts, classes, fake_manifest(images), (0.001, 0.01), contrast=contrast)


def fake_histograms(rng: np.random.Generator, skill: np.ndarray, bins: int = 100) -> np.ndarray:
    histograms = np.zeros((len(skill), 2, bins), np.int64)
    for k, level in enumerate(skill):
        good, bad = rng.beta(1 + 5 * level, 1.2, 20_000), rng.beta(0.25, 2 + 6 * level, 60_000)
        histograms[k, 1] = np.histogram(good, bins, (0, 1))[0]
        histograms[k, 0] = np.histogram(bad, bins, (0, 1))[0]
    return histograms


def fake_history(title: str, seed: int, epochs: int = 10) -> pd.DataFrame:
    rng, epoch = np.random.default_rng(seed), np.arange(1, epochs + 1)
    ce = 0.5 * np.exp(-epoch / 4) + 0.05 + rng.normal(0, 0.005, epochs)
    history = pd.DataFrame({"epoch": epoch, "loss": ce, "loss_ce": ce})
    if title == "CADNet":
        history["loss_bcl"] = 0.2 * np.exp(-epoch / 5) + 0.03
        history["loss"] += history["loss_bcl"]
    history["val_miou"] = sum(SKILL[title]) / 2 * (1 - np.exp(-epoch / 3)) + rng.normal(0, 0.015, epochs)
    return history


def fake_run(title: str, seed: int, classes: Sequence[str] = CLASSES) -> MethodRun:
    params, gmacs = SIZES.get(title, (25.0, 100.0))
    return MethodRun(
        title=title,
        seed=seed,
        result=fake_result(title, seed, classes=classes),
        efficiency=Efficiency(params, gmacs, gmacs * 1.2, 41.0, 24.4, 812.0, "2 CPU cores", 128),
        history=fake_history(title, seed),
        mlflow_run_id=f"{sum(map(ord, title)):08x}{seed:024x}",
        train_seconds=212.0 + seed,
    )


def fake_runs(
    seeds: int = 3,
    titles: Sequence[str] = THREE,
    classes: Sequence[str] = CLASSES,
) -> list[MethodRun]:
    return [fake_run(title, seed, classes) for title in titles for seed in range(seeds)]


def fake_comparison(runs: Sequence[MethodRun]) -> Comparison | None:
    """By the three patterns, from the counts behind ``runs``."""
    classes = runs[0].result.class_names
    counts = [fake_counts(run.title, run.seed, classes=classes) for run in runs]
    groups = fake_manifest()["group"].tolist()
    return compare_methods(runs, counts, groups, group_title="display pattern")


def fake_row(index: int, size: int = 128, titles: Sequence[str] = THREE) -> SheetRow:
    """A screen with colour blocks, a line across it, and predictions that miss some and invent some."""
    rng = np.random.default_rng(index)
    blocks = rng.integers(40, 220, (4, 4, 3)).astype(np.uint8)
    reference = cv2.resize(blocks, (size, size), interpolation=cv2.INTER_NEAREST)
    truth = np.zeros((size, size), np.uint8)
    cv2.line(truth, (0, int(rng.integers(size))), (size, int(rng.integers(size))), 1, 4)
    cv2.circle(truth, (int(rng.integers(20, size - 20)), 90), 9, 2, -1)
    image = reference.copy()
    image[truth > 0] = rng.integers(0, 255, 3)
    predictions = {}
    for k, title in enumerate(titles):
        guess = truth.copy()
        guess[:, : 10 + 14 * k] = 0
        cv2.circle(guess, (100, 20 + 8 * k), 2 + 2 * k, 1, -1)
        predictions[title] = guess
    return SheetRow(f"mixed_p08_{index:04d} · line: median", image, reference, truth, predictions)


def fake_map_row(index: int) -> MapRow:
    """The maps of a network that is fairly sure of what CADNet predicts in :func:`fake_row`."""
    row = fake_row(index)
    changed, guess = ((labels > 0).astype(np.float32) for labels in (row.truth, row.predictions["CADNet"]))
    noise = np.random.default_rng(index).random((32, 32)) * 0.3
    distance = cv2.resize(cv2.GaussianBlur(3 * changed, (9, 9), 2), (32, 32)) + noise
    probability = cv2.GaussianBlur(guess, (5, 5), 1)
    return MapRow(
        row.label, row.image, row.reference, row.truth, distance, probability, row.predictions["CADNet"]
    )


def fake_report(
    seeds: int = 3, classes: Sequence[str] = CLASSES, titles: Sequence[str] = THREE
) -> ReportData:
    title = f"Comparison on SynLCD mixed ({SCALE}; seed 0)"
    runs = fake_runs(seeds, titles, classes)
    maps_title = f"DistMap and probability of CADNet ({SCALE}; seed 0)"
    maps = Picture(
        map_png([fake_map_row(i) for i in range(3)], maps_title), f"{maps_title}. {LEGEND}", maps_title
    )
    sheet = Picture(
        comparison_png([fake_row(i, titles=titles) for i in range(4)], title),
        f"{title}. For each defect class the median, worst and best image by IoU, chosen by rule.",
        f"Four samples with predictions of {len(titles)} methods; CADNet has the fewest wrong pixels.",
    )
    dataset = DatasetReport(
        title="SynLCD mixed",
        runs=runs,
        published="table5_mvtec" if len(classes) > 2 else "table3_synlcd",
        differences=("datasets.synlcd.size: 128 (paper: 512)", "train.epochs: 10 (paper: 30)"),
        sizes={"train": 1200, "val": 200, "test": 60},
        digest="3f1c" * 16,
        overlays=(sheet,),
        maps=(maps,),
        comparison=fake_comparison(runs),
        group_title="display pattern",
        links=(Link("results.csv", "synlcd/results.csv"), Link("per_image.csv", "synlcd/per_image.csv")),
    )
    ablation = pd.DataFrame({"losses": ["CE", "CE + BCL"], "mIoU (%)": [61.234, 66.789]})
    return ReportData(
        title="CADNet: supervised comparison",
        scale=SCALE,
        datasets=(dataset,),
        generated="2026-11-22 20:15 UTC",
        git_commit="0123456789abcdef0123456789abcdef01234567",
        params="run:\n  scale: 'small scale: 128 px, 10 epochs'\ntrain:\n  epochs: 10\n",
        environment={"python": "3.11", "torch": "2.14.1", "device": "2 CPU cores"},
        sections=(Section("Ablation", ("Which part helps.",), {"Losses": ablation}),),
        links=(Link("Results as markdown", "synlcd/results.md"),),
    )
