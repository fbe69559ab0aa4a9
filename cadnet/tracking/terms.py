"""On which terms a run was made: what must be equal before two runs are compared, and what should be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cadnet.tracking.tracker import RunRecord
from cadnet.tracking.trials import TAG_COMMIT, TAG_DATASET_DIGEST

_DECISIVE = ("method.", "train.", "evaluate.thresholds")
"""How the parameters begin that decide numbers; the others of the evaluation only arrange them."""


class Terms(NamedTuple):
    """What runs must share to be compared: data (names and digests), scale, variant."""

    data: tuple[tuple[str, str], ...]
    scale: str
    variant: str


def terms_of(run: RunRecord) -> Terms:
    """The terms on which a run can be compared."""
    data = sorted(
        (key.removeprefix(TAG_DATASET_DIGEST), value)
        for key, value in run.tags.items()
        if key.startswith(TAG_DATASET_DIGEST)
    )
    return Terms(tuple(data), run.tags.get("scale", ""), run.tags.get("variant", ""))


def settings_of(run: RunRecord) -> tuple[tuple[str, str], ...]:
    """The parameters that decide a run's numbers, not its seed, its title or recipes of other methods."""
    own = f"train.recipes.{run.params.get('method.recipe', '')}."
    return tuple(
        sorted(
            (key, value)
            for key, value in run.params.items()
            if key.startswith(_DECISIVE)
            and key != "method.title"
            and (not key.startswith("train.recipes.") or key.startswith(own))
        )
    )


def device_of(run: RunRecord) -> str:
    """What a run was scored on, as far as it is known."""
    return run.tags.get("device") or run.tags.get("gpu", "unknown").replace("none", "CPU")


def inequalities(runs: Sequence[RunRecord]) -> list[str]:
    """Where runs of equal terms are not quite on equal terms, one sentence each."""
    notes = []
    keys = {key for run in runs for key, _ in settings_of(run)}
    for key in sorted(keys):
        if key.startswith("train.") and not key.startswith("train.recipes."):
            notes += _differing(f"{key} differs", runs, [run.params.get(key, "not set") for run in runs])
    notes += _differing("speed was measured on", runs, [device_of(run) for run in runs])
    commits = [run.tags.get(f"{TAG_COMMIT}train", "no commit")[:7] for run in runs]
    notes += _differing("trained at commits", runs, commits)
    dirty = sum(run.tags.get("git_dirty") == "true" for run in runs)
    if dirty:
        notes.append(f"{dirty} of {len(runs)} runs are from a work tree with uncommitted changes")
    return notes


def _differing(what: str, runs: Sequence[RunRecord], values: Sequence[str]) -> list[str]:
    """A note when the runs have not all the same value, saying who has which."""
    methods: dict[str, set[str]] = {}
    for run, value in zip(runs, values, strict=True):
        methods.setdefault(value, set()).add(run.tags.get("method", "?"))
    who = "; ".join(f"{value} ({', '.join(sorted(names))})" for value, names in sorted(methods.items()))
    return [f"{what}: {who}"] if len(methods) > 1 else []
