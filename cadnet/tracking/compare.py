"""``cadnet compare``: which method is better, where and at what cost, from the tracking store alone."""

from __future__ import annotations

import difflib
import io
import math
import textwrap
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from cadnet.files import spreadsheet_safe
from cadnet.tracking.store import TrackingError, resolve_store
from cadnet.tracking.tracker import PREFIX, RunRecord, Tracker
from cadnet.tracking.trials import TAG_COMMIT, TAG_DATASET_DIGEST, TAG_KIND, TAG_SUPERSEDED

if TYPE_CHECKING:
    import pandas as pd

Format = Literal["table", "csv", "markdown"]

REFERENCE = "cadnet"
"""The method all others are compared with."""

COSTS: dict[str, tuple[str, ...]] = {
    "params_m": ("Params M", "cost_params_m"),
    "gmacs_paper": ("GMACs paper", "cost_gmacs_paper"),
    "gmacs_full": ("GMACs full", "cost_gmacs_full"),
    "train_seconds": ("Train s", "cost_train_seconds"),
    "pairs_per_second": ("Eval pairs/s", "cost_pairs_per_second", "eval_pairs_per_second"),
    "latency_ms": ("Latency ms", "cost_latency_ms"),
    "peak_memory_mb": ("Peak MB", "cost_peak_memory_mb"),
}
"""Columns of cost: the title, then the metrics each is read from, of which the first one held counts."""

_PREFIXES = ("cost_", "best_", "test_", "val_", "train_")
_LOWER_IS_BETTER = ("loss", "escape", "overkill", "seconds", "latency", "params", "gmacs", "peak_memory")
_RATIOS = (
    "miou", "macc", "mprecision", "mfscore", "iou_", "acc_", "precision_", "fscore_", "ap_",
    "pixel_accuracy", "escape", "overkill",
)  # fmt: skip
_DECISIVE = ("method.", "train.", "evaluate.thresholds")
"""How the parameters begin that decide numbers; the others of the evaluation only arrange them."""
_NAMES = ("method.title", "method.family")
_TERMS = ["data", "digest", "scale", "variant"]
"""What rows must share to be compared."""
_ABSENT = "–"


def compare(
    experiment: str | None,
    metrics: Sequence[str],
    *,
    scale: str = "",
    digest: str = "",
    form: Format = "table",
    store: str | None = None,
    root: Path | str = ".",
    width: int | None = None,
) -> str:
    """Compare the methods of an experiment as text; without one list the experiments.

    Args:
        experiment: its full name, such as ``cadnet/synlcd/supervised``.
        metrics: full or short names (``miou`` is ``test_miou``); the first decides the order.
        scale: part of the scale's text to keep, in any case; "" keeps all.
        digest: beginning of the data's digest to keep; "" keeps all.
        form: ``csv`` has every number in full and the ids of the runs behind each row.
        store: address of the store, or path of a SQLite file; by default the project's at ``root``.
        root: where relative paths count from.
        width: columns of the terminal; None if the text goes elsewhere.

    Raises:
        TrackingError: no store, no such experiment or metric, or no finished run.
    """
    tracker = open_existing(store, root)
    names = tracker.experiments()
    if experiment is None:
        return _list_experiments(tracker, names, form, width)
    if experiment not in names:
        near = difflib.get_close_matches(experiment, names, n=5, cutoff=0.5) or names
        raise TrackingError(
            f"{tracker.store} has no experiment {experiment!r}; it has: {', '.join(near) or 'none'}"
        )
    runs = tracker.find_runs(experiment, {TAG_KIND: "trial"})
    known = {name for run in runs for name in run.metrics}
    wanted = list(dict.fromkeys(full_name(name, known) for name in metrics))
    return comparison_text(experiment, compare_runs(runs, wanted, scale=scale, digest=digest), form, width)


