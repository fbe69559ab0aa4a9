"""The report's tables as frames and markdown, pivots of the tidy results beside the paper's numbers."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cadnet.reporting.differences import COMPARED
from cadnet.reporting.results import DEFECT, ScoredTrial, by_method, pivot, seed_counts, seeds_text

MEANS = {"miou": "mIoU", "macc": "mAcc", "mfscore": "mFscore"}
"""Means over the defect classes, pooled over images, and how the paper writes them."""
COSTS = {"params_m": "Params (M)", "gmacs": "GMACs"}
"""Columns of cost that the paper has too, and how they are written."""
PARTS = ("", "_std", "_paper", "_diff")
"""What the columns of one number end with: mean and deviation over seeds, the paper's, ours minus it."""
BASIS = "Percent, pooled over the test images, means over defect classes only"
MERGED = (
    "All defect classes are taken as one against background, because a network trained on one kind can give "
    "what it finds no other name."
)
"""Stated with everything about cross-tests."""
CLASS_TITLES = {"abpt": "abnormal points", "mura": "Mura", "pixel": "single pixels"}
"""Classes whose names are abbreviations, as people read them."""


def class_title(name: str) -> str:
    """How a defect class is written for people."""
    return CLASS_TITLES.get(name, name)


def metric_titles(class_names: Sequence[str]) -> dict[str, str]:
    """Metrics of a results table and how they are written, IoU per class first."""
    return {f"iou_{name}": f"IoU {class_title(name)}" for name in class_names} | MEANS


@dataclass(frozen=True, eq=False)
class Methods:
    """The trials of one section, and what is known about their methods.

    ``trials``: in the order of the table's rows. ``titles`` by method id. ``reference``: id of the method
    that the section is about. ``scale`` in words.
    """

    trials: Sequence[ScoredTrial]
    titles: Mapping[str, str]
    reference: str
    scale: str

    @property
    def classes(self) -> tuple[str, ...]:
        """The defect classes."""
        return self.trials[0].result.class_names

    @property
    def stamp(self) -> str:
        """Scale and number of seeds."""
        return f"{self.scale}; {seeds_text(self.trials)}"

    def title(self, method: str) -> str:
        """How a method is written."""
        return self.titles.get(method, method)

    def only(self, trials: Sequence[ScoredTrial]) -> Methods:
        """The same methods with fewer trials."""
        return Methods(trials, self.titles, self.reference, self.scale)


def results_table(
    methods: Methods,
    published: pd.DataFrame | None = None,
    comparison: pd.DataFrame | None = None,
    factors: Mapping[str, Mapping[str, str]] | None = None,
) -> pd.DataFrame:
    """One row per method, indexed by its id; numbers in percent, NaN where there is none.

    Columns: ``method`` (title), the factors, ``seeds, scale``; per metric (``iou_<class>..., miou, macc,
    mfscore``) ``<metric>`` (mean over seeds), ``<metric>_std``, ``<metric>_paper``, ``<metric>_diff`` (ours
    minus the paper's); ``params_m, gmacs`` and the paper's ``params_m_paper, gmacs_paper``; ``val_miou,
    val_miou_std`` of the best epoch; :data:`~cadnet.reporting.differences.COMPARED` in mIoU; ``id``.

    Args:
        methods: scored.
        published: the paper's numbers by method id.
        comparison: :func:`~cadnet.reporting.differences.compared`.
        factors: by method id what it is made of, column by column, with the same keys for all.

    Raises:
        ValueError: no trials, differing classes, or a method without its factors.
    """
    groups = by_method(methods.trials)
    table = _first_columns(methods)
    if factors:
        keys = list(next(iter(factors.values())))
        odd = [method for method in groups if list(factors.get(method, {})) != keys]
        if odd:
            raise ValueError(f"every row needs the factors {keys}; not so: {odd}")
        for position, key in enumerate(keys, start=1):
            table.insert(position, key, [factors[method][key] for method in groups])
    paper = pd.DataFrame() if published is None else published.reindex(table.index)
    table = _beside_paper(table, pivot(methods.trials, list(metric_titles(methods.classes))), paper)
    costs = pivot(methods.trials, ["cost_params_m", "cost_gmacs_paper"])
    table["params_m"], table["gmacs"] = costs["cost_params_m"], costs["cost_gmacs_paper"]
    for name in COSTS:
        table[f"{name}_paper"] = paper[name] if name in paper else float("nan")
    table = table.join(pivot(methods.trials, ["val_miou"]))
    return _with_comparison(table, methods, comparison).assign(id=table.index)


