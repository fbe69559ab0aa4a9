"""The parts of the page about the other grids: studies of variants, cross-tests, and few labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from cadnet.reporting.charts import (
    Points,
    axis_chart,
    cross_chart,
    fraction_chart,
    history_chart,
    interval_chart,
    iou_chart,
    misalignment_chart,
    variant_colours,
)
from cadnet.reporting.differences import Condition, best_other, compared, differences, headline
from cadnet.reporting.pages import Block, Card, Cell, Figure, Fold, Picture, Row, Section, Table, Text, number
from cadnet.reporting.published import published_few_labels
from cadnet.reporting.results import DEFECT, ScoredTrial, method_ids, spread, values_of
from cadnet.reporting.sections import READ, WIDE, compare_miou, comparison_cell, result_cell, result_rows
from cadnet.reporting.settings import Setting, settings_block, settings_notes
from cadnet.reporting.style import method_looks
from cadnet.reporting.tables import (
    BASIS,
    COSTS,
    CROSS_MEASURES,
    FEW_LABEL_MEASURES,
    MEANS,
    MERGED,
    PAPER_CROSS,
    VERDICTS,
    Methods,
    condition_table,
    cross_conditions,
    fractions_of,
    markdown,
    metric_titles,
    results_table,
)

IOU = f"iou_{DEFECT}"
QUANTITIES = {
    "pseudo_precision": ("Precision of pseudo-labels", "precision of defect pixels (%)"),
    "pseudo_recall": ("Recall of pseudo-labels", "recall of defect pixels (%)"),
    "disagreement": ("Disagreement", "fraction of pixels (%)"),
}
"""Columns of a history, with title and axis of their charts."""
_BOLD = "Bold is the best of a column, ± the standard deviation over seeds."


@dataclass(frozen=True, eq=False)
class Study:
    """Variants of one method on one dataset (paper Table 7; the decoder; lambda_2).

    ``name`` is fit for a file name. ``factors``: by method id what it is made of, column by column, such as
    ``{"CE": "✓", "BCL": ""}``, with the same keys for all. ``published``: the paper's numbers by method id.
    ``axis``: the label of a number that is varied and its value by method id, else None.
    """

    name: str
    title: str
    factors: Mapping[str, Mapping[str, str]]
    text: Sequence[str] = ()
    published: pd.DataFrame | None = None
    axis: tuple[str, Mapping[str, float]] | None = None


def chosen_by_validation(methods: Methods) -> str | None:
    """The method with the highest mean validation mIoU; None where it is not known of every trial."""
    seen = {method: values_of(methods.trials, method, "val_miou") for method in method_ids(methods.trials)}
    if sum(map(len, seen.values())) < len(methods.trials):
        return None
    return max(seen, key=lambda method: spread(seen[method].values()).mean or 0.0)


def study_section(methods: Methods, study: Study, name: str, sheets: Sequence[Figure] = ()) -> Section:
    """Return the part of the page about a study; the reference is the complete method.

    Args:
        methods: the trials of all variants, in the order of the rows.
        study: what varies.
        name: of the section and its files.

    Raises:
        ValueError: the reference has no trial, or the study's parts do not fit the trials.
    """
    ids, reference = method_ids(methods.trials), methods.reference
    if reference not in ids:
        raise ValueError(f"study {study.name}: its reference {reference!r} has no trial; there are {ids}")
    if study.axis is not None and len({study.axis[1].get(method) for method in ids} - {None}) < len(ids):
        raise ValueError(f"study {study.name}: every row needs a {study.axis[0]} of its own")
    found, _, comparison, said = compare_miou(methods)
    table = results_table(methods, study.published, comparison, study.factors)
    seen = {"val_miou": "Validation mIoU"} if study.axis else {}
    factors = {key: key for key in next(iter(study.factors.values()))}
    columns = factors | metric_titles(methods.classes) | seen | COSTS
    notes = [BASIS + ("; in brackets the paper's." if study.published is not None else "."), *study.text]
    section = Section(
        name,
        study.title,
        methods.stamp,
        said,
        study.text,
        tables={name: table},
        markdown={name: markdown(f"{study.title} ({methods.stamp})", table, columns, notes)},
    )
    figures = _study_charts(methods, study, table, found)
    blocks: list[Block] = [_study_table(methods, study, table), section.file_links(), figures]
    return replace(section, blocks=[Card("Variants", blocks), *sheets])


def _study_table(methods: Methods, study: Study, table: pd.DataFrame) -> Table:
    titles, factors = metric_titles(methods.classes), list(next(iter(study.factors.values())))
    shown = list(titles) if len(methods.classes) <= WIDE else list(MEANS)
    seen = ["val_miou"] if study.axis else []
    costs = [c for c in COSTS if len(set(table[c])) > 1]
    rows = []
    scored = result_rows(table, [*shown, *seen], methods, "")
    for row, record in zip(scored, table.to_dict("records"), strict=True):
        cells = [Cell(str(record[key])) for key in factors]
        cells += [*row.cells, comparison_cell(record)]
        cells += [result_cell(record, c, digits=2, printed="") for c in costs]
        rows.append(replace(row, cells=cells))
    name = methods.title(methods.reference)
    note = f"{_BOLD} Difference: {name} minus the best other, the others minus {name}; {VERDICTS}"
    if study.axis:
        note += " Validation is that of the best epoch; it alone chooses."
    if study.published is not None:
        note += " In small print the paper's number and our difference from it in points."
    if not costs:
        size, macs = table["params_m"].iloc[0], table["gmacs"].iloc[0]
        note += f" Every variant has {number(size, 2)} million parameters and takes {number(macs, 2)} GMACs."
    header = [*factors, *(titles[metric] for metric in shown), *(["Validation mIoU"] if seen else [])]
    header += ["Difference in mIoU", *(COSTS[c] for c in costs)]
    return Table("Percent, pooled over the test pairs", header, rows, "Variant", note, dense=True)


def _study_charts(methods: Methods, study: Study, table: pd.DataFrame, found: pd.DataFrame) -> Figure:
    if study.axis is None:
        pictures = [iou_chart(table, methods.classes, variant_colours(list(table.index), methods.reference))]
        caption = "IoU by class. Whiskers are one standard deviation over seeds."
        names = {method: methods.title(method) for method in table.index}
    else:
        pictures = [axis_chart(methods, *study.axis, chosen_by_validation(methods))]
        caption = (
            "Whiskers are one standard deviation over seeds, faint dots single seeds. The ring marks the "
            f"value that validation chooses, bold type that of {methods.title(methods.reference)}. The "
            "upright axis need not start at 0."
        )
        names = {method: f"at {value:g}" for method, value in study.axis[1].items()}
    if len(found):
        each = found[found["metric"] == "miou"]
        each = each.assign(label=each["other"].map(names))
        name = methods.title(methods.reference)
        chart = interval_chart(each, f"{name} against each variant", f"mIoU of {name} minus the other's")
        pictures += [chart] if chart else []
        caption += f" {READ}"
    return Figure(study.name, pictures, caption)


@dataclass(frozen=True, eq=False)
class _Compared:
    """The reference against every other method under each condition, in the IoU of defects.

    ``tables``: by label. ``conditions``: what the headline rests on. ``charts``: of the intervals.
    """

    tables: Mapping[str, pd.DataFrame]
    conditions: Sequence[Condition]
    charts: Sequence[Picture]

    @classmethod
    def of(
        cls,
        methods: Methods,
        conditions: Mapping[str, Sequence[ScoredTrial]],
        where: str = "{}",
        combined: Sequence[str] = (),
    ) -> _Compared:
        """Compare; ``where`` has ``{}`` for the label, ``combined`` methods are no rivals."""
        reference, name = methods.reference, methods.title(methods.reference)
        tables, known, charts = {}, [], []
        for label, trials in conditions.items():
            found = differences(trials, reference, merged=True)
            if found.empty:
                continue
            table = compared(found, reference, best_other(trials, reference, IOU, combined), IOU)
            rivals = [method for method in found["other"] if method not in combined]
            value = spread(values_of(trials, reference, IOU).values()).mean
            known.append(Condition(where.format(label), table, value, rivals))
            tables[label] = table
            title = f"{name} against each, {where.format(label)}"
            labelled = found.assign(label=found["other"].map(methods.title))
            charts.append(interval_chart(labelled, title, f"{name} minus the other"))
        return cls(tables, known, [chart for chart in charts if chart is not None])

    def block(self, table: pd.DataFrame, methods: Methods, where: str = "{}") -> list[Block]:
        """Differences, intervals, seeds and verdicts by condition, a row per method; nothing without any."""
        name = methods.title(methods.reference)
        rows = [
            Row(
                str(record["method"]),
                [comparison_cell(record, f"_{label}") for label in self.tables],
                "reference" if method == methods.reference else "",
            )
            for method, record in table.iterrows()
        ]
        caption = f"Points of IoU: {name} minus the best other method, the others minus {name}"
        header = [where.format(label) for label in self.tables]
        note = f"With intervals over the test images; {VERDICTS}"
        return [Table(caption, header, rows, note=note)] if self.tables else []


def cross_section(
    methods: Methods, names: Mapping[str, str], letters: Mapping[str, str], variants: Sequence[str] = ()
) -> Section:
    """Return the part of the page about cross-tests (paper Fig. 6): are unseen kinds of defect found?

    Args:
        methods: all trials of the cross grid.
        names: of the datasets, for people.
        letters: one of its own for each dataset.
        variants: methods with the reference's network, which are no rivals of it.

    Raises:
        ValueError: as :func:`~cadnet.reporting.tables.cross_conditions`.
    """
    conditions = cross_conditions(methods.trials, letters)
    ends = {label: (trials[0].trained_on, trials[0].tested_on) for label, trials in conditions.items()}
    crossed = {label: trials for label, trials in conditions.items() if ends[label][0] != ends[label][1]}
    found = _Compared.of(methods, crossed, combined=[m for m in variants if m != methods.reference])
    table = condition_table(methods, conditions, CROSS_MEASURES, found.tables)
    words = "; ".join(f"{k}: trained on {names[a]}, tested on {names[b]}" for k, (a, b) in ends.items())
    title = "Cross-testing: unseen kinds of defects"
    about = [
        f"{words}.", "Acc is the share of defect pixels that are found.",
        f"Percent, pooled over the test images. {MERGED}",
    ]  # fmt: skip
    columns = {m.title: dict(zip(m.columns(conditions), conditions, strict=True)) for m in PAPER_CROSS}
    lines = [f"## {title} ({methods.stamp})", "", *(f"{text}\n" for text in about)]
    lines += ["#" + markdown(what, table, columns[what], ending="_none") for what in columns]
    section = Section(
        "cross",
        title,
        methods.stamp,
        headline(methods.reference, found.conditions, methods.titles, "IoU of unseen kinds of defects"),
        ["Each network was trained on one kind of defect and tested on each."],
        tables={"cross": table},
        markdown={"cross": "\n".join(lines)},
    )
    shown = [
        Table(f"{what} of defects in percent", list(conditions), result_rows(table, list(chosen), methods))
        for what, chosen in columns.items()
    ]
    note = f"{_BOLD} The paper shows these numbers as a figure without printing them."
    shown[-1] = replace(shown[-1], note=" ".join([*about, note]))
    drawn = [*(cross_chart(table, conditions, names, measure) for measure in PAPER_CROSS), *found.charts]
    caption = f"Bars are means over seeds, whiskers one standard deviation. {READ}"
    blocks = [*shown, *found.block(table, methods), section.file_links(), Figure("cross", drawn, caption)]
    return replace(section, blocks=[Card("Trained on one kind, tested on each", blocks)])


def misalignment_section(
    found: pd.DataFrame, titles: Mapping[str, str], reference: str, name: str, title: str, scale: str
) -> Section:
    """Return the part of the page about pairs that are apart (paper, limitation 1).

    Args:
        found: ``method, seed, kind`` (``shift, angle``), ``amount`` and, as ratios, ``iou_defect, miou,
            escape, overkill``.
        titles: of the methods, by id.
        reference: id of the method that is drawn in front.
        name: of the section and its files.
        title: of the dataset.
        scale: in words.
    """
    looks = method_looks(list(dict.fromkeys(found["method"])), reference)
    kinds = {"shift": "Shift (pixels of 512)", "angle": "Turn (degrees)"}
    parts = {kind: found[found["kind"] == kind] for kind in kinds}
    pictures = [misalignment_chart(parts[k], looks, titles, kinds[k]) for k in kinds if len(parts[k])]
    scores = ["iou_defect", "miou", "escape", "overkill"]
    table = found.groupby(["method", "kind", "amount"], sort=False)[scores].mean().mul(100).reset_index()
    heading = f"Misaligned pairs, {title}"
    text = (
        "Each test image was moved from its reference by this much, in a direction of its own; beyond its "
        "edge nothing is scored. A product aligns its images first (docs/prediction.md); here nothing does."
    )
    section = Section(name, heading, scale, text=[text], tables={name: table})
    figure = Figure("misalignment", pictures, "Lines are means over seeds.")
    return replace(section, blocks=[Card("How far a pair may be apart", [figure, section.file_links()])])


@dataclass(frozen=True, eq=False)
class FewLabelFacts:
    """What is known about the few-label grid besides its results.

    ``unlabelled``: the fraction that methods of semi-supervised learning see besides. ``pretrained_on,
    tested_on``: kinds of defect. ``combined``: ids of the reference's network under methods of
    semi-supervised learning, which the paper does not have and which are no rivals.
    """

    unlabelled: float
    pretrained_on: str
    tested_on: str
    combined: Sequence[str] = ()
    text: Sequence[str] = field(default_factory=tuple)
    settings: Sequence[Setting] = ()


def few_label_section(methods: Methods, facts: FewLabelFacts, sheets: Sequence[Figure] = ()) -> Section:
    """Return the part of the page about few labels (paper Table 6, Fig. 12).

    Raises:
        ValueError: no trials, or as :func:`~cadnet.reporting.tables.fractions_of`.
    """
    by_fraction = fractions_of(methods.trials)
    paper = published_few_labels(method_ids(methods.trials))
    found = _Compared.of(methods, by_fraction, "{} % of the labels", facts.combined)
    table = condition_table(methods, by_fraction, FEW_LABEL_MEASURES, found.tables, paper)
    title = f"Few labels: {facts.pretrained_on} known, {facts.tested_on} new"
    section = Section(
        "few-labels",
        title,
        methods.stamp,
        headline(methods.reference, found.conditions, methods.titles, "IoU by labelled fraction"),
        tables={"few-labels": table},
        markdown={"few-labels": _few_label_markdown(title, methods, table, facts)},
    )
    blocks: list[Block] = [
        _few_label_card(section, table, methods, facts, found),
        _fraction_figure(methods, paper),
    ]
    if found.charts:
        figure = Figure("few_labels_intervals", found.charts, READ)
        blocks.append(Fold("Differences with their intervals", [figure]))
    if facts.text:
        blocks.append(Fold("Protocol", [Text(facts.text)]))
    blocks += settings_block(facts.settings)
    blocks += [*_pseudo_labels(methods, by_fraction), *sheets]
    return replace(section, blocks=blocks)


def _few_label_markdown(title: str, methods: Methods, table: pd.DataFrame, facts: FewLabelFacts) -> str:
    """A table per measure, then the comparisons by fraction."""
    labels = list(fractions_of(methods.trials))
    lines = [f"## {title} ({methods.stamp})", "", *(f"{text}\n" for text in facts.text)]
    lines += [f"{note}\n" for note in settings_notes(facts.settings)]
    for measure in FEW_LABEL_MEASURES:
        columns = dict(zip(measure.columns(labels), (f"{label} %" for label in labels), strict=True))
        lines.append("#" + markdown(measure.title, table, columns, [_basis(measure.basis)], ending="_none"))
    for label in labels:
        if table[f"difference_{label}"].notna().any():
            what, named = f"Comparison at {label} % of the labels", {f"iou_{label}": "IoU"}
            lines.append("#" + markdown(what, table, named, ending=f"_{label}"))
    return "\n".join(lines)


def _basis(basis: str) -> str:
    return f"Percent by labelled fraction of the training samples, {basis}."


def _few_label_card(
    section: Section, table: pd.DataFrame, methods: Methods, facts: FewLabelFacts, found: _Compared
) -> Card:
    labels, tables = list(fractions_of(methods.trials)), []
    combined = ["combined" if method in facts.combined else "" for method in table.index]
    for measure in FEW_LABEL_MEASURES:
        rows = result_rows(table, measure.columns(labels), methods, "")
        rows = [replace(row, small=small) for row, small in zip(rows, combined, strict=True)]
        caption = f"{measure.title}. {_basis(measure.basis)}"
        tables.append(Table(caption, [f"{label} %" for label in labels], rows))
    name, images = methods.title(methods.reference), methods.trials[0].result.num_images
    note = (
        f"{_BOLD} In small print the paper's number and our difference from it. A dash: not run at that "
        f"fraction, which is of the {facts.tested_on} training samples. At 0 % networks are as training on "
        f"{facts.pretrained_on} left them. Methods of semi-supervised learning see "
        f"{100 * facts.unlabelled:.0f} % of the samples besides, without labels. Scored on {images} images."
    )
    if facts.combined:
        note += f" Combined: {name} with an idea of semi-supervised learning, which the paper does not have."
    blocks: list[Block] = [replace(tables[0], note=note), *found.block(table, methods, "{} %")]
    blocks.append(Fold("Fscore, other thresholds, and means over images", tables[1:]))
    return Card("IoU by labelled fraction, beside the paper", [*blocks, section.file_links()])


def _fraction_figure(methods: Methods, paper: pd.DataFrame) -> Figure:
    ids = method_ids(methods.trials)
    looks = method_looks(ids, methods.reference)
    ours: Points = {
        method: {
            float(label) / 100: list(values_of(trials, method, IOU).values())
            for label, trials in fractions_of(methods.trials).items()
        }
        for method in ids
    }
    pictures: list[Picture] = [fraction_chart(ours, looks, methods.titles, "IoU by labelled fraction")]
    caption = (
        "Whiskers are one standard deviation over seeds, faint dots single seeds; points of one fraction "
        "are drawn beside each other so that none hides another."
    )
    printed: Points = {
        str(method): {
            float(str(c)[4:]) / 100: [float(row[str(c)])] for c in paper if str(c).startswith("iou_")
        }
        for method, row in paper.iterrows()
    }
    if printed:
        title = "The same in the paper (Table 6, at its full scale)"
        pictures.append(fraction_chart(printed, looks, methods.titles, title))
    return Figure("few_labels", pictures, caption)


def _pseudo_labels(methods: Methods, by_fraction: Mapping[str, Sequence[ScoredTrial]]) -> list[Block]:
    """Pseudo-labels over epochs: a chart per fraction and quantity, of the methods that have it."""
    pictures = []
    for label, trials in by_fraction.items():
        for column, (what, axis) in QUANTITIES.items():
            title = f"{what}, {label} % of the labels"
            chart = history_chart(methods.only(trials), column, title, axis)
            pictures += [chart] if chart else []
    caption = (
        "Pseudo-labels of unlabelled images, against the truth that training does not see. Precision: of "
        "the pixels labelled as defect, those that are; recall: of the defect pixels, those labelled so; "
        "disagreement: pixels on which two predictions differ. A method without a quantity is left out."
    )
    return (
        [Fold("Pseudo-labels in training", [Figure("few_labels_training", pictures, caption)])]
        if pictures
        else []
    )
