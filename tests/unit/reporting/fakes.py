"""Made-up but plausible trials and pictures, drawn from a seed, and trials whose numbers are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import pandas as pd

from cadnet.evaluation.counts import Counts, score_thresholds
from cadnet.evaluation.result import evaluation_result
from cadnet.reporting.grids import FewLabelFacts, Study, cross_section, few_label_section, study_section
from cadnet.reporting.maps import LEGEND, MapRow, map_png
from cadnet.reporting.overlays import SheetRow, comparison_png
from cadnet.reporting.pages import Figure, Fold, Link, Page, Picture, Section, frame_block
from cadnet.reporting.published import published_ablation
from cadnet.reporting.results import ScoredTrial
from cadnet.reporting.sections import DatasetFacts, dataset_section
from cadnet.reporting.settings import Setting
from cadnet.reporting.tables import Methods

CLASSES = ("line", "abpt")
SCALE = "small scale: 128 px, 10 epochs"
IMAGES, PIXELS = 60, 128 * 128
MVTEC = ("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut")
TITLES = {
    "cadnet": "CADNet", "segformer": "SegFormer", "deeplabv3plus": "DeepLabV3+", "ocrnet": "OCRNet",
    "danet": "DANet", "pspnet": "PSPNet", "fcn": "FCN", "unetplusplus": "Unet++ (smp)",
    "upernet": "UPerNet (smp)", "cadnet-ce": "CE", "cadnet-cl": "CE + CL", "cadnet-bcl": "CE + BCL",
    "w0": "CADNet, weight 0", "w1": "CADNet, weight 1", "dct": "DCT", "cps": "CPS", "uaps": "UAPS",
    "cadnet-few": "CADNet", "cadnet-cps": "CADNet + CPS",
}  # fmt: skip
NINE = tuple(TITLES)[:9]
THREE = NINE[:3]
SKILL = dict(zip(NINE, (0.78, 0.68, 0.62, 0.60, 0.58, 0.57, 0.50, 0.64, 0.66), strict=True))
FLAGS = {
    (True, False, False, False): "cadnet-ce",
    (True, True, False, False): "cadnet-cl",
    (True, False, True, False): "cadnet-bcl",
    (True, False, True, True): "cadnet",
}
"""Cross-entropy, CL, BCL and the change-aware decoder, by variant."""
FACTORS = {
    method: dict(zip(("CE", "CL", "BCL", "CAD"), ("✓" if one else "" for one in flags), strict=True))
    for flags, method in FLAGS.items()
}
LEVELS = {
    "dct": (0.001, 0.50, 0.66),
    "cps": (0.011, 0.60, 0.64),
    "uaps": (0.008, 0.57, 0.70),
    "cadnet-few": (0.44, 0.75, 0.78),
    "cadnet-cps": (None, 0.755, 0.79),
}
"""IoU of every few-label method at 0, 5 and 10 % of the labels."""


def given_counts(ious: Sequence[float], images: int = 12, wave: float = 0.0) -> Counts:
    """Counts without false alarms whose IoU is ``ious`` % by class, ``wave`` more and less by turns."""
    number = len(ious)
    confusion = np.zeros((images, number + 1, number + 1), np.int64)
    confusion[:, 0, 0] = 80_000
    turns = wave * np.where(np.arange(images) % 2 == 0, 1, -1)
    for k, iou in enumerate(ious, start=1):
        found = np.round(100 * (iou + turns)).astype(np.int64)
        confusion[:, k, k], confusion[:, k, 0] = found, 10_000 - found
    return Counts(np.arange(images), confusion, np.zeros((number, 2, 0), np.int64))


def given(
    method: str,
    seed: int,
    iou: float | Sequence[float],
    validation: float | None = None,
    classes: Sequence[str] = CLASSES,
    wave: float = 0.0,
    **more: object,
) -> ScoredTrial:
    """A trial whose IoU of every class is ``iou`` %, and whose best validation mIoU is ``validation`` %."""
    ious = [iou] * len(classes) if isinstance(iou, int | float) else list(iou)
    counts, history = given_counts(ious, wave=wave), None
    if validation is not None:
        values = [np.nan, validation / 100, validation / 100 - 0.1]
        history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [1.0, 0.6, 0.5], "val_miou": values})
    defaults: dict[str, object] = {"grid": "main", "trained_on": "synlcd", "tested_on": "synlcd"}
    result = evaluation_result(counts, classes)
    keys = defaults | {"cost": {"params_m": 3.9, "gmacs_paper": 8.21}, "history": history} | more
    return ScoredTrial(method=method, seed=seed, result=result, counts=counts, **keys)


def methods(trials: Sequence[ScoredTrial], reference: str = "cadnet") -> Methods:
    return Methods(trials, TITLES, reference, SCALE)


def fake_manifest() -> pd.DataFrame:
    """Three patterns, every second image defective."""
    return pd.DataFrame(
        {
            "sample_id": [f"mixed_p{8 + i % 3:02d}_{i:04d}" for i in range(IMAGES)],
            "subset": "mixed",
            "group": [f"pattern {8 + i % 3:02d}" for i in range(IMAGES)],
            "has_defect": [i % 2 == 0 for i in range(IMAGES)],
        }
    )


def fake_counts(method: str, seed: int, classes: Sequence[str] = CLASSES, skill: float = 0.6) -> Counts:
    """Counts with an IoU near ``skill``; what is true is the same for all methods and seeds."""
    truth, rng = np.random.default_rng(99), np.random.default_rng([seed, sum(map(ord, method))])
    number = len(classes)
    level = skill - 0.25 * np.linspace(0, 1, number) + rng.normal(0, 0.02, number)
    defects = np.arange(1, number + 1)
    confusion = np.zeros((IMAGES, number + 1, number + 1), np.int64)
    for i in range(IMAGES):
        sizes = truth.integers(10, 900, number) * (i % 2 == 0) * (truth.random(number) < 2.5 / number)
        found = (sizes * np.clip(level + rng.normal(0, 0.1, number), 0, 1)).astype(int)
        alarms = (sizes * rng.uniform(0, 0.1, number)).astype(int)
        alarms += (rng.random() < 0.15) * rng.integers(0, 9, number)
        confusion[i, defects, defects] = found
        confusion[i, defects, 0] = sizes - found
        confusion[i, 0, defects] = alarms
        confusion[i, 0, 0] = PIXELS - confusion[i].sum()
    histograms = np.zeros((number, 2, 100), np.int64)
    for k, value in enumerate(level):
        good, bad = rng.beta(1 + 5 * max(value, 0), 1.2, 5000), rng.beta(0.25, 2 + 6 * max(value, 0), 20_000)
        histograms[k] = [np.histogram(scores, [*score_thresholds(100), 1.0])[0] for scores in (bad, good)]
    return Counts(np.arange(IMAGES), confusion, histograms)


def fake_history(method: str, seed: int, skill: float, epochs: int = 10) -> pd.DataFrame:
    rng, epoch = np.random.default_rng(seed), np.arange(1, epochs + 1)
    ce = 0.5 * np.exp(-epoch / 4) + 0.05 + rng.normal(0, 0.005, epochs)
    history = pd.DataFrame({"epoch": epoch, "loss": ce, "loss_ce": ce})
    if method == "cadnet":
        history["loss_bcl"] = 0.2 * np.exp(-epoch / 5) + 0.03
        history["loss"] += history["loss_bcl"]
    history["val_miou"] = skill * (1 - np.exp(-epoch / 3)) + rng.normal(0, 0.015, epochs)
    return history


def fake_trial(
    method: str, seed: int, classes: Sequence[str] = CLASSES, skill: float | None = None, **more: object
) -> ScoredTrial:
    level, manifest = SKILL.get(method, 0.6) if skill is None else skill, fake_manifest()
    contrast = np.where(np.arange(IMAGES) % 2 == 0, np.random.default_rng(5).gamma(2, 20, IMAGES), np.nan)
    counts = fake_counts(method, seed, classes, level)
    size = 3.9 if method.startswith("cadnet") or method.startswith("w") else 25.0
    cost = {
        "params_m": size, "gmacs_paper": 2 * size, "gmacs_full": 2.4 * size, "latency_ms": 41.0,
        "pairs_per_second": 24.4, "peak_memory_mb": 812.0, "train_seconds": 212.0 + seed,
    }  # fmt: skip
    keys: dict[str, object] = {"grid": "main", "trained_on": "synlcd", "tested_on": "synlcd", "cost": cost}
    keys["history"] = fake_history(method, seed, level)
    return ScoredTrial(
        method=method, seed=seed, counts=counts, groups=manifest["group"].tolist(), device="2 CPU cores",
        result=evaluation_result(counts, classes, manifest, (0.001, 0.01), contrast=contrast),
        run_id=f"{sum(map(ord, method)):08x}{seed:024x}",
        **(keys | more),
    )  # fmt: skip


def fake_trials(
    seeds: int = 3, ids: Sequence[str] = THREE, classes: Sequence[str] = CLASSES
) -> list[ScoredTrial]:
    return [fake_trial(method, seed, classes) for method in ids for seed in range(seeds)]


def fake_row(index: int, size: int = 128, ids: Sequence[str] = THREE) -> SheetRow:
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
    for k, method in enumerate(ids):
        guess = truth.copy()
        guess[:, : 10 + 14 * k] = 0
        cv2.circle(guess, (100, 20 + 8 * k), 2 + 2 * k, 1, -1)
        predictions[TITLES[method]] = guess
    return SheetRow(f"mixed_p08_{index:04d} · line: median", image, reference, truth, predictions)


def fake_map_row(index: int) -> MapRow:
    """The maps of a network that is fairly sure of what CADNet predicts in :func:`fake_row`."""
    row = fake_row(index)
    changed, guess = ((labels > 0).astype(np.float32) for labels in (row.truth, row.predictions["CADNet"]))
    noise = np.random.default_rng(index).random((32, 32)) * 0.3
    distance = cv2.resize(cv2.GaussianBlur(3 * changed, (9, 9), 2), (32, 32)) + noise
    probability = cv2.GaussianBlur(guess, (5, 5), 1)
    prediction = row.predictions["CADNet"]
    return MapRow(row.label, row.image, row.reference, row.truth, distance, probability, prediction)


def sheet(kind: str, ids: Sequence[str], count: int) -> Figure:
    png = comparison_png([fake_row(i, ids=ids) for i in range(count)], f"Test samples ({SCALE}; seed 0)")
    return Figure(
        kind, [Picture(png, f"Error maps of {len(ids)} methods on {count} samples")], "By a rule.", wide=True
    )


def fake_section(seeds: int = 3, ids: Sequence[str] = THREE, classes: Sequence[str] = CLASSES) -> Section:
    facts = DatasetFacts(
        "synlcd",
        "SynLCD, mixed defects",
        "table5_mvtec" if len(classes) > 2 else "table3_synlcd",
        [Setting("side of the images (px)", "128", "512", False), Setting("epochs", "10", "30", False)],
        {"train": 1200, "val": 200, "test": IMAGES},
        "3f1c" * 16,
        "display pattern",
    )
    maps = Picture(
        map_png([fake_map_row(i) for i in range(3)], "DistMap of CADNet"), "DistMap and probability"
    )
    sheets = [sheet("overlays", ids, 4), Figure("maps", [maps], LEGEND, wide=True)]
    return dataset_section(
        methods(fake_trials(seeds, ids, classes)), facts, sheet("overview", ids, 1), sheets
    )


def fake_study(seeds: int = 3, *, varied: bool = False) -> Section:
    """The paper's ablation, or the weight of the contrastive loss."""
    skills = dict(zip(("w0", "cadnet", "w1") if varied else FACTORS, (0.58, 0.68, 0.63, 0.70), strict=False))
    trials = [fake_trial(m, seed, skill=skill) for m, skill in skills.items() for seed in range(seeds)]
    weights = {"w0": 0.0, "cadnet": 0.02, "w1": 1.0}
    if varied:
        factors = {method: {"lambda_2": f"{weight:g}"} for method, weight in weights.items()}
        study = Study("lambda", "Weight of the contrastive loss", factors, axis=("weight lambda_2", weights))
    else:
        study = Study(
            "ablation", "Ablation of losses", FACTORS, ("CE: cross-entropy.",), published_ablation(FLAGS)
        )
    return study_section(methods(trials), study, f"synlcd-{study.name}")


