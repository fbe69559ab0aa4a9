"""The part of the page about one dataset: every method of the main grid, beside the paper's numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from cadnet.evaluation.bootstrap import LEVEL
from cadnet.reporting.charts import curve_charts, history_chart, interval_chart, iou_chart, loss_chart
from cadnet.reporting.differences import Condition, best_other, compared, differences, headline
from cadnet.reporting.pages import (
    Block,
    Card,
    Cell,
    Figure,
    Fold,
    Headline,
    Row,
    Section,
    Table,
    Text,
    frame_block,
    number,
)
from cadnet.reporting.published import published_results
from cadnet.reporting.results import by_method, by_part, method_ids, part_name, pivot, spread, values_of
from cadnet.reporting.settings import Setting, settings_block, settings_notes
from cadnet.reporting.style import method_colours
from cadnet.reporting.tables import (
    BASIS,
    COSTS,
    MEANS,
    PARTS,
    VERDICTS,
    Methods,
    class_title,
    markdown,
    metric_titles,
    results_table,
)

WIDE = 6
"""With more classes than this the table has a row per class, and further curves are folded away."""
OPEN_PARTS = 12
"""A table of slices by one column is folded away when it has more rows than this."""
READ = (
    f"Dots: the difference as measured; bars: {LEVEL} % intervals of paired resamples of the test images, "
    "green above 0, red below, grey around it. Where there are two, the wider one decides and the other is "
    "faint. They do not cover the luck of a training, for which there are seeds."
)
"""How to read a chart of intervals."""

Record = Mapping[Any, Any] | pd.Series
"""A row of a table, by its columns' names."""


@dataclass(frozen=True, eq=False)
class DatasetFacts:
    """What is known about a dataset besides its results.

    ``published`` names the paper's table (``table3_synlcd``, ``table4_pcb``, ``table5_mvtec``) or is None.
    ``settings``: beside the paper's. ``sizes``: numbers of pairs by
    split. ``group_title, subset_title``: what the manifest's columns hold here, in the singular.
    """

    name: str
    title: str
    published: str | None = None
    settings: Sequence[Setting] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    digest: str = ""
    group_title: str = "group"
    subset_title: str = "subset"


def dataset_section(
    methods: Methods, facts: DatasetFacts, first: Figure | None = None, sheets: Sequence[Figure] = ()
) -> Section:
    """Return a dataset's part of the page.

    Args:
        methods: the trials of the main grid on the dataset.
        facts: about the dataset.
        first: one row of error maps, for the first screen.
        sheets: error maps and feature maps of all chosen samples.
    """
    found, rival, comparison, said = compare_miou(methods)
    paper = published_results(facts.published, methods.classes, method_ids(methods.trials))
    table = results_table(methods, paper, comparison)
    files = {facts.name: table}
    if comparison is not None:
        files[f"{facts.name}-intervals"] = interval_table(found, rival, methods)
    notes = [f"{BASIS}; in brackets the paper's.", *settings_notes(facts.settings)]
    columns = metric_titles(methods.classes) | COSTS
    section = Section(
        facts.name,
        facts.title,
        methods.stamp,
        said,
        top=[summary_table(table, methods), *([first] if first else [])],
        tables=files,
        markdown={facts.name: markdown(f"{facts.title} ({methods.stamp})", table, columns, notes)},
    )
    blocks: list[Block] = [
        _results_card(section, table, methods, facts),
        *_sure(found, rival, methods, facts),
        *_training(methods),
        *_curves(methods),
        *sheets,
        _judged(methods),
        *_slices(methods, facts),
        _costs(methods),
        _runs(methods, facts),
    ]
    return replace(section, blocks=blocks)