@dataclass(frozen=True)
class Measure:
    """A metric that is shown by condition. ``column`` has ``{}`` for the condition's label."""

    title: str
    column: str
    metric: str
    basis: str = ""

    def columns(self, labels: Iterable[str]) -> list[str]:
        """The columns of :func:`condition_table`, one per label."""
        return [self.column.format(label) for label in labels]


_POOLED = "pooled over the test images, all defects as one class"
_PRESENT = "each image counting alike; false alarms on images without a defect do not count"
_CHOSEN, _MEAN = "at thresholds chosen on validation images", "mean over the images with a defect"
FEW_LABEL_MEASURES = (
    Measure("IoU", "iou_{}", "iou_defect", _POOLED),
    Measure("Fscore", "fscore_{}", "fscore_defect", _POOLED),
    Measure(f"IoU {_CHOSEN}", "iou_{}_validated", "iou_defect_validated", _POOLED),
    Measure(f"IoU, {_MEAN}", "iou_{}_per_present_image", "miou_per_present_image", _PRESENT),
    Measure(f"Fscore, {_MEAN}", "fscore_{}_per_present_image", "mfscore_per_present_image", _PRESENT),
)
"""In the order in which they are shown; only the first two have numbers of the paper beside them."""
CROSS_MEASURES = tuple(
    Measure(title, f"{metric}_{{}}", metric)
    for title, metric in (
        ("IoU", "iou_defect"), ("Acc", "acc_defect"), ("Fscore", "fscore_defect"),
        ("Escape", "escape"), ("Overkill", "overkill"),
    )
)  # fmt: skip
PAPER_CROSS = CROSS_MEASURES[:3]
"""Those of the paper's Fig. 6; Acc is the share of defect pixels found, as in the paper's library."""


def cross_conditions(
    trials: Sequence[ScoredTrial], letters: Mapping[str, str]
) -> dict[str, list[ScoredTrial]]:
    """Cross-tests by the letters of what was trained and tested on, such as ``LA``; same kinds first.

    Args:
        trials: of the cross grid.
        letters: one of its own for each dataset.

    Raises:
        ValueError: a dataset has no letter, or two have the same.
    """
    names = dict.fromkeys(name for trial in trials for name in (trial.trained_on, trial.tested_on))
    if len({letters.get(name) for name in names} - {None}) < len(names):
        raise ValueError(f"every dataset needs a letter of its own: {list(names)} have {dict(letters)}")
    order = [name for name in letters if name in names]
    pairs = sorted(((one, other) for one in order for other in order), key=lambda pair: pair[0] != pair[1])
    found = {
        letters[one] + letters[other]: [t for t in trials if (t.trained_on, t.tested_on) == (one, other)]
        for one, other in pairs
    }
    return {label: group for label, group in found.items() if group}


def percent_label(fraction: float) -> str:
    """A fraction in [0, 1] as it stands in names of columns, in percent: ``0``, ``7.5``, ``15``."""
    return f"{100 * fraction:g}"


def fractions_of(trials: Sequence[ScoredTrial]) -> dict[str, list[ScoredTrial]]:
    """Trials of the few-label grid by labelled fraction in percent (:func:`percent_label`), ascending.

    Raises:
        ValueError: a trial was not scored on all defects as one class.
    """
    for trial in trials:
        if trial.result.class_names != (DEFECT,):
            raise ValueError(
                f"{trial.method} was scored on the classes {trial.result.class_names}; with few labels all "
                f"defects are one class, {DEFECT!r}"
            )
    found = sorted({trial.fraction for trial in trials if trial.fraction is not None})
    return {percent_label(one): [trial for trial in trials if trial.fraction == one] for one in found}


