"""What a report is made from: plain values filled by the caller, so that no run folder is read here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from cadnet.evaluation.bootstrap import Difference, PairedBootstrap
from cadnet.evaluation.result import EvaluationResult

HERO = "CADNet"
"""The method the report is about; the others are what it is compared with."""


@dataclass(frozen=True)
class Efficiency:
    """Size and speed of one method; what was not measured is None.

    ``params_m`` in millions; ``gmacs_paper`` and ``gmacs_full`` in 10^9 multiply-adds per pair, in the
    paper's counting and with nothing left out; ``latency_ms``, the median of single pairs;
    ``pairs_per_second`` of the whole evaluation; ``peak_memory_mb`` in 10^6 bytes, on CUDA of single pairs
    with the weights, on a CPU of the whole process; ``device`` and ``size`` (pixels, of a square input) say
    where and for what they hold.
    """

    params_m: float | None = None
    gmacs_paper: float | None = None
    gmacs_full: float | None = None
    latency_ms: float | None = None
    pairs_per_second: float | None = None
    peak_memory_mb: float | None = None
    device: str = ""
    size: int | None = None


@dataclass(frozen=True, eq=False)
class MethodRun:
    """One trained and scored network.

    ``title`` names the method in every table and figure and is how runs of several seeds are grouped.
    ``history`` has one row per epoch: ``epoch`` (1, 2, ...), ``loss``, its parts ``loss_<part>``, and
    ``val_miou`` in [0, 1] (NaN where not validated); None when it is not known.
    """

    title: str
    seed: int
    result: EvaluationResult
    efficiency: Efficiency = Efficiency()
    history: pd.DataFrame | None = None
    mlflow_run_id: str | None = None
    train_seconds: float | None = None


@dataclass(frozen=True)
class Picture:
    """A PNG for the page: its bytes, the caption under it, and the text for who cannot see it."""

    png: bytes
    caption: str
    alt: str


@dataclass(frozen=True)
class Link:
    """A plain link to a file beside the page (relative) or to a page elsewhere."""

    label: str
    href: str


@dataclass(frozen=True, eq=False)
class Section:
    """A further part of the page: text, tables with captions, pictures."""

    title: str
    text: Sequence[str] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()
    links: Sequence[Link] = ()


@dataclass(frozen=True, eq=False)
class Comparison:
    """How sure the differences between ``hero`` and the other methods are, given the test images.

    ``rival`` is the best other method by ``basis``: ``validation`` mIoU, ``test`` mIoU where validation is
    not known (the luckiest is taken, so that the difference is rather too small), or the ``only`` other one.
    ``bootstrap`` compares with it in all metrics, ``miou`` with every other method by title. ``group_title``
    is what a group is: a display pattern, a photograph.
    """

    hero: str
    rival: str
    basis: Literal["validation", "test", "only"]
    bootstrap: PairedBootstrap
    miou: Mapping[str, Difference]
    group_title: str = "group"


@dataclass(frozen=True, eq=False)
class DatasetReport:
    """The comparison of all methods on one dataset.

    ``published`` names the paper's table (``table3_synlcd``, ``table4_pcb``, ``table5_mvtec``) or is None.
    ``differences`` are the settings that differ from the paper's, one readable line each. ``sizes`` are
    numbers of pairs, such as ``{"train": 1200, "val": 200, "test": 600}``. ``group_title`` and
    ``subset_title`` say what the manifest's columns hold here (display pattern, board, category).
    """

    title: str
    runs: Sequence[MethodRun]
    published: str | None = None
    differences: Sequence[str] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    digest: str = ""
    overlays: Sequence[Picture] = ()
    maps: Sequence[Picture] = ()
    comparison: Comparison | None = None
    group_title: str = "group"
    subset_title: str = "subset"
    links: Sequence[Link] = ()


@dataclass(frozen=True, eq=False)
class Study:
    """Variants of one method on one dataset, a row each (paper Table 7; the decoder; lambda_2).

    ``name`` is fit for a file name. ``runs`` are of all rows, a row being a :attr:`MethodRun.title`; ``base``
    is the title of the complete method. ``factors`` says per title what it is made of, column by column,
    such as ``{"CE": "✓", "BCL": ""}``, with the same keys for all. ``published`` are the paper's numbers by
    title (columns ``iou_<class>, miou, macc, mfscore``, percent), or None. ``axis`` is the label of a number
    that is varied and its value per title, else None. ``differences`` are the paired bootstrap differences in
    mIoU of base minus each other row, by title.
    """

    name: str
    title: str
    runs: Sequence[MethodRun]
    base: str
    factors: Mapping[str, Mapping[str, str]]
    text: Sequence[str] = ()
    published: pd.DataFrame | None = None
    axis: tuple[str, Mapping[str, float]] | None = None
    differences: Mapping[str, Difference] = field(default_factory=dict)
    links: Sequence[Link] = ()


@dataclass(frozen=True, eq=False)
class CrossTest:
    """Each method trained on each dataset and tested on each (paper Fig. 6): do unseen kinds of defect show?

    ``runs`` by (trained on, tested on), names of datasets as they are written (such as ``line, abpt``); all
    methods and seeds in each. ``short`` gives each dataset its letter (L, A), so that pairs are written LL,
    AA, LA, AL as in the paper. ``differences``: by crossed pair and title, the paired bootstrap difference in
    the IoU of all defect classes as one, of :data:`HERO` minus that method; see
    :func:`~cadnet.reporting.comparison.merged_differences`.
    """

    title: str
    runs: Mapping[tuple[str, str], Sequence[MethodRun]]
    short: Mapping[str, str]
    text: Sequence[str] = ()
    links: Sequence[Link] = ()
    differences: Mapping[tuple[str, str], Mapping[str, Difference]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class FewLabelRun:
    """One network trained with few labels, scored on all defects as one class.

    ``run`` is scored where its two scores are equal (for CADNet the paper's threshold 1.25);
    ``threshold`` is the probability in [0, 1] above which a pixel is called a defect when validation images
    choose it, and ``validated`` what the test gives with that. ``run.history`` may have the columns
    ``pseudo_precision``, ``pseudo_recall`` (pseudo-labels of the unlabelled images against their hidden
    truth) and ``disagreement`` (share of pixels on which two predictions differ), each in [0, 1] or NaN.
    """

    run: MethodRun
    threshold: float
    validated: EvaluationResult


@dataclass(frozen=True, eq=False)
class FewLabels:
    """What each method makes of few labels (paper Table 6, Fig. 12): one defect class, one metric for all.

    ``runs`` by share of the training samples that is labelled, ascending from 0.0 (pre-trained on
    ``pretrained_on``, no label of ``tested_on`` seen); all methods and seeds in each. ``unlabelled`` is the
    share that methods of semi-supervised learning see besides. ``combined`` are the titles of methods that
    the paper did not have. ``differences``: by share and title, the paired bootstrap difference in IoU of
    :data:`HERO` minus that method. ``overlays`` are the visual sheets.
    """

    title: str
    runs: Mapping[float, Sequence[FewLabelRun]]
    unlabelled: float
    pretrained_on: str
    tested_on: str
    combined: Sequence[str] = ()
    text: Sequence[str] = ()
    differences: Mapping[float, Mapping[str, Difference]] = field(default_factory=dict)
    overlays: Sequence[Picture] = ()
    links: Sequence[Link] = ()


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything the page shows; ``scale`` stands in every title, ``generated`` is a readable time."""

    title: str
    scale: str
    datasets: Sequence[DatasetReport]
    generated: str = ""
    git_commit: str = ""
    params: str = ""
    """The parameter file as text."""
    environment: Mapping[str, str] = field(default_factory=dict)
    studies: Sequence[Study] = ()
    cross: CrossTest | None = None
    few_labels: FewLabels | None = None
    sections: Sequence[Section] = ()
    links: Sequence[Link] = ()


def by_method(runs: Sequence[MethodRun]) -> dict[str, list[MethodRun]]:
    """Group runs by title, in the order the titles first appear, seeds ascending.

    Raises:
        ValueError: a method has the same seed twice, or other classes than the first run.
    """
    groups: dict[str, list[MethodRun]] = {}
    for run in runs:
        groups.setdefault(run.title, []).append(run)
    for title, group in groups.items():
        seeds = [run.seed for run in group]
        if len(set(seeds)) < len(seeds):
            raise ValueError(
                f"{title} has a seed twice: {sorted(seeds)}; give each run of a method its own seed"
            )
        if any(run.result.class_names != runs[0].result.class_names for run in group):
            raise ValueError(
                f"{title} was scored on other classes than {runs[0].title}; they cannot share a table"
            )
        group.sort(key=lambda run: run.seed)
    return groups


def seeds_text(runs: Sequence[MethodRun]) -> str:
    """Say how many seeds stand behind the numbers, such as ``3 seeds`` or ``1-3 seeds per method``."""
    return count_text([len(group) for group in by_method(runs).values()])


def count_text(seeds: Sequence[int]) -> str:
    """Write numbers of seeds, one per method, as :func:`seeds_text` does."""
    numbers = sorted(set(seeds))
    if not numbers:
        return "no runs"
    if len(numbers) > 1:
        return f"{numbers[0]}-{numbers[-1]} seeds per method"
    return "1 seed" if numbers == [1] else f"{numbers[0]} seeds"