def compare_miou(methods: Methods) -> tuple[pd.DataFrame, str | None, pd.DataFrame | None, Headline]:
    """Compare the reference with every other method.

    Returns :func:`~cadnet.reporting.differences.differences`, the best other method,
    :func:`~cadnet.reporting.differences.compared` in mIoU (None where there is nothing to compare), and the
    headline.
    """
    reference, trials = methods.reference, methods.trials
    found, rival = differences(trials, reference), best_other(trials, reference)
    comparison = None if found.empty else compared(found, reference, rival, "miou")
    value = spread(values_of(trials, reference, "miou").values()).mean
    others = [method for method in method_ids(trials) if method != reference]
    known = [] if comparison is None else [Condition("", comparison, value, others)]
    return found, rival, comparison, headline(reference, known, methods.titles, "mIoU")


def summary_table(table: pd.DataFrame, methods: Methods) -> Table:
    """Which method, by how much, how sure, at what cost; best mIoU first."""
    costs = pivot(methods.trials, ["cost_latency_ms", "cost_params_m"]).to_dict("index")
    rows = []
    for method, record in table.sort_values("miou", ascending=False, kind="stable").iterrows():
        cost = costs[method]
        cells = [
            replace(result_cell(record, "miou", best=record["miou"] == table["miou"].max()), small=()),
            *comparison_cells(record),
            Cell(number(cost["cost_latency_ms"])),
            Cell(number(cost["cost_params_m"], 2)),
        ]
        rows.append(Row(str(record["method"]), cells, _kind(method, methods)))
    name = methods.title(methods.reference)
    return Table(
        f"mIoU over defect classes, pooled over the {methods.trials[0].result.num_images} test pairs",
        ["mIoU (%)", "Difference (points)", "Seeds ahead", "Verdict", "ms per pair", "Parameters (M)"],
        rows,
        note=f"{name} against the best other method, the others against {name}, with {LEVEL} % intervals "
        f"over the test images; {VERDICTS}",
    )


def result_cell(
    record: Record, column: str, *, best: bool = False, digits: int = 1, printed: str = "paper "
) -> Cell:
    """One number with what the row has of it: deviation, the paper's number, ours minus it."""
    ours, std, paper, diff = (record.get(column + part) for part in PARTS)
    small = []
    if not pd.isna(paper):
        minus = "" if pd.isna(diff) else f" ({number(diff, signed=True)})"
        small.append(f"{printed}{number(paper, digits)}{minus}")
    # What does not vary with the seed, such as a size, needs no deviation.
    spread = f"± {number(std, digits)}" if std and not pd.isna(std) else ""
    return Cell(number(ours, digits), spread, small, best)


def comparison_cells(record: Record, ending: str = "") -> list[Cell]:
    """Difference with its interval, seeds ahead, and verdict."""
    if pd.isna(record[f"difference{ending}"]):
        return [Cell("–"), Cell("–"), Cell("–")]
    small = [f"on {record[f'other{ending}']}"]
    if not pd.isna(record[f"low{ending}"]):
        small.insert(0, f"{number(record[f'low{ending}'])} to {number(record[f'high{ending}'])}")
    verdict = str(record[f"verdict{ending}"])
    return [
        Cell(number(record[f"difference{ending}"], signed=True), small=small),
        Cell(f"{record[f'seeds_ahead{ending}']:.0f} of {record[f'common_seeds{ending}']:.0f}"),
        Cell(verdict, state=verdict),
    ]


def comparison_cell(record: Record, ending: str = "") -> Cell:
    """Difference, interval, seeds ahead and verdict in one cell."""
    gap, seeds, verdict = comparison_cells(record, ending)
    if gap.text == "–":
        return gap
    small = [*gap.small[:-1], f"{seeds.text} seeds"]
    return Cell(f"{gap.text} {verdict.text}", small=small, state=verdict.state)


def result_rows(
    table: pd.DataFrame, columns: Sequence[str], methods: Methods, printed: str = "paper "
) -> list[Row]:
    """A row per method with a cell per column, the best of each column marked."""
    rows = []
    for method, record in table.iterrows():
        best = {column: len(table) > 1 and record[column] == table[column].max() for column in columns}
        cells = [result_cell(record, column, best=best[column], printed=printed) for column in columns]
        rows.append(Row(str(record["method"]), cells, _kind(method, methods)))
    return rows