def condition_table(
    methods: Methods,
    conditions: Mapping[str, Sequence[ScoredTrial]],
    measures: Sequence[Measure],
    comparisons: Mapping[str, pd.DataFrame] | None = None,
    published: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row per method, indexed by its id; numbers in percent, NaN where there is none.

    Columns: ``method`` (title), ``seeds`` (the fewest of its conditions), ``scale``; per condition those of
    ``measures``, each with ``..._std``, those that the paper may have with ``..._paper, ..._diff`` (ours
    minus the paper's); :data:`~cadnet.reporting.differences.COMPARED` with ``_<condition>``; ``id``.

    Args:
        methods: scored.
        conditions: trials by label, such as a pair of letters or a labelled fraction in percent.
        measures: what is shown of each.
        comparisons: :func:`~cadnet.reporting.differences.compared` in ``iou_defect``, by label.
        published: the paper's IoU and Fscore by method id, under the same columns.
    """
    table = _first_columns(methods)
    for label, trials in conditions.items():
        found = pivot(trials, [measure.metric for measure in measures])
        for measure in measures:
            (column,) = measure.columns([label])
            own = found[[measure.metric, f"{measure.metric}_std"]].set_axis([column, f"{column}_std"], axis=1)
            if published is not None and measure.metric in ("iou_defect", "fscore_defect"):
                table = _beside_paper(table, own, published.reindex(table.index))
            else:
                table = table.join(own)
        table = _with_comparison(table, methods, (comparisons or {}).get(label), f"_{label}")
    return table.assign(id=table.index)


def _first_columns(methods: Methods) -> pd.DataFrame:
    counts = seed_counts(methods.trials)
    table = pd.DataFrame({"seeds": counts, "scale": methods.scale})
    table.insert(0, "method", [methods.title(method) for method in counts])
    return table


def _beside_paper(table: pd.DataFrame, ours: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Join numbers of ours, each with its deviation, the paper's number and ours minus it."""
    columns: dict[str, pd.Series] = {}
    for name in (str(column) for column in ours if not str(column).endswith("_std")):
        mean = ours[name].reindex(table.index)
        printed = paper[name] if name in paper else pd.Series(float("nan"), table.index)
        values = mean, ours[f"{name}_std"].reindex(table.index), printed, mean - printed
        columns |= {name + part: value.astype(float) for part, value in zip(PARTS, values, strict=True)}
    return table.join(pd.DataFrame(columns))


def _with_comparison(
    table: pd.DataFrame, methods: Methods, comparison: pd.DataFrame | None, ending: str = ""
) -> pd.DataFrame:
    known = pd.DataFrame(columns=list(COMPARED)) if comparison is None else comparison
    found = known.reindex(table.index)
    found["other"] = found["other"].map(methods.title, na_action="ignore")
    numbers = {"difference": float, "low": float, "high": float}
    return table.join(found.astype(numbers).add_suffix(ending))


def markdown(
    title: str, table: pd.DataFrame, columns: Mapping[str, str], notes: Sequence[str] = (), ending: str = ""
) -> str:
    """Write columns of a table as GitHub markdown, with two decimals and what is known of each number.

    Args:
        title: of the table.
        table: see :func:`results_table`.
        columns: headings, by column; a number is written ``ours ± std (paper, difference)``.
        notes: paragraphs below.
        ending: of the columns of the comparison, which is written last where the table has it.
    """
    header = ["Method", "Seeds", *columns.values()]
    against = f"difference{ending}" in table and bool(table[f"difference{ending}"].notna().any())
    rows = []
    for record in table.to_dict("records"):
        cells = [str(record["method"]), str(record["seeds"])]
        cells += [number_cell(record, column) for column in columns]
        rows.append([*cells, comparison_cell(record, ending)] if against else cells)
    if against:
        header.append("Difference")
        notes = [
            *notes,
            f"Difference: in points, its 95 % interval over the test images, seeds ahead; {VERDICTS}",
        ]
    lines = [_row(header), _row(["---"] + ["---:"] * (len(header) - 1)), *map(_row, rows)]
    return "\n".join([f"## {title}", "", *lines, *(f"\n{note}" for note in notes)]) + "\n"


VERDICTS = (
    "“ahead” or “behind” takes three seeds that all agree and an interval without 0, all else is “open”."
)
"""What a verdict means."""


def number_cell(record: Mapping[Hashable, Any], column: str) -> str:
    """One number for markdown, ``ours ± std (paper, difference)``, with what the row has of it."""
    ours, std, paper, diff = (record.get(f"{column}{part}") for part in PARTS)
    if isinstance(ours, str):
        return ours
    text = "–" if pd.isna(ours) else f"{ours:.2f}"
    if not pd.isna(std):
        text += f" ± {std:.2f}"
    if not pd.isna(paper):
        text += f" ({paper:.2f})" if pd.isna(diff) else f" ({paper:.2f}, {round(diff, 2) + 0.0:+.2f})"
    return text


def comparison_cell(record: Mapping[Hashable, Any], ending: str = "") -> str:
    """A comparison for markdown: ``+5.10 on SegFormer (3.20 to 7.00; 3 of 3): ahead``, with what is known."""
    values = {name: record[f"{name}{ending}"] for name in COMPARED}
    if pd.isna(values["difference"]):
        return "–"
    known = [] if pd.isna(values["low"]) else [f"{values['low']:.2f} to {values['high']:.2f}"]
    known.append(f"{values['seeds_ahead']:.0f} of {values['common_seeds']:.0f}")
    return f"{values['difference']:+.2f} on {values['other']} ({'; '.join(known)}): {values['verdict']}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
