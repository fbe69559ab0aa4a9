"""The stages DVC knows and which of them have to run."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

from pipelines.flows.commands import StageError, environment

_NODE = re.compile(r'^"(?P<name>[^"]+)";$')
_EDGE = re.compile(r'^"(?P<before>[^"]+)" -> "(?P<after>[^"]+)";$')


@dataclass(frozen=True)
class Graph:
    """What DVC knows of a project."""

    needs: dict[str, set[str]]
    """Each stage with the stages it needs, in an order that can be run."""
    inputs: set[str]
    """The ``.dvc`` files that track what stages read."""


Changed = dict[str, dict[str, str]]
"""Each changed stage or ``.dvc`` file with the paths that differ, and how: "modified", "deleted", ..."""

TRAININGS = frozenset({"train", "pretrain", "finetune"})
"""Modules of stages that train a network."""


def stage_kind(stage: str) -> str:
    """Return what sort of work a stage does.

    ``train`` for ``train@...``, for ``train-ablation@...`` and for all others of :data:`TRAININGS`.
    """
    module = stage.split("@")[0].split("-")[0]
    return "train" if module in TRAININGS else module


def read_graph(root: Path) -> Graph:
    """Return the graph of the project in ``root``.

    Raises:
        StageError: DVC cannot read the project.
    """
    dot = _ask_dvc(root, "dag", "--dot")
    return Graph(parse_dag(dot), parse_inputs(dot))


def read_changed(root: Path) -> Changed:
    """Return what is not as it was when DVC last noted it, or never was noted: stages and ``.dvc`` files.

    Raises:
        StageError: DVC cannot say.
    """
    return parse_status(_ask_dvc(root, "status", "--json"))


def parse_dag(dot: str) -> dict[str, set[str]]:
    """Read the output of ``dvc dag --dot``; files tracked by ``.dvc`` files are not stages and left out."""
    needs: dict[str, set[str]] = {}
    for line in dot.splitlines():
        if node := _NODE.match(line.strip()):
            needs.setdefault(node["name"], set())
        elif edge := _EDGE.match(line.strip()):
            needs.setdefault(edge["after"], set()).add(edge["before"])
    sorter = TopologicalSorter({name: sorted(before) for name, before in needs.items()})
    order = [name for name in sorter.static_order() if not _is_file(name)]
    return {name: {before for before in needs.get(name, ()) if not _is_file(before)} for name in order}


def parse_inputs(dot: str) -> set[str]:
    """Read from the output of ``dvc dag --dot`` which ``.dvc`` files track what stages read."""
    edges = filter(None, (_EDGE.match(line.strip()) for line in dot.splitlines()))
    return {edge["before"] for edge in edges if _is_file(edge["before"])}


def parse_status(text: str) -> Changed:
    """Read the output of ``dvc status --json``, which names what has changed.

    Raises:
        StageError: it is something else.
    """
    try:
        status = json.loads(text)
    except json.JSONDecodeError as error:
        raise StageError(f"dvc status --json gave no JSON but: {text.strip()[:500]!r}") from error
    if not isinstance(status, dict):
        raise StageError(f"dvc status --json gave no stages but: {text.strip()[:500]!r}")
    return {name: _paths(changes) for name, changes in status.items()}


def _paths(changes: list[object]) -> dict[str, str]:
    """The files and folders among the changes of one stage; parameters and changed commands have no path."""
    groups = [group for change in changes if isinstance(change, dict) for group in change.values()]
    entries = [entry for group in groups if isinstance(group, dict) for entry in group.items()]
    return {path: state for path, state in entries if isinstance(state, str)}


def with_ancestors(needs: Mapping[str, Collection[str]], stages: Collection[str]) -> dict[str, set[str]]:
    """Return the part of a graph that ``stages`` cannot do without: they themselves and all they need.

    Args:
        needs: each stage with the stages it needs, in an order that can be run.
        stages: names in ``needs``.

    Returns:
        The same for that part, in the same order.
    """
    chosen = set(stages)
    for stage in reversed(list(needs)):
        if stage in chosen:
            chosen.update(needs[stage])
    return {stage: set(before) for stage, before in needs.items() if stage in chosen}


def with_descendants(needs: Mapping[str, Collection[str]], changed: Collection[str]) -> dict[str, set[str]]:
    """Return the part of a graph that has to run: the ``changed`` stages and all that need them.

    Args:
        needs: each stage with the stages it needs, in an order that can be run.
        changed: names that are not in ``needs`` are passed over.

    Returns:
        The same for that part, in the same order.
    """
    chosen: dict[str, set[str]] = {}
    for stage, before in needs.items():
        if stage in changed or not chosen.keys().isdisjoint(before):
            chosen[stage] = chosen.keys() & set(before)
    return chosen


def _ask_dvc(root: Path, *question: str) -> str:
    # A lock that the user's own command holds for a moment is waited for.
    command = ["dvc", "--wait-for-lock", *question]
    result = subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True, check=False)
    if result.returncode:
        raise StageError(f"dvc {' '.join(question)} failed: {result.stderr.strip()[-2000:]}")
    return result.stdout


def _is_file(name: str) -> bool:
    return name.endswith(".dvc")