def interval_table(found: pd.DataFrame, rival: str | None, methods: Methods) -> pd.DataFrame:
    """Differences against ``rival`` in every metric, then those in mIoU against the other methods."""
    names = {"miou": "mIoU"} | {m: m.replace("iou_", "IoU ", 1) for m in found["metric"] if m != "miou"}
    against = found["other"] == rival
    shown = pd.concat([found[against], found[~against & (found["metric"] == "miou")]])
    titles = {column: shown[column].map(methods.title) for column in ("method", "other")}
    shown = shown.assign(metric=shown["metric"].map(names), **titles)
    return shown[["metric", *(column for column in shown if column != "metric")]]


def _kind(method: Hashable, methods: Methods) -> str:
    return "reference" if method == methods.reference else ""


def _results_card(section: Section, table: pd.DataFrame, methods: Methods, facts: DatasetFacts) -> Card:
    titles, beside = metric_titles(methods.classes), " beside the paper" if facts.published else ""
    wide = len(methods.classes) > WIDE
    shown = list(MEANS) if wide else list(titles)
    note = "Bold is the best of a column, ± the standard deviation over seeds."
    if facts.published:
        note += " In small print the paper's number, at its full scale, and our difference from it in points."
    caption = "Percent, pooled over the test pairs; means are over defect classes only"
    blocks: list[Block] = [
        Table(caption, [titles[metric] for metric in shown], result_rows(table, shown, methods), note=note)
    ]
    if wide:
        ious = [f"iou_{name}" for name in methods.classes]
        columns = zip(*(row.cells for row in result_rows(table, ious, methods)), strict=True)
        rows = [Row(class_title(name), cells) for name, cells in zip(methods.classes, columns, strict=True)]
        blocks.append(Table("IoU of each class in percent", list(table["method"]), rows, first="Class"))
    caption = "IoU by class. Whiskers are one standard deviation over seeds."
    if facts.published:
        caption += " Upright marks are the paper's numbers, at its full scale: they show what to reach."
    blocks.append(Figure("iou", [iou_chart(table, methods.classes)], caption))
    blocks += settings_block(facts.settings)
    return Card(f"Results{beside}", [*blocks, section.file_links()])


def _sure(found: pd.DataFrame, rival: str | None, methods: Methods, facts: DatasetFacts) -> list[Block]:
    """How sure the differences are: by metric to the best other method, on mIoU to each other one."""
    if rival is None or found.empty:
        return []
    name, other, group = methods.title(methods.reference), methods.title(rival), f"{facts.group_title}s"
    against = found[(found["other"] == rival) & found["metric"].str.contains("iou")]
    against = against.assign(label=against["metric"].map(metric_titles(methods.classes)))
    charts = [interval_chart(against, f"{name} against {other}", f"{name} minus {other}", group)]
    each = found[found["metric"] == "miou"]
    if len(each) > 1:
        each = each.assign(label=each["other"].map(methods.title))
        of = f"mIoU of {name} minus the other's"
        charts.append(interval_chart(each, f"{name} against each other method", of, group))
    drawn = [chart for chart in charts if chart is not None]
    one = found.iloc[0]
    units = f"{one['images']:,} images" + (f" of {one['groups']} {group}" if one["groups"] else "")
    shown = interval_table(found, rival, methods)
    columns = {"Metric": shown["metric"], "Against": shown["other"], name: shown["value"]}
    columns |= {"Other": shown["other_value"], "Difference": shown["difference"]}
    for kind, unit in (("image", "images"), ("group", group)):
        ends = zip(shown[f"{kind}_low"], shown[f"{kind}_high"], strict=True)
        columns[f"{LEVEL} % over {unit}"] = pd.Series([_span(*pair) for pair in ends], shown.index)
    columns["Better (%)"] = shown["better"]
    caption = f"Values in percent, differences in points; paired resamples of {units}"
    note = f"Better: share of the resamples in which {name} is ahead. Of escape and overkill less is better."
    table = replace(frame_block(caption, pd.DataFrame(columns), 1), note=note)
    figure = [Figure("intervals", drawn, f"Differences in points. {READ}")] if drawn else []
    return [Card("How sure the difference is", [*figure, Fold("All differences and intervals", [table])])]