def cross_trials(scores: Mapping[str, Mapping[str, Sequence[float]]], **more: object) -> list[ScoredTrial]:
    """Cross-tests with these IoUs (%) by method, pair of letters and seed."""
    kinds = {"L": "line-set", "A": "abpt-set"}
    return [
        given(m, seed, value, grid="cross", trained_on=kinds[pair[0]], tested_on=kinds[pair[1]], **more)
        for m, pairs in scores.items()
        for pair, values in pairs.items()
        for seed, value in enumerate(values)
    ]


NAMES = {"line-set": "line", "abpt-set": "abnormal points"}
LETTERS = {"line-set": "L", "abpt-set": "A"}


def fake_cross(ids: Sequence[str] = NINE, seeds: int = 3) -> Section:
    """Defects of the kind trained on are well found by all, unseen ones by hardly any but CADNet."""
    scores = {}
    for place, method in enumerate(ids):
        seen = [70 - 3 * place + seed for seed in range(seeds)]
        unseen = [45 + seed if method == "cadnet" else 0.2 * place + 0.1 * seed for seed in range(seeds)]
        scores[method] = {"LL": seen, "AA": seen, "LA": unseen, "AL": unseen}
    return cross_section(methods(cross_trials(scores)), NAMES, LETTERS)


def few_trial(
    method: str, seed: int, fraction: float, iou: float, validated: float | None = None, **more: object
) -> ScoredTrial:
    """A trial of the few-label grid with these IoUs (%)."""
    chosen = (iou if validated is None else validated) / 100
    known = {"iou_defect_validated": chosen, "threshold_validated": 0.4}
    keys = {"grid": "few-label", "fraction": fraction, "tested_on": "line-set", "validated": known} | more
    return given(method, seed, iou, classes=("defect",), **keys)


