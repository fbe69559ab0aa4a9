"""One open MLflow run."""

from __future__ import annotations

import json
import logging
import re
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from cadnet.tracking.environment import Provenance
from cadnet.tracking.store import call
from cadnet.tracking.tracker import MetricPoint, TrackingError, flatten, split_finite
from cadnet.tracking.trials import (
    TAG_DATASET_DIGEST,
    TAG_SKIPPED,
    TAG_STAGE_STATUS,
    FinalStatus,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

T = TypeVar("T")

# MLflow's limits (mlflow.utils.validation).
_METRICS_PER_BATCH = 1000
_PARAMS_PER_BATCH = 100
_PARAM_LENGTH = 6000
_TAG_LENGTH = 8000
_KEY_LENGTH = 250
_DIGEST_LENGTH = 36
_TABLES_TAG = "mlflow.loggedArtifacts"

logger = logging.getLogger(__name__)


class MlflowRun:
    """Implements ``tracker.Run``; safe to use from several threads."""

    def __init__(self, client: MlflowClient, run_id: str, *, resumed: bool) -> None:
        self._client = client
        self.run_id = run_id
        self.resumed = resumed
        self._lock = threading.RLock()
        self._pending: list[Metric] = []
        self._skipped: list[str] = []
        self._steps: dict[str, set[int]] = {}
        self._results: dict[str, float] = {}
        # Names the run held before it was opened here; their history is read when they are logged again.
        self._unread = set(call(client.get_run, run_id).data.metrics) if resumed else set()

    def log_params(self, params: Mapping[str, Any], artifact: str = "params.yaml") -> None:
        """Record parameters and, uncut, a YAML artifact. A value that a resumed run holds already is kept."""
        from mlflow.entities import Param

        known = call(self._client.get_run, self.run_id).data.params
        fresh = []
        for key, value in flatten(params):
            key, text = clean_key(key), _cut(str(value), _PARAM_LENGTH)
            if key not in known:
                fresh.append(Param(key, text))
            elif known[key] != text:
                logger.warning("param %s of run %s stays %s (now %s)", key, self.run_id, known[key], text)
        for chunk in _chunks(fresh, _PARAMS_PER_BATCH):
            call(self._client.log_batch, self.run_id, params=chunk, synchronous=True)
        self.log_text(yaml.safe_dump(_plain(params), sort_keys=False, allow_unicode=True), artifact)

    def log_metrics(self, points: Iterable[MetricPoint]) -> None:
        """Record a batch of points (see ``tracker.Run``); kept and sent later while the store is away."""
        from mlflow.entities import Metric

        finite, others = split_finite(points)
        now = int(time.time() * 1000)
        with self._lock:
            for name, value, step in finite:
                key = clean_key(name)
                if self._is_new(key, value, step):
                    self._pending.append(Metric(key, value, now, 0 if step is None else step))
            try:
                if others:
                    self._note_skipped(others)
                self._flush()
            except TrackingError:
                # A store that is away for a while must not end a training of hours; ``finish`` insists.
                logger.warning("%d metrics wait for the tracking store", len(self._pending), exc_info=True)

    def _is_new(self, key: str, value: float, step: int | None) -> bool:
        """Whether a point adds to the run, and note that it is there from now on."""
        if key in self._unread:
            history = call(self._client.get_metric_history, self.run_id, key)
            self._unread.discard(key)
            self._steps[key] = {item.step for item in history}
            if history:
                self._results[key] = max(history, key=lambda item: (item.step, item.timestamp)).value
        if step is None:
            # A result scored again replaces the former one: MLflow shows the newest of a step.
            new = self._results.get(key) != value
            self._results[key] = value
            return new
        steps = self._steps.setdefault(key, set())
        new = step not in steps
        steps.add(step)
        return new

    def _note_skipped(self, points: Sequence[MetricPoint]) -> None:
        names = [
            f"{name}@{step}={value}" if step is not None else f"{name}={value}"
            for name, value, step in points
        ]
        logger.warning("metrics that are not finite were left out: %s", ", ".join(names))
        self._skipped.extend(name for name in names if name not in self._skipped)
        self.set_tags({TAG_SKIPPED: ", ".join(self._skipped)})

    def _flush(self) -> None:
        while self._pending:
            chunk = self._pending[:_METRICS_PER_BATCH]
            call(self._client.log_batch, self.run_id, metrics=chunk, synchronous=True)
            del self._pending[: len(chunk)]

    def log_table(self, table: pd.DataFrame, artifact: str) -> None:
        """Record a table as JSON, replacing an earlier one (MLflow's own call would append to it)."""
        if not artifact.endswith(".json"):
            raise ValueError(
                f"table {artifact} must be named *.json, which is what MLflow's page shows as a table"
            )
        text = table.to_json(orient="split", index=False, date_format="iso")
        self.log_text(text, artifact)
        with self._lock:
            listed = json.loads(self.tags().get(_TABLES_TAG, "[]"))
            entry = {"path": artifact, "type": "table"}
            if entry not in listed:
                self.set_tags({_TABLES_TAG: json.dumps([*listed, entry])})

    def log_figure(self, figure: Figure | Path | str, artifact: str) -> None:
        """Record a matplotlib figure, or a copy of an image file, as ``artifact``."""
        with self._staged(artifact) as path:
            if isinstance(figure, str | Path):
                path.write_bytes(Path(figure).read_bytes())
            else:
                figure.savefig(path, bbox_inches="tight")

    def log_text(self, text: str, artifact: str) -> None:
        """Record a UTF-8 text file."""
        with self._staged(artifact) as path:
            path.write_text(text, "utf-8")

    def log_artifact(self, path: Path | str, folder: str | None = None) -> None:
        """Record a file under its own name in ``folder``."""
        if not Path(path).is_file():
            raise FileNotFoundError(f"artifact {path} does not exist or is no file")
        call(self._client.log_artifact, self.run_id, str(path), folder)

    def log_artifacts(self, directory: Path | str, folder: str | None = None) -> None:
        """Record all files of a directory in ``folder``."""
        if not Path(directory).is_dir():
            raise FileNotFoundError(f"artifact folder {directory} does not exist or is no folder")
        call(self._client.log_artifacts, self.run_id, str(directory), folder)

    def log_dataset(self, name: str, digest: str, source: str, context: str = "training") -> None:
        """Record a dataset as an input of the run. MLflow cuts digests, so the whole one is a tag as well."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(name, digest[:_DIGEST_LENGTH], "local", json.dumps({"uri": source}))
        entry = DatasetInput(dataset, [InputTag("mlflow.data.context", context)])
        call(self._client.log_inputs, self.run_id, [entry])
        self.set_tags({f"{TAG_DATASET_DIGEST}{name}": digest})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags in one request; values beyond MLflow's limit are cut."""
        from mlflow.entities import RunTag

        entries = [RunTag(key, _cut(str(value), _TAG_LENGTH)) for key, value in tags.items()]
        for chunk in _chunks(entries, _PARAMS_PER_BATCH):
            call(self._client.log_batch, self.run_id, tags=chunk, synchronous=True)

    def tags(self) -> dict[str, str]:
        """All tags of the run."""
        return dict(call(self._client.get_run, self.run_id).data.tags)

    def log_environment(self, provenance: Provenance, artifact: str = "environment.json") -> None:
        """Record the provenance tags, and the environment as JSON."""
        self.set_tags(provenance.tags())
        self.log_text(json.dumps(provenance.environment, indent=2) + "\n", artifact)

    def download(self, artifact: str, destination: Path | str) -> Path:
        """Fetch an artifact into ``destination``, which is created where missing."""
        Path(destination).mkdir(parents=True, exist_ok=True)
        return Path(call(self._client.download_artifacts, self.run_id, artifact, str(destination)))

    def finish(self, status: FinalStatus, stage: str | None = None) -> None:
        """Send what is buffered and close the run. The status is written even when the metrics cannot be."""
        try:
            with self._lock:
                self._flush()
        finally:
            if stage is not None:
                self.set_tags({f"{TAG_STAGE_STATUS}{stage}": status})
            call(self._client.set_terminated, self.run_id, status)

    def _staged(self, artifact: str) -> _Staged:
        return _Staged(self, artifact)


class _Staged:
    """A temporary file of the artifact's name, which is recorded when the block ends well."""

    def __init__(self, run: MlflowRun, artifact: str) -> None:
        self._run = run
        self._artifact = PurePosixPath(artifact)
        self._folder = tempfile.TemporaryDirectory(prefix="cadnet-")

    def __enter__(self) -> Path:
        return Path(self._folder.name) / self._artifact.name

    def __exit__(self, kind: object, *_: object) -> None:
        with self._folder as folder:
            if kind is None:
                parent = self._artifact.parent.as_posix()
                self._run.log_artifact(Path(folder) / self._artifact.name, None if parent == "." else parent)


def clean_key(name: str) -> str:
    """A metric or param name MLflow accepts: other characters become underscores."""
    return re.sub(r"[^\w\-. /:]", "_", name, flags=re.ASCII)[:_KEY_LENGTH]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _plain(value: Any) -> Any:
    """Mappings, sequences and scalars that YAML can hold; anything else as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