def _span(low: float, high: float) -> str:
    return "–" if pd.isna(low) else f"{number(low)} to {number(high)}"


def _training(methods: Methods) -> list[Block]:
    """Validation mIoU of all methods and the loss of the reference; the other losses are folded away."""
    curve = history_chart(methods, "val_miou", "Validation mIoU", "mIoU over defect classes (%)")
    if curve is None:
        return []
    groups = by_method(methods.trials)
    colours = method_colours(list(groups))
    order = sorted(groups, key=lambda method: method != methods.reference)
    losses = [
        loss_chart(groups[method][0], f"Training loss of {methods.title(method)}", colours[method])
        for method in order
    ]
    shown = [curve, *(chart for chart in losses[:1] if chart is not None)]
    others = [chart for chart in losses[1:] if chart is not None]
    caption = (
        "Lines are means over seeds, faint lines single seeds. Losses are of the first seed; parts are shown "
        "before weighting."
    )
    blocks: list[Block] = [Figure("training", shown, caption)]
    if others:
        figure = Figure("training", others, "Training losses of the other methods, first seed.")
        blocks.append(Fold("Losses of the other methods", [figure]))
    return [Card("Training", blocks)]


def _curves(methods: Methods) -> list[Block]:
    """Per class the precision-recall and the Fscore-threshold curves of every method's first seed."""
    kept = [trial for trial in methods.trials if trial.result.curves]
    if not kept:
        return []
    charts = [curve_charts(methods.only(kept), index) for index in range(len(methods.classes))]
    seeds = sorted({group[0].seed for group in by_method(kept).values()})
    caption = (
        f"Each class against all else, pixel by pixel over the test set (seed {', '.join(map(str, seeds))}). "
        "AP is the average precision; dots mark the best threshold, read off the test set, which flatters "
        "every method."
    )
    shown = [picture for pair in charts[:WIDE] for picture in pair]
    blocks: list[Block] = [Figure("curves", shown, caption)]
    further = [picture for pair in charts[WIDE:] for picture in pair]
    if further:
        blocks.append(
            Fold(f"Curves of {len(charts) - WIDE} further classes", [Figure("curves", further, caption)])
        )
    return [Card("Precision, recall and threshold", blocks)]


def metric_table(methods: Methods, columns: Mapping[str, tuple[str, int]], caption: str, note: str) -> Table:
    """Metrics of the tidy results as a table: by metric the heading and the number of decimals."""
    table = pivot(methods.trials, list(columns))
    rows = [
        Row(
            methods.title(str(method)),
            [result_cell(record, metric, digits=digits) for metric, (_, digits) in columns.items()],
            _kind(method, methods),
        )
        for method, record in table.iterrows()
    ]
    return Table(caption, [title for title, _ in columns.values()], rows, note=note)


def _judged(methods: Methods) -> Card:
    """Image-level decisions: false negatives and false positives."""
    pixels = methods.trials[0].result.image_level.min_pixels
    columns = {
        "defective": ("Defective images", 0), "escape": ("Escape (%)", 1),
        "misplaced": ("Found elsewhere", 1), "clean": ("Clean images", 0), "overkill": ("Overkill (%)", 1),
    }  # fmt: skip
    note = (
        "Escape: false negative rate, defective images judged clean. Overkill: false positive rate, clean "
        "images judged defective. Found elsewhere: images rightly judged defective, though no marked pixel "
        "is on a defect."
    )
    caption = f"Images judged defective from {pixels} predicted defect pixel{'s' if pixels > 1 else ''} on"
    return Card("Whole images: escape and overkill", [metric_table(methods, columns, caption, note)])