def pseudo_history(method: str, fraction: float, epochs: int = 20) -> pd.DataFrame | None:
    """Pseudo-labels of the methods that have them; DCT knows only how its networks disagree."""
    if fraction == 0 or method == "cadnet-few":
        return None
    epoch = np.arange(1, epochs + 1)
    rise = 1 - np.exp(-epoch / 8)
    history = pd.DataFrame({"epoch": epoch, "loss": 1 - 0.7 * rise, "val_miou": 0.7 * rise})
    history["disagreement"] = 0.05 * (1 - 0.8 * rise)
    if method != "dct":
        history["pseudo_precision"], history["pseudo_recall"] = 0.5 + 0.35 * rise, 0.3 + 0.4 * rise
    return history


FEW = FewLabelFacts(0.8, "abnormal points", "line", ("cadnet-cps",), ("First all labels, then a fraction.",))


def fake_few(seeds: int = 3) -> Section:
    """Thresholds that matter without labels, and a combined method that was not pretrained."""
    trials = [
        few_trial(
            method, seed, fraction, 100 * level + 0.4 * seed, 100 * level + (5 if fraction == 0 else 0.5),
            wave=0.1, history=pseudo_history(method, fraction),
        )
        for method, levels in LEVELS.items()
        for fraction, level in zip((0.0, 0.05, 0.1), levels, strict=True)
        if level is not None
        for seed in range(seeds)
    ]  # fmt: skip
    return few_label_section(
        methods(trials, "cadnet-few"), FEW, [sheet("overlays", ("cadnet", "segformer"), 2)]
    )


def fake_page(sections: Sequence[Section]) -> Page:
    table = pd.DataFrame({"Method": ["CADNet", "mean"], "AdamW 0.004": [61.234, 66.789]})
    search = Section(
        "search", "How the recipes were chosen", blocks=[Fold("Space", [frame_block("mIoU", table)])]
    )
    return Page(
        "CADNet: supervised comparison",
        SCALE,
        [*sections, search],
        "2026-11-22 20:15 UTC",
        "0123456789abcdef0123456789abcdef01234567",
        "run:\n  scale: 'small scale: 128 px, 10 epochs'\ntrain:\n  epochs: 10\n",
        {"python": "3.11", "device": "2 CPU cores"},
        [Link("All results (csv)", "tables/results.csv")],
    )
