"""What DVC knows of a project: its stages, what has changed, its remote. The only module that imports DVC."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import networkx as nx
import psutil
from filelock import FileLock

from pipelines.flows.commands import StageError, site_cache

if TYPE_CHECKING:
    from dvc.repo import Repo

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


@dataclass(frozen=True)
class Graph:
    """Stages and the ``.dvc`` files they read."""

    digraph: nx.DiGraph[str]
    """Names, with an edge from each to what needs it."""

    @cached_property
    def needs(self) -> dict[str, set[str]]:
        """Each stage with the stages it needs, in an order that can be run."""
        position = {name: number for number, name in enumerate(self.digraph)}
        order = nx.lexicographical_topological_sort(self.digraph, key=position.get)
        return {
            name: {before for before in self.digraph.predecessors(name) if not _is_file(before)}
            for name in order
            if not _is_file(name)
        }

    @property
    def inputs(self) -> set[str]:
        """The ``.dvc`` files that track what stages read."""
        return {name for name in self.digraph if _is_file(name) and self.digraph.out_degree(name)}

    def with_ancestors(self, stages: Collection[str]) -> Graph:
        """Return the part that ``stages`` cannot do without: they themselves and all they need."""
        return self._part(set(stages).union(*(nx.ancestors(self.digraph, stage) for stage in stages)))

    def with_descendants(self, changed: Collection[str]) -> Graph:
        """Return the part that has to run: the ``changed`` stages and all that need them.

        Names that are no stages of the graph are ignored.
        """
        known = self.needs.keys() & set(changed)
        return self._part(known.union(*(nx.descendants(self.digraph, stage) for stage in known)))

    def _part(self, names: set[str]) -> Graph:
        # A copy keeps the order of the nodes, a view does not.
        return Graph(nx.DiGraph(self.digraph.subgraph(names)))


def read_graph(root: Path) -> Graph:
    """Return the graph of the project in ``root``.

    Raises:
        StageError: DVC cannot read the project.
    """
    with _opened(root) as repo:
        return _graph_of(repo)


@dataclass(frozen=True)
class Project:
    """What DVC knows of a project."""

    graph: Graph
    changed: Changed
    tracked: dict[str, tuple[str, str]]
    """Each ``.dvc`` file with the path it tracks and the digest of the version it names."""
    used: dict[str, dict[str, str]]
    """Each stage that has run with the digests of the paths it read."""


def read_project(root: Path) -> Project:
    """Return what DVC knows of the project in ``root``.

    Raises:
        StageError: DVC cannot read the project.
    """
    with _opened(root) as repo:
        graph, stages = _graph_of(repo), {_name(stage, repo): stage for stage in repo.index.graph}
        names = {stage.addressing: name for name, stage in stages.items()}
        changed = {names.get(address, address): _paths(found) for address, found in repo.status().items()}
        outs = {name: stage.outs[0] for name, stage in stages.items() if _is_file(name)}
        used = {
            name: {dep.def_path: dep.hash_info.value for dep in stage.deps if dep.hash_info}
            for name, stage in stages.items()
        }
        tracked = {name: (_path(out, repo), out.hash_info.value) for name, out in outs.items()}
        return Project(graph, changed, tracked, used)


def default_remote(root: Path) -> str | None:
    """Return name and address of DVC's default remote, without credentials; None if there is none.

    Raises:
        StageError: DVC cannot read the project.
    """
    with _opened(root) as repo:
        name = repo.config["core"].get("remote")
        address = repo.config["remote"].get(name, {}).get("url") if name else None
    if not address:
        return None
    parts = urlsplit(str(address))
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.scheme else parts.path
    return f"'{name}' ({shown})"


def forget_locks(root: Path) -> None:
    """Let DVC forget who read and wrote what, unless a command of DVC recorded there still runs.

    DVC sees by itself that a process is gone, but not that another one has its number, as after a restart of
    the machine; then it would refuse to run the stage for as long as that one lives.
    """
    path = root / ".dvc" / "tmp" / "rwlock"
    if not path.exists():
        return
    with FileLock(path.with_name("rwlock.lock")):
        try:
            locks = json.loads(path.read_text("utf-8"))
            infos = [*locks["write"].values(), *(one for many in locks["read"].values() for one in many)]
            pids = {info["pid"] for info in infos}
        except (ValueError, KeyError, TypeError, AttributeError):
            # DVC itself explains what to do about a damaged file.
            return
        if not any(_runs_dvc(pid) for pid in pids):
            path.unlink()


@contextmanager
def _opened(root: Path) -> Iterator[Repo]:
    # Imported here, because it takes a second that other errors need not wait for.
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.scm import SCMError

    config = {"core": {"site_cache_dir": str(site_cache(root))}}
    try:
        # A lock that the user's own command holds for a moment is waited for.
        with Repo(str(root.resolve()), config=config, _wait_for_lock=True) as repo:
            yield repo
    except SCMError as error:
        raise StageError(
            f"{error}; for a copy without git, such as a downloaded archive, run `dvc config --local "
            "core.no_scm true` (`make repro` does), or `git init` to keep versions"
        ) from error
    except DvcException as error:
        raise StageError(f"DVC cannot read the project in {root.resolve()}: {error}") from error


def _graph_of(repo: Repo) -> Graph:
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(_name(stage, repo) for stage in repo.index.graph)
    graph.add_edges_from(
        (_name(before, repo), _name(stage, repo)) for stage, before in repo.index.graph.edges
    )
    return Graph(graph)


def _name(stage: Any, repo: Repo) -> str:
    """A stage's name or a ``.dvc`` file's path; DVC's own address depends on the current folder."""
    return getattr(stage, "name", None) or Path(stage.path).relative_to(repo.root_dir).as_posix()


def _path(out: Any, repo: Repo) -> str:
    return Path(out.fs_path).relative_to(repo.root_dir).as_posix()


def _paths(changes: list[object]) -> dict[str, str]:
    """The files and folders among the changes of one stage; parameters and changed commands have no path."""
    groups = [group for change in changes if isinstance(change, dict) for group in change.values()]
    entries = [entry for group in groups if isinstance(group, dict) for entry in group.items()]
    return {path: state for path, state in entries if isinstance(state, str)}


def _runs_dvc(pid: int) -> bool:
    """Whether a process runs and its command names DVC."""
    try:
        return any("dvc" in part for part in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


def _is_file(name: str) -> bool:
    return name.endswith(".dvc")
