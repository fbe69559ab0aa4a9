"""What ``cadnet compare`` reads and says: the tracking store alone, no file of the project."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cadnet.tracking.compare import compare_runs
from cadnet.tracking.compare_text import Format, Grid, comparison_text, csv_text, grid_text
from cadnet.tracking.metric_names import full_name
from cadnet.tracking.mlflow_tracker import MlflowTracker
from cadnet.tracking.store import call, resolve_store
from cadnet.tracking.tracker import TrackingError
from cadnet.tracking.trials import TAG_KIND

PREFIX = "cadnet/"


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
    """Compare the methods of an experiment; without one list the experiments.

    Args:
        experiment: its full name, such as ``cadnet/synlcd/supervised``.
        metrics: full or short names (``miou`` is ``test_miou``); the first decides the order.
        scale: part of the scale's text to keep; "" keeps all.
        digest: beginning of the data's digest to keep; "" keeps all.
        form: how to write it.
        store: address of the store, or path of a SQLite file; by default the project's at ``root``.
        root: where relative paths count from.
        width: columns of the terminal; None when there is none.

    Raises:
        TrackingError: no store, no such experiment or metric, or no finished run.
    """
    tracker = open_existing(store, root)
    if experiment is None:
        return _list(tracker, form, width)
    names = experiment_names(tracker)
    if experiment not in names:
        near = difflib.get_close_matches(experiment, names, n=5, cutoff=0.5) or names
        raise TrackingError(
            f"{tracker.store.uri} has no experiment {experiment!r}; there are: {', '.join(near) or 'none'}"
        )
    runs = tracker.find_runs(experiment, {TAG_KIND: "trial"})
    known = {name for run in runs for name in run.metrics}
    wanted = list(dict.fromkeys(full_name(name, known) for name in metrics))
    return comparison_text(experiment, compare_runs(runs, wanted, scale=scale, digest=digest), form, width)


def open_existing(store: str | None, root: Path | str = ".") -> MlflowTracker:
    """Open a store that is there; unlike tracking, looking makes none.

    Raises:
        TrackingError: there is none, or it cannot be used.
    """
    if store is not None and "://" not in store and not store.startswith("databricks"):
        store = f"sqlite:///{store}"
    found = resolve_store(root, store)
    if found.database is not None and not found.database.is_file():
        raise TrackingError(
            f"there is no tracking store {found.database}; run the pipeline first (dvc repro), or name "
            "another with --store sqlite:///<file> or --store http://<server>"
        )
    return MlflowTracker(found)


def experiment_names(tracker: MlflowTracker) -> list[str]:
    """Names of the pipeline's experiments, sorted."""
    names: list[str] = []
    token: str | None = None
    while True:
        page = call(
            tracker.client.search_experiments, filter_string=f"name LIKE '{PREFIX}%'", page_token=token
        )
        names += [item.name for item in page]
        token = page.token
        if not token:
            return sorted(names)


def _list(tracker: MlflowTracker, form: Format, width: int | None) -> str:
    rows = []
    for name in experiment_names(tracker):
        runs = tracker.find_runs(name, {TAG_KIND: "trial"})
        finished = [run for run in runs if run.status == "FINISHED"]
        methods = ", ".join(sorted({run.tags.get("method", "?") for run in finished}))
        newest = max((run.start_time for run in runs), default=None)
        day = datetime.fromtimestamp(newest / 1000, UTC).strftime("%Y-%m-%d") if newest else "–"
        rows.append((name, methods or "–", str(len(finished)), str(len(runs) - len(finished)), day))
    if not rows:
        raise TrackingError(f"{tracker.store.uri} holds no experiment {PREFIX}...; run the pipeline first")
    grid = Grid(
        f"Experiments in {tracker.store.uri}",
        ("experiment", "methods", "finished", "others", "newest"),
        tuple(rows),
        ("compare one: cadnet compare --experiment NAME --metric miou",),
        left=2,
    )
    if form == "csv":
        return csv_text([grid.header, *grid.rows])
    return grid_text(grid, form, width) + "\n"
