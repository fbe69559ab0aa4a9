"""Opening runs in MLflow and finding them again: one run per trial, however often a stage is killed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cadnet.tracking.environment import Provenance
from cadnet.tracking.processes import ProcessMark
from cadnet.tracking.run import Run, Unrecorded
from cadnet.tracking.store import PROXY, Store, call, connect, is_off, resolve_store
from cadnet.tracking.trials import (
    TAG_COMMIT,
    TAG_ERROR,
    TAG_FINGERPRINT,
    TAG_INVOCATION,
    TAG_KIND,
    TAG_PARENT,
    TAG_STAGE_STATUS,
    TAG_SUPERSEDED,
    FinalStatus,
    Trial,
    user_tags,
)

if TYPE_CHECKING:
    from mlflow.entities import Run as Entity
    from mlflow.tracking import MlflowClient

PREFIX = "cadnet/"
"""How the names of this project's experiments begin."""
_TRIAL, _PARENT = "trial", "parent"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunRecord:
    """A run as read back from the store; ``start_time`` is in milliseconds since 1970."""

    run_id: str
    name: str
    status: str
    start_time: int
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


def open_tracker(root: Path | str = ".", uri: str | None = None) -> Tracker:
    """Open the tracking store of the project at ``root``.

    ``uri`` or ``MLFLOW_TRACKING_URI`` name another store than ``<root>/mlflow.db``; ``CADNET_TRACKING=off``
    switches tracking off.

    Raises:
        TrackingError: the store cannot be used; the message says why and what to do.
    """
    return Untracked() if is_off() else Tracker(resolve_store(root, uri))