def open_existing(store: str | None, root: Path | str = ".") -> Tracker:
    """Open a store that exists; unlike tracking, reading creates none.

    Raises:
        TrackingError: it does not exist, or cannot be used.
    """
    if store is not None and "://" not in store and not store.startswith("databricks"):
        store = f"sqlite:///{store}"
    found = resolve_store(root, store)
    if found.database is not None and not found.database.is_file():
        raise TrackingError(
            f"there is no tracking store {found.database}; run the pipeline first (dvc repro), or name "
            "another with --store sqlite:///<file> or --store http://<server>"
        )
    return Tracker(found)


class Comparison(NamedTuple):
    """Comparable rows of one experiment.

    Attributes:
        metrics: full names; rows are sorted by the first.
        rows: one row per method with one set of settings, best first within the newest terms first. Columns:
            the terms (data, digest, scale, variant), method, settings (what tells the row from others of the
            method), seeds, for each metric mean, sample standard deviation, number of seeds and the
            difference of the mean to the best row of another method and to CADNet's newest row, then
            :data:`COSTS`, and ids of the runs; NaN is what does not exist.
        notes: by terms, where rows of equal terms are not quite on equal terms.
        ignored: number of runs that count in no row, by reason.
    """

    metrics: tuple[str, ...]
    rows: pd.DataFrame
    notes: dict[tuple[str, ...], list[str]]
    ignored: dict[str, int]


def compare_runs(
    runs: Iterable[RunRecord], metrics: Sequence[str], *, scale: str = "", digest: str = ""
) -> Comparison:
    """Reduce the runs of an experiment to comparable rows.

    A trial's newest finished run that holds the first metric counts, per method, seed, data, scale, variant
    and settings; all others are ignored and counted. ``scale`` and ``digest`` as in :func:`compare`.

    Raises:
        TrackingError: no run that counts has this scale and digest.
    """
    import pandas as pd

    table = pd.DataFrame(
        [_run_row(run, metrics) for run in runs if run.tags.get(TAG_KIND) == "trial"],
        columns=[*_TERMS, "method", "seed", "decisive", "start", "reason", "run_id", "run", *metrics, *COSTS],
    )
    of_scale = [scale.casefold() in text.casefold() for text in table["scale"]]
    of_data = [f" {digest}" in f" {text}" for text in table["digest"]]
    wanted = table[pd.Series(of_scale, dtype=bool) & pd.Series(of_data, dtype=bool)]
    reasons = Counter(wanted["reason"])
    if not reasons.pop("", 0):
        raise TrackingError(_nothing(table, metrics[0], reasons, scale, digest))
    sound = wanted[wanted["reason"] == ""].sort_values("start", kind="stable")
    newest = sound.drop_duplicates([*_TERMS, "method", "seed", "decisive"], keep="last")
    reasons["superseded"] += len(sound) - len(newest)
    groups: list[tuple[Any, pd.DataFrame]] = list(newest.groupby(_TERMS))
    groups.sort(key=lambda item: -item[1]["start"].max())
    return Comparison(
        tuple(metrics),
        pd.concat([_block(group, metrics) for _, group in groups]),
        {terms: _inequalities(list(group["run"])) for terms, group in groups},
        {reason: number for reason, number in sorted(reasons.items()) if number},
    )


def _run_row(run: RunRecord, metrics: Sequence[str]) -> dict[str, object]:
    tags, params = run.tags, run.params
    data = sorted(item for item in tags.items() if item[0].startswith(TAG_DATASET_DIGEST))
    reason = "" if metrics[0] in run.metrics else f"without {metrics[0]}"
    if run.status != "FINISHED":
        reason = "still running" if run.status == "RUNNING" else "failed or killed"
    decisive = (key for key in sorted(params) if key.startswith(_DECISIVE) and key not in _NAMES)
    return {
        "data": " ".join(key.removeprefix(TAG_DATASET_DIGEST) for key, _ in data),
        "digest": " ".join(value for _, value in data),
        "scale": tags.get("scale", ""),
        "variant": tags.get("variant", ""),
        "method": tags.get("method", "?"),
        "seed": int(tags.get("seed", "0")),
        "decisive": tuple((key, params[key]) for key in decisive),
        "start": run.start_time,
        "reason": "superseded" if TAG_SUPERSEDED in tags else reason,
        "run_id": run.run_id,
        "run": run,
        **{metric: run.metrics.get(metric, math.nan) for metric in metrics},
        **{
            name: next((run.metrics[key] for key in keys if key in run.metrics), math.nan)
            for name, (_, *keys) in COSTS.items()
        },
    }


