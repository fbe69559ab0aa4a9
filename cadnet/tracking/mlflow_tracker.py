"""The tracker on MLflow's client interface; its global interface is not safe with threads."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from cadnet.tracking.environment import Provenance
from cadnet.tracking.mlflow_run import MlflowRun
from cadnet.tracking.null_tracker import NullTracker
from cadnet.tracking.processes import ProcessMark
from cadnet.tracking.store import TAG_ARTIFACT_ROOT, Store, call, connect, is_off, resolve_store
from cadnet.tracking.tracker import Run, RunRecord, Tracker, TrackingError
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
    from mlflow.entities import Run as MlflowEntity
    from mlflow.tracking import MlflowClient

_TRIAL, _PARENT = "trial", "parent"

logger = logging.getLogger(__name__)


def open_tracker(root: Path | str = ".", uri: str | None = None) -> Tracker:
    """Open the tracking store of the project at ``root``.

    ``uri`` or ``MLFLOW_TRACKING_URI`` name another store than ``<root>/mlflow.db``; ``CADNET_TRACKING=off``
    switches tracking off.

    Raises:
        TrackingError: the store cannot be used; the message says why and what to do.
    """
    if is_off():
        return NullTracker()
    return MlflowTracker(resolve_store(root, uri))


class MlflowTracker:
    """Implements ``tracker.Tracker``."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.client: MlflowClient = connect(store)

    def open_parent(self, key: str, experiment: str, provenance: Provenance | None = None) -> MlflowRun:
        """Find or create the invocation's run in ``experiment``; processes that come at once get the same."""
        commit = provenance.commit if provenance else None
        with self.store.locked():
            experiment_id = self._experiment(experiment)
            found = self._search([experiment_id], {TAG_INVOCATION: key, TAG_KIND: _PARENT}, oldest_first=True)
            if found:
                return self._resume(found[0], {})
            tags = {TAG_INVOCATION: key, TAG_KIND: _PARENT, **user_tags("invocation")}
            tags |= provenance.tags() if provenance else {}
            name = f"invocation-{key[:12]}-{commit[:7] if commit else 'nogit'}"
            return self._create(experiment_id, name, tags)

    def open_run(
        self,
        trial: Trial,
        fingerprint: str,
        *,
        stage: str,
        parent: Run | None = None,
        run_id: str | None = None,
        restart: bool = False,
        provenance: Provenance | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> MlflowRun:
        """Resume the trial's run or create it (see ``tracker.Tracker``)."""
        extra = {"stage": stage, **user_tags(stage), **(tags or {})}
        if provenance is not None:
            extra |= provenance.tags()
            # MLflow's own commit tag follows the last stage; each stage's stays beside it.
            extra |= {f"{TAG_COMMIT}{stage}": provenance.commit} if provenance.commit else {}
        with self.store.locked():
            experiment_id = self._experiment(trial.experiment)
            found = self._find_trial(experiment_id, fingerprint, run_id)
            if (
                found is not None
                and restart
                and found.data.tags.get(f"{TAG_STAGE_STATUS}{stage}") == "FINISHED"
            ):
                self._supersede(found, fingerprint)
                found = None
            if found is not None:
                run = self._resume(found, extra)
            else:
                extra |= {**trial.tags(), TAG_FINGERPRINT: fingerprint, TAG_KIND: _TRIAL}
                if parent is not None:
                    extra |= {TAG_PARENT: parent.run_id}
                run = self._create(
                    experiment_id, trial.run_name(provenance.commit if provenance else None), extra
                )
            if parent is not None:
                # A sibling that ended meanwhile may have closed it.
                call(self.client.update_run, parent.run_id, status="RUNNING")
        return run

    def settle_parent(self, parent: Run) -> None:
        """Close the parent with the worst status of its trials, unless one still runs."""
        with self.store.locked():
            self._settle(call(self.client.get_run, parent.run_id))

    def sweep_stale(self, experiment: str | None = None) -> list[str]:
        """Mark RUNNING runs of dead processes of this host KILLED (parents: settle them)."""
        with self.store.locked():
            condition = "name LIKE 'cadnet/%'" if experiment is None else f"name = '{_quotable(experiment)}'"
            found = call(self.client.search_experiments, filter_string=condition)
            ids = [item.experiment_id for item in found]
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

    def find_runs(self, experiment: str, tags: Mapping[str, str] | None = None) -> list[RunRecord]:
        """The runs of an experiment whose tags match, newest first."""
        found = call(self.client.get_experiment_by_name, experiment)
        if found is None:
            return []
        return [_record(run) for run in self._search([found.experiment_id], tags or {})]

    def find_run(self, run_id: str) -> MlflowRun:
        """A handle on an existing run, whose status stays as it is."""
        return MlflowRun(self.client, run_id, resumed=True)

    def _experiment(self, name: str) -> str:
        """Id of the experiment, created or taken back from deletion as needed."""
        found = call(self.client.get_experiment_by_name, name)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                logger.warning("experiment %s had been deleted and is restored", name)
                call(self.client.restore_experiment, found.experiment_id)
            return str(found.experiment_id)
        root = self.store.artifacts
        if root is None:
            return str(call(self.client.create_experiment, name))
        place = f"{root}/{quote(name)}"
        return str(call(self.client.create_experiment, name, place, {TAG_ARTIFACT_ROOT: root}))

    def _find_trial(self, experiment_id: str, fingerprint: str, run_id: str | None) -> MlflowEntity | None:
        if run_id is not None:
            try:
                found = call(self.client.get_run, run_id)
            except TrackingError:
                logger.warning("run %s is not in %s; looking for its fingerprint", run_id, self.store.uri)
            else:
                if found.info.lifecycle_stage == "active":
                    return found
        runs = self._search([experiment_id], {TAG_FINGERPRINT: fingerprint})
        return runs[0] if runs else None

    def _search(
        self,
        experiments: list[str],
        tags: Mapping[str, str],
        *,
        condition: str = "",
        oldest_first: bool = False,
    ) -> list[MlflowEntity]:
        """All active runs with these tags, page by page."""
        conditions = [f"tags.`{key}` = '{_quotable(value)}'" for key, value in tags.items()]
        text = " and ".join([*conditions, condition] if condition else conditions)
        order = [f"attributes.start_time {'ASC' if oldest_first else 'DESC'}"]
        runs: list[MlflowEntity] = []
        token: str | None = None
        while True:
            page = call(
                self.client.search_runs, experiments, text, max_results=1000, order_by=order, page_token=token
            )
            runs.extend(page)
            token = page.token
            if not token:
                return runs

    def _create(self, experiment_id: str, name: str, tags: dict[str, str]) -> MlflowRun:
        marked = tags | ProcessMark.current().tags()
        run = call(self.client.create_run, experiment_id, tags=marked, run_name=name)
        return MlflowRun(self.client, run.info.run_id, resumed=False)

    def _resume(self, found: MlflowEntity, tags: Mapping[str, str]) -> MlflowRun:
        run_id = found.info.run_id
        mark = ProcessMark.from_tags(found.data.tags)
        current = ProcessMark.current()
        is_trial = found.data.tags.get(TAG_KIND) != _PARENT
        if (
            is_trial
            and found.info.status == "RUNNING"
            and mark not in (None, current)
            and not _is_stale(found)
        ):
            logger.warning("run %s is still open in process %s", found.info.run_name, mark)
        run = MlflowRun(self.client, run_id, resumed=True)
        run.set_tags({**tags, **current.tags()})
        if TAG_ERROR in found.data.tags:
            call(self.client.delete_tag, run_id, TAG_ERROR)
        call(self.client.update_run, run_id, status="RUNNING")
        return run

    def _supersede(self, found: MlflowEntity, fingerprint: str) -> None:
        call(self.client.set_tag, found.info.run_id, TAG_SUPERSEDED, fingerprint)
        call(self.client.delete_tag, found.info.run_id, TAG_FINGERPRINT)

    def _settle(self, parent: MlflowEntity) -> None:
        trials = self._search([parent.info.experiment_id], {TAG_PARENT: parent.info.run_id})
        statuses = {trial.info.status for trial in trials}
        if "RUNNING" not in statuses:
            order: tuple[FinalStatus, ...] = ("FAILED", "KILLED")
            worst = next((status for status in order if status in statuses), "FINISHED")
            call(self.client.set_terminated, parent.info.run_id, worst)


def _is_stale(run: MlflowEntity) -> bool:
    mark = ProcessMark.from_tags(run.data.tags)
    return mark is not None and mark.is_dead()


def _quotable(value: str) -> str:
    if "'" in value or '"' in value:
        raise ValueError(f"{value!r} cannot be searched for: it holds a quote")
    return value


def _record(run: MlflowEntity) -> RunRecord:
    return RunRecord(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        status=run.info.status,
        start_time=run.info.start_time,
        end_time=run.info.end_time,
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
        tags=dict(run.data.tags),
    )