def _slices(methods: Methods, facts: DatasetFacts) -> list[Block]:
    """mIoU by parts of the test set, long ones folded away."""
    titles = {
        "group": facts.group_title,
        "subset": facts.subset_title,
        "has_defect": "content",
        "defect size": "defect size (share of the image)",
        "defect contrast": "defect contrast (grey levels)",
    }
    ids, first = method_ids(methods.trials), methods.trials[0].result
    # On clean images alone every mIoU is 0 or undefined; overkill covers those.
    parts = [part for part in first.slices if part.image_level.defective]
    sizes = Counter(part.by for part in parts)
    means = by_part(methods.trials, "miou").to_dict("index")
    tables = []
    for by in sizes:
        rows = [Row(f"By {titles.get(by, by)}", kind="group")]
        for part in (part for part in parts if part.by == by):
            found = means[part_name(by, part.name)]
            name = "defective images only" if by == "has_defect" else part.name
            rows.append(Row(name, [Cell(f"{part.metrics.images}"), *(Cell(number(found[m])) for m in ids)]))
        tables.append((by, rows))
    if not tables:
        return []
    header = ["Images", *map(methods.title, ids)]
    note = (
        "Defect size is the share of the image's pixels that is truly defective. Defect contrast is the mean "
        "absolute difference to the reference over the defect's pixels minus that over the background; its "
        "parts hold equally many defective images."
    )
    caption = "mIoU in percent on parts of the test set, mean over seeds"
    short = [row for by, rows in tables if sizes[by] <= OPEN_PARTS for row in rows]
    blocks: list[Block] = [Table(caption, header, short, "Part", note)] if short else []
    for by, rows in tables:
        if sizes[by] > OPEN_PARTS:
            title = f"By {titles.get(by, by)} ({sizes[by]} parts)"
            blocks.append(Fold(title, [Table(caption, header, rows[1:], "Part", "" if short else note)]))
    return [Card("Where it is easy and where it is hard", blocks)]


def _costs(methods: Methods) -> Card:
    columns = {
        "cost_params_m": ("Parameters (M)", 2), "cost_gmacs_paper": ("GMACs, paper's counting", 2),
        "cost_gmacs_full": ("GMACs, in full", 2), "cost_latency_ms": ("Latency (ms)", 1),
        "cost_pairs_per_second": ("Pairs per second", 1), "cost_peak_memory_mb": ("Peak memory (MB)", 0),
    }  # fmt: skip
    devices = "; ".join(dict.fromkeys(trial.device for trial in methods.trials if trial.device))
    note = (
        "GMACs are 10⁹ multiply-adds. The paper's counting leaves out what its profiler did not see, such "
        "as the products inside attention. Latency is the median of single pairs; pairs per second are of "
        "the whole evaluation, reading and counting included; peak memory is on a GPU that of single pairs "
        "with the weights, on a CPU that of the whole process."
    )
    caption = f"Size and speed of each network, per pair of images ({devices or 'device not known'})"
    return Card("Cost", [metric_table(methods, columns, caption, note)])


def _runs(methods: Methods, facts: DatasetFacts) -> Fold:
    sizes = [f"{name} pairs: {size}" for name, size in facts.sizes.items()]
    digest = [f"dataset digest: {facts.digest}"] if facts.digest else []
    runs = pd.DataFrame(
        {
            "Method": [methods.title(trial.method) for trial in methods.trials],
            "Seed": [trial.seed for trial in methods.trials],
            "mIoU (%)": [100 * trial.scores.get("miou", float("nan")) for trial in methods.trials],
            "Training (s)": [
                trial.scores.get("cost_train_seconds", float("nan")) for trial in methods.trials
            ],
            "MLflow run": [trial.run_id or "–" for trial in methods.trials],
        }
    )
    return Fold("Data and runs", [Text([*sizes, *digest], items=True), frame_block("Single runs", runs)])
