"""The table of few labels: every method at every share of labels, beside the paper's Table 6."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from cadnet.reporting.data import FewLabelRun, FewLabels, MethodRun, by_method, count_text
from cadnet.reporting.published import published_few_labels, published_rows
from cadnet.reporting.tables import beside_paper, markdown_table, metric_spread, number_cell

DEFECT = "defect"
"""The only class of a comparison with few labels."""
POOLED = {"iou": f"iou_{DEFECT}", "fscore": f"fscore_{DEFECT}"}
"""What counts, pooled over the test images, by the name of its columns."""
PER_PRESENT_IMAGE = {"iou": "miou_per_present_image", "fscore": "mfscore_per_present_image"}
"""The means over the images that hold a defect, by the name of their columns."""
BASIS = "pooled over the test images, all defects as one class"
PRESENT = "each image counting alike; false alarms on images without a defect do not count"

Scores = dict[str, dict[float, list[MethodRun]]]


@dataclass(frozen=True)
class Measure:
    """What a table by share of labels shows; ``column`` has ``{}`` for the share in percent.

    ``basis`` says what it is of.
    """

    title: str
    column: str
    basis: str

    def columns(self, shares: Sequence[float]) -> dict[str, str]:
        """The columns of :func:`few_label_table`, by label of their share."""
        return {share_label(share): self.column.format(share_label(share)) for share in shares}

    @property
    def caption(self) -> str:
        """In which unit, by what and of what the table is, in brief."""
        return f"Percent by share of labelled training samples, {self.basis}"


MEASURES = (
    Measure("IoU", "iou_{}", BASIS),
    Measure("Fscore", "fscore_{}", BASIS),
    Measure("IoU at thresholds chosen on validation images", "iou_{}_validated", BASIS),
    Measure("IoU, mean over the images with a defect", "iou_{}_per_present_image", PRESENT),
    Measure("Fscore, mean over the images with a defect", "fscore_{}_per_present_image", PRESENT),
)
"""In the order in which they are shown; only the first two have numbers of the paper beside them."""


def share_label(share: float) -> str:
    """A share in [0, 1] as it stands in names of columns, in percent: ``0``, ``7.5``, ``15``."""
    return f"{100 * share:g}"


def few_label_shares(few: FewLabels) -> list[float]:
    """The shares of labels that were run, ascending."""
    return sorted(share for share, runs in few.runs.items() if runs)


def few_label_methods(few: FewLabels, *, validated: bool = False) -> Scores:
    """Runs by title and share, in the order the titles first appear, shares ascending.

    Args:
        few: the comparison.
        validated: score them at the thresholds that validation images choose.

    Raises:
        ValueError: a seed twice, or a run that was not scored on the one class ``defect``.
    """
    found: Scores = {}
    for share in few_label_shares(few):
        runs = [_scored(one, validated) for one in few.runs[share]]
        for title, group in by_method(runs).items():
            if group[0].result.class_names != (DEFECT,):
                raise ValueError(
                    f"{title} at {share_label(share)} % of the labels was scored on the classes "
                    f"{group[0].result.class_names}; with few labels all defects are one class, {DEFECT!r}"
                )
            found.setdefault(title, {})[share] = group
    return found


def few_label_table(few: FewLabels, scale: str) -> pd.DataFrame:
    """One row per method in the order the titles first appear, numbers in percent, NaN where there is none.

    Columns: ``method, seeds`` (the fewest of its shares), ``scale``; per share of labels in percent, such as
    0 or 7.5, and for ``iou`` and ``fscore``, pooled over the test images: ``iou_0`` (mean over seeds),
    ``iou_0_std``, ``iou_0_paper``, ``iou_0_diff`` (ours minus the paper's), and ``iou_0_per_present_image``,
    the mean over the test images that hold a defect; further ``iou_0_validated``, at thresholds chosen on
    validation images. The last two have their ``..._std`` too.

    Raises:
        ValueError: no runs, a seed twice, or a run that was not scored on the one class ``defect``.
    """
    methods, validated = few_label_methods(few), few_label_methods(few, validated=True)
    if not methods:
        raise ValueError(f"{few.title}: there are no runs to make a table of")
    paper = published_rows(published_few_labels(), methods, (DEFECT,))
    rows = []
    for title, groups in methods.items():
        seeds = min(len(group) for group in groups.values())
        row: dict[str, Any] = {"method": title, "seeds": seeds, "scale": scale}
        for share in few_label_shares(few):
            group, label = groups.get(share, []), share_label(share)
            for name, metric in POOLED.items():
                column = f"{name}_{label}"
                row |= beside_paper(column, metric_spread(group, metric), paper.get(title, {}).get(column))
            others = {f"iou_{label}_validated": metric_spread(validated[title].get(share, []), POOLED["iou"])}
            for name, metric in PER_PRESENT_IMAGE.items():
                others[f"{name}_{label}_per_present_image"] = metric_spread(group, metric)
            for column, ours in others.items():
                row |= {column: ours.mean, f"{column}_std": ours.std}
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.astype(dict.fromkeys(table.columns[3:], float))


def few_label_markdown(few: FewLabels, scale: str) -> str:
    """Write :func:`few_label_table` as GitHub markdown, a part per measure; errors as there."""
    table = few_label_table(few, scale)
    lines = [f"## {few_label_title(few, scale)}", "", *(f"{text}\n" for text in few.text)]
    for measure in MEASURES:
        columns = measure.columns(few_label_shares(few))
        header = ["Method", "Seeds", *(f"{label} %" for label in columns)]
        rows = [
            [str(record["method"]), str(record["seeds"]), *(number_cell(record, c) for c in columns.values())]
            for record in table.to_dict("records")
        ]
        lines += [f"### {measure.title}", "", *markdown_table(header, rows), "", f"{measure.caption}.", ""]
    return "\n".join(lines).rstrip() + "\n"


def few_label_title(few: FewLabels, scale: str, what: str = "", share: float | None = None) -> str:
    """The title of the comparison, or ``what``, with scale and seeds (of one share, if given)."""
    return f"{what or few.title} ({scale}; {few_label_seeds(few, share)})"


def few_label_seeds(few: FewLabels, share: float | None = None) -> str:
    """Say how many seeds stand behind the numbers, as :func:`~cadnet.reporting.data.seeds_text` does."""
    methods = few_label_methods(few).values()
    counts = [
        len(group) for groups in methods for at, group in groups.items() if share is None or at == share
    ]
    return count_text(counts)


def _scored(one: FewLabelRun, validated: bool) -> MethodRun:
    return replace(one.run, result=one.validated) if validated else one.run