class Tracker:
    """Opens runs in a store and finds them again.

    It uses MLflow's client, because the fluent interface keeps one address for the whole process.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.client: MlflowClient = connect(store)

    def open_parent(self, key: str, experiment: str, provenance: Provenance | None = None) -> Run:
        """Find or create the run of ``experiment`` beneath which the trials of invocation ``key`` are nested.

        Processes that come at once get the same one.
        """
        with self.store.locked():
            experiment_id = self._experiment(experiment)
            found = self._search([experiment_id], {TAG_INVOCATION: key, TAG_KIND: _PARENT}, oldest_first=True)
            if found:
                return self._resume(found[0], {})
            tags = {TAG_INVOCATION: key, TAG_KIND: _PARENT, **user_tags("invocation")}
            tags |= provenance.tags() if provenance else {}
            commit = (provenance.commit if provenance else None) or "nogit"
            return self._create(experiment_id, f"invocation-{key[:12]}-{commit[:7]}", tags)

    def open_run(
        self,
        trial: Trial,
        fingerprint: str,
        *,
        stage: str,
        parent: Run | None = None,
        restart: bool = False,
        provenance: Provenance | None = None,
    ) -> Run:
        """Resume the newest run with the fingerprint, of this machine where there is one, or create one.

        A run that another machine has open stays that machine's. ``restart`` says that ``stage`` begins from
        nothing: a run in which it had finished is then left as it is, under another tag, and a new one
        begins.
        """
        extra = {"stage": stage, **user_tags(stage)}
        if provenance is not None:
            extra |= provenance.tags()
            # MLflow's own commit tag follows the last stage; each stage's stays beside it.
            extra |= {f"{TAG_COMMIT}{stage}": provenance.commit} if provenance.commit else {}
        with self.store.locked():
            experiment_id = self._experiment(trial.experiment)
            runs = self._search([experiment_id], {TAG_FINGERPRINT: fingerprint})
            runs = [one for one in runs if _is_own(one) or one.info.status != "RUNNING"]
            found = next((one for one in runs if _is_own(one)), runs[0] if runs else None)
            if found and restart and found.data.tags.get(f"{TAG_STAGE_STATUS}{stage}") == "FINISHED":
                call(self.client.set_tag, found.info.run_id, TAG_SUPERSEDED, fingerprint)
                call(self.client.delete_tag, found.info.run_id, TAG_FINGERPRINT)
                found = None
            if found:
                run = self._resume(found, extra)
            else:
                extra |= {**trial.tags(), TAG_FINGERPRINT: fingerprint, TAG_KIND: _TRIAL}
                extra |= {TAG_PARENT: parent.run_id} if parent else {}
                commit = provenance.commit if provenance else None
                run = self._create(experiment_id, trial.run_name(commit), extra)
            if parent is not None:
                # A sibling that ended meanwhile may have closed it.
                call(self.client.update_run, parent.run_id, status="RUNNING")
        return run

    def create_run(self, experiment: str, name: str, tags: Mapping[str, str]) -> Run:
        """Create a run that is no trial's and that nobody resumes. The caller holds the store's lock."""
        return self._create(self._experiment(experiment), name, dict(tags))

    def settle_parent(self, parent: Run) -> None:
        """Close the parent with the worst status of its trials, unless one still runs."""
        with self.store.locked():
            self._settle(call(self.client.get_run, parent.run_id))

    def sweep_stale(self, experiment: str | None = None) -> list[str]:
        """Mark RUNNING runs of dead processes of this host KILLED, settle parents, and return their ids."""
        with self.store.locked():
            names = self.experiments() if experiment is None else [experiment]
            ids = [found for name in names if (found := self._experiment_id(name))]
            running = self._search(ids, {}, condition="attributes.status = 'RUNNING'") if ids else []
            stale = [run for run in running if _is_stale(run)]
            # Trials first: a parent's status follows from theirs.
            for run in sorted(stale, key=lambda item: item.data.tags.get(TAG_KIND) == _PARENT):
                if run.data.tags.get(TAG_KIND) == _PARENT:
                    self._settle(run)
                else:
                    logger.warning("run %s was left by a process that died; marked KILLED", run.info.run_name)
                    call(self.client.set_terminated, run.info.run_id, "KILLED")
        return [run.info.run_id for run in stale]

    def experiments(self) -> list[str]:
        """Return the names of the project's experiments, sorted."""
        names: list[str] = []
        token: str | None = None
        while token != "":
            page = call(
                self.client.search_experiments, filter_string=f"name LIKE '{PREFIX}%'", page_token=token
            )
            names += [item.name for item in page]
            token = page.token or ""
        return sorted(names)

    def find_runs(self, experiment: str, tags: Mapping[str, str] | None = None) -> list[RunRecord]:
        """Return the runs of an experiment whose tags match, newest first; none if it does not exist."""
        experiment_id = self._experiment_id(experiment)
        return [_record(run) for run in self._search([experiment_id], tags or {})] if experiment_id else []

    def find_run(self, run_id: str) -> Run:
        """Return a handle on an existing run, whose status stays as it is.

        Raises:
            TrackingError: no such run exists.
        """
        return Run(self.store, self.client, call(self.client.get_run, run_id))

    def _experiment_id(self, name: str) -> str | None:
        found = call(self.client.get_experiment_by_name, _quotable(name))
        return found.experiment_id if found else None

    def _experiment(self, name: str) -> str:
        """Id of the experiment, created or taken back from deletion as needed."""
        found = call(self.client.get_experiment_by_name, name)
        if found is None:
            location = f"{PROXY}{quote(name)}" if self.store.database else None
            return str(call(self.client.create_experiment, name, location))
        if found.lifecycle_stage == "deleted":
            logger.warning("experiment %s had been deleted and is restored", name)
            call(self.client.restore_experiment, found.experiment_id)
        return str(found.experiment_id)

    def _search(
        self,
        experiments: list[str],
        tags: Mapping[str, str],
        *,
        condition: str = "",
        oldest_first: bool = False,
    ) -> list[Entity]:
        """All active runs with these tags, page by page."""
        conditions = [f"tags.`{key}` = '{_quotable(value)}'" for key, value in tags.items()]
        text = " and ".join([*conditions, condition] if condition else conditions)
        order = [f"attributes.start_time {'ASC' if oldest_first else 'DESC'}"]
        runs: list[Entity] = []
        token: str | None = None
        while token != "":
            page = call(
                self.client.search_runs, experiments, text, max_results=1000, order_by=order, page_token=token
            )
            runs += page
            token = page.token or ""
        return runs

    def _create(self, experiment_id: str, name: str, tags: dict[str, str]) -> Run:
        marked = tags | ProcessMark.current().tags()
        entity = call(self.client.create_run, experiment_id, tags=marked, run_name=name)
        return Run(self.store, self.client, entity, resumed=False)

    def _resume(self, found: Entity, tags: Mapping[str, str]) -> Run:
        run_id, held = found.info.run_id, found.data.tags
        mark, current = ProcessMark.from_tags(held), ProcessMark.current()
        is_open = held.get(TAG_KIND) != _PARENT and found.info.status == "RUNNING" and not _is_stale(found)
        if is_open and mark not in (None, current):
            logger.warning("run %s is still open in process %s", found.info.run_name, mark)
        run = Run(self.store, self.client, found)
        run.set_tags({**tags, **current.tags()})
        if TAG_ERROR in held:
            call(self.client.delete_tag, run_id, TAG_ERROR)
        call(self.client.update_run, run_id, status="RUNNING")
        return run

    def _settle(self, parent: Entity) -> None:
        trials = self._search([parent.info.experiment_id], {TAG_PARENT: parent.info.run_id})
        statuses = {trial.info.status for trial in trials}
        if "RUNNING" not in statuses:
            order: tuple[FinalStatus, ...] = ("FAILED", "KILLED")
            worst = next((status for status in order if status in statuses), "FINISHED")
            call(self.client.set_terminated, parent.info.run_id, worst)


class Untracked(Tracker):
    """Tracking switched off: every run opens, and nothing is kept or found."""

    def __init__(self) -> None:
        """Open no store."""

    def _open(self, *_: Any, **__: Any) -> Any:
        """Return a run that keeps nothing."""
        return Unrecorded()

    def _find(self, *_: Any, **__: Any) -> Any:
        """Find nothing."""
        return []

    open_parent = open_run = find_run = _open
    settle_parent = sweep_stale = find_runs = _find


def _is_own(run: Entity) -> bool:
    """Whether the stage that had a run last ran on this machine, or nobody knows."""
    mark = ProcessMark.from_tags(run.data.tags)
    return mark is None or mark.host == ProcessMark.current().host


def _is_stale(run: Entity) -> bool:
    mark = ProcessMark.from_tags(run.data.tags)
    return mark is not None and mark.is_dead()


def _quotable(value: str) -> str:
    if "'" in value or '"' in value:
        raise ValueError(f"{value!r} cannot be searched for: it holds a quote")
    return value


def _record(run: Entity) -> RunRecord:
    info, data = run.info, run.data
    held = dict(data.params), dict(data.metrics), dict(data.tags)
    return RunRecord(info.run_id, info.run_name or "", info.status, info.start_time, *held)