def _nothing(table: pd.DataFrame, metric: str, reasons: Counter[str], scale: str, digest: str) -> str:
    found = ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items())) or "none matches"
    wanted = [f"--scale {scale!r}"] * bool(scale) + [f"--dataset-digest {digest}"] * bool(digest)
    text = f"no finished run with {metric}{' for ' + ' and '.join(wanted) if wanted else ''} ({found})"
    if not wanted:
        return f"{text}; let the pipeline finish: dvc repro"
    known = sorted(set(zip(table["scale"], table["digest"], strict=True)))
    return f"{text}; there are: " + "; ".join(f"{value[:12]} at {name!r}" for name, value in known)


def _block(runs: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """The rows of runs on equal terms."""
    import pandas as pd

    runs = runs.sort_values("seed").assign(settings="")
    for _, own in runs.groupby("method"):
        shared = set.intersection(*map(set, own["decisive"]))
        texts = [
            ", ".join(f"{_short(item[0])}={item[1]}" for item in settings if item not in shared)
            for settings in own["decisive"]
        ]
        runs.loc[own.index, "settings"] = [text or "fewer settings" * any(texts) for text in texts]
    grouped: Any = runs.groupby(["method", "settings"])
    parts: dict[str, Any] = {name: grouped[name].first() for name in _TERMS}
    parts["seeds"] = grouped["seed"].agg(lambda seeds: " ".join(map(str, seeds)))
    start = grouped["start"].max()
    references = start[start.index.get_level_values("method") == REFERENCE]
    for metric in metrics:
        values, best_of = grouped[metric], "min" if lower_is_better(metric) else "max"
        mean = values.mean()
        best = mean.groupby("method").agg(best_of)
        others = {name: best.drop(name).agg(best_of) for name in best.index}
        parts |= {f"{metric}_mean": mean, f"{metric}_sd": values.std(), f"{metric}_n": values.count()}
        parts[f"{metric}_vs_best_other"] = mean - mean.index.get_level_values("method").map(others)
        reference = references.idxmax() if len(references) else None
        to_reference = mean - (mean[reference] if reference else math.nan)
        parts[f"{metric}_vs_{REFERENCE}"] = to_reference.mask(mean.index == reference)
    parts |= {name: grouped[name].mean() for name in COSTS} | {"runs": grouped["run_id"].agg(" ".join)}
    rows = pd.DataFrame(parts).reset_index()
    ascending = [lower_is_better(metrics[0]), True, True]
    return rows.sort_values([f"{metrics[0]}_mean", "method", "settings"], ascending=ascending)


def _short(key: str) -> str:
    """A setting without the part that all of its kind begin with."""
    parts = key.split(".")
    return ".".join(parts[2 if key.startswith("method.recipe.") else 1 :]) or key


def _inequalities(runs: Sequence[RunRecord]) -> list[str]:
    """Where runs of equal terms are not quite on equal terms, one sentence each."""
    keys = {key for run in runs for key in run.params if key.startswith("train.")}
    facts = {f"{key} differs": [run.params.get(key, "not set") for run in runs] for key in sorted(keys)}
    facts["speed was measured on"] = [
        run.tags.get("device") or run.tags.get("gpu", "unknown").replace("none", "CPU") for run in runs
    ]
    facts["trained at commits"] = [run.tags.get(f"{TAG_COMMIT}train", "no commit")[:7] for run in runs]
    notes = []
    for what, values in facts.items():
        methods: dict[str, set[str]] = {}
        for run, value in zip(runs, values, strict=True):
            methods.setdefault(value, set()).add(run.tags.get("method", "?"))
        if len(methods) > 1:
            who = [f"{value} ({', '.join(sorted(names))})" for value, names in sorted(methods.items())]
            notes.append(f"{what}: {'; '.join(who)}")
    dirty = sum(run.tags.get("git_dirty") == "true" for run in runs)
    if dirty:
        notes.append(f"{dirty} of {len(runs)} runs are from a work tree with uncommitted changes")
    return notes


def lower_is_better(metric: str) -> bool:
    """Whether less of a metric is better: losses, escape, overkill, and costs other than throughput."""
    return _stem(metric).startswith(_LOWER_IS_BETTER)


def is_ratio(metric: str) -> bool:
    """Whether a metric is in [0, 1] and shown in percent."""
    return _stem(metric).startswith(_RATIOS)


def full_name(name: str, known: Collection[str]) -> str:
    """Return the metric meant by a full or a short name: ``miou`` means ``test_miou``.

    Raises:
        TrackingError: no run holds it; the message gives similar names.
    """
    for candidate in (name, f"test_{name}", f"cost_{name}"):
        if candidate in known:
            return candidate
    stems = {_stem(other): other for other in sorted(known, key=lambda other: other.startswith("test_"))}
    near = [stems[stem] for stem in difflib.get_close_matches(_stem(name), stems, n=5, cutoff=0.5)]
    hint = f"near it: {', '.join(near)}" if near else f"there are: {', '.join(sorted(known)) or 'none yet'}"
    raise TrackingError(f"no run of the experiment has a metric {name!r}; {hint}")


def _stem(metric: str) -> str:
    for prefix in _PREFIXES:
        metric = metric.removeprefix(prefix)
    return metric


def comparison_text(experiment: str, comparison: Comparison, form: Format, width: int | None = None) -> str:
    """Return a comparison as text; ``form`` and ``width`` as in :func:`compare`."""
    rows = comparison.rows
    if form == "csv":
        first = ["experiment", *_TERMS, "method", "settings", "seeds"]
        whole = rows.assign(experiment=experiment)
        whole = whole[[*first, *(name for name in rows.columns if name not in first)]]
        return whole.map(spreadsheet_safe).to_csv(index=False)
    texts = []
    blocks: Iterable[tuple[Any, pd.DataFrame]] = rows.groupby(_TERMS, sort=False)
    for terms, block in blocks:
        names, digests, scale, variant = terms
        data = [f"{n} {d[:12]}" for n, d in zip(names.split(), digests.split(), strict=True)]
        parts = [experiment, variant, scale or "scale unknown", ", ".join(data) or "data unknown"]
        title = " | ".join(filter(None, parts))
        texts.append(_draw(title, _cells(block, comparison.metrics), comparison.notes[terms], form, width))
    lines = ["mean ± standard deviation over seeds; differences are between means, in the metric's unit"]
    if min(map(_count, rows["seeds"])) < 3:
        lines.append("below three seeds a difference is no evidence of a better method")
    if comparison.ignored:
        counts = ", ".join(f"{number} {reason}" for reason, number in comparison.ignored.items())
        lines.append(f"runs that do not count: {counts}")
    texts.append("\n".join(f"- {line}" if form == "markdown" else line for line in lines))
    return "\n\n".join(texts) + "\n"


def _cells(block: pd.DataFrame, metrics: Sequence[str]) -> list[list[str]]:
    """The columns of a block as texts, the title first."""
    methods, seeds = list(block["method"]), [_count(text) for text in block["seeds"]]
    titles = [f"{m} ({s})" if s else m for m, s in zip(methods, block["settings"], strict=True)]
    columns = [["Method", *titles], ["Seeds", *map(str, seeds)]]
    others = len(set(methods)) > 1
    for metric in metrics:
        scaled, digits = (100, 2) if is_ratio(metric) else (1, 4)
        spreads = []
        for row, of_all in zip(block.to_dict("records"), seeds, strict=True):
            mean, deviation, n = (row[f"{metric}_{what}"] for what in ("mean", "sd", "n"))
            text = f"{scaled * mean:.{digits}f}" if n else _ABSENT
            text += f" ± {scaled * deviation:.{digits}f}" if n > 1 else ""
            spreads.append(text if n in (0, of_all) else f"{text} (n={n})")
        unit, arrow = " %" if is_ratio(metric) else "", "↓" if lower_is_better(metric) else "↑"
        columns.append([f"{metric}{unit} {arrow}", *spreads])
        shown = {"vs best other": "best_other"} | ({"vs CADNet": REFERENCE} if REFERENCE in methods else {})
        for title, key in shown.items() if others else ():
            values = scaled * block[f"{metric}_vs_{key}"]
            columns.append([title, *(_ABSENT if math.isnan(v) else f"{v:+.{digits}f}" for v in values)])
    for name, (title, *_) in COSTS.items():
        if block[name].notna().any():
            columns.append([title, *(_cost_text(value, name) for value in block[name])])
    return columns


def _count(seeds: str) -> int:
    return len(seeds.split())


def _cost_text(value: float, name: str) -> str:
    """Sizes with two decimals, as the paper prints them; what was measured with about three figures."""
    if math.isnan(value):
        return _ABSENT
    if name in ("params_m", "gmacs_paper", "gmacs_full") or value < 10:
        return f"{value:.2f}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _draw(
    title: str,
    columns: Sequence[Sequence[str]],
    notes: Iterable[str],
    form: Format,
    width: int | None,
    left: int = 1,
) -> str:
    """A table by rich with its title above and its notes below.

    Columns beyond the terminal's width go on below, so that no number is broken; the first ``left`` ones,
    which name the row, are repeated there.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    is_markdown, room = form == "markdown", width or 10**6
    narrow = [max(map(len, [*column[1:], *column[0].split()])) + 3 for column in columns]
    panels = [list(range(left))]
    for index in range(left, len(columns)):
        if sum(narrow[i] for i in [*panels[-1], index]) > room and len(panels[-1]) > left:
            panels.append(list(range(left)))
        panels[-1].append(index)
    console = Console(file=io.StringIO(), force_terminal=width is not None, width=room, highlight=False)
    with console.capture() as capture:
        for panel in panels:
            table = Table(box=box.MARKDOWN if is_markdown else box.SIMPLE_HEAD, pad_edge=is_markdown)
            for index in panel:
                head = textwrap.fill(columns[index][0], room if width is None else narrow[index] - 3)
                side: Literal["left", "right"] = "left" if index < left else "right"
                table.add_column(Text(head), justify=side, no_wrap=True)
            for number, cells in enumerate(zip(*(columns[index][1:] for index in panel), strict=True)):
                texts = [cell.replace("|", "\\|") if is_markdown else cell for cell in cells]
                best = number == 0 and len(columns[0]) > 2
                table.add_row(*map(Text, texts), style="bold" if best else None)
            console.print(table)
    drawn = [line.rstrip() for line in capture.get().splitlines() if line.strip()]
    if is_markdown:
        return "\n".join([f"## {title}", "", *drawn, "", *(f"- {note}" for note in notes)]).rstrip()
    return "\n".join([title, *drawn, *(f"  {note}" for note in notes)])


def _list_experiments(tracker: Tracker, names: Sequence[str], form: Format, width: int | None) -> str:
    import pandas as pd

    rows = []
    for name in names:
        runs = tracker.find_runs(name, {TAG_KIND: "trial"})
        finished = [run for run in runs if run.status == "FINISHED"]
        methods = ", ".join(sorted({run.tags.get("method", "?") for run in finished}))
        newest = f"{datetime.fromtimestamp(runs[0].start_time / 1000, UTC):%Y-%m-%d}" if runs else _ABSENT
        others = len(runs) - len(finished)
        rows.append((name, methods or _ABSENT, str(len(finished)), str(others), newest))
    if not rows:
        raise TrackingError(f"{tracker.store} holds no experiment {PREFIX}...; run the pipeline first")
    header = ("experiment", "methods", "finished", "others", "newest")
    if form == "csv":
        return pd.DataFrame(rows, columns=list(header)).map(spreadsheet_safe).to_csv(index=False)
    hint = ["compare one: cadnet compare --experiment NAME --metric miou"]
    columns = [list(column) for column in zip(header, *rows, strict=True)]
    return _draw(f"Experiments in {tracker.store}", columns, hint, form, width, left=2) + "\n"
