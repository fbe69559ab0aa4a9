"""One open run: what a stage logs, sent in batches, kept while the store is away and never sent twice."""

from __future__ import annotations

import json
import logging
import math
import re
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import yaml

from cadnet.files import file_digest, read_json
from cadnet.tracking.store import Store, TrackingError, call
from cadnet.tracking.trials import (
    TAG_DATASET_DIGEST,
    TAG_SKIPPED,
    TAG_STAGE_STATUS,
    TAG_WEIGHTS_DIGEST,
    FinalStatus,
)

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Metric
    from mlflow.entities import Run as Entity
    from mlflow.tracking import MlflowClient

MetricPoint = tuple[str, float, int | None]
"""(name, value, step). A step makes the point part of a curve; None a result, of which the last counts."""

# MLflow's limits (mlflow.utils.validation).
_BATCH = {"metrics": 1000, "params": 100, "tags": 100}
_PARAM_LENGTH = 6000
_TAG_LENGTH = 8000
_KEY_LENGTH = 250
_DIGEST_LENGTH = 36
_TABLES_TAG = "mlflow.loggedArtifacts"

logger = logging.getLogger(__name__)


class Run:
    """An open run; what is logged to a resumed one adds to what it held. Safe to use from several threads."""

    def __init__(self, store: Store, client: MlflowClient, entity: Entity, *, resumed: bool = True) -> None:
        self._store = store
        self._client = client
        self.run_id: str = entity.info.run_id
        self.resumed = resumed
        self.artifact_uri = str(entity.info.artifact_uri)
        self._experiment_id = entity.info.experiment_id
        models = entity.outputs.model_outputs if resumed and entity.outputs else []
        # What MLflow links results with, besides the run: the model they are of and the data they are from.
        self._links: dict[str, str] = {"model_id": models[-1].model_id} if models else {}
        self._lock = threading.RLock()
        self._pending: list[Metric] = []
        self._skipped: list[str] = []
        self._held: dict[str, dict[int, float]] = {}
        # Names the run held before it was opened here; their history is read when they are logged again.
        self._unread = set(entity.data.metrics) if resumed else set()

    def log_params(self, params: Mapping[str, Any], artifact: str = "params.yaml") -> None:
        """Log parameters, nested keys joined by dots, and all of them uncut as a YAML artifact.

        A value that a resumed run holds already is kept, because MLflow refuses to change it.
        """
        from mlflow.entities import Param

        known = self._entity().data.params
        fresh = []
        for key, value in _flatten(params):
            key, text = clean_key(key), _cut(str(value), _PARAM_LENGTH)
            if key not in known:
                fresh.append(Param(key, text))
            elif known[key] != text:
                logger.warning("param %s of run %s stays %s (now %s)", key, self.run_id, known[key], text)
        self._send("params", fresh)
        plain = json.loads(json.dumps(params, default=str))
        self.log_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), artifact)

    def log_metrics(self, points: Iterable[MetricPoint]) -> None:
        """Log a batch of points; call once per epoch. Kept and sent later while the store is away.

        A (name, step) that the run already holds is skipped, so that a resumed training may log again the
        epoch it repeats. Values that are not finite are left out and noted in a tag. Results are linked with
        the model and the dataset of this stage.
        """
        from mlflow.entities import Metric

        points = list(points)
        others = [point for point in points if not math.isfinite(point[1])]
        now = int(time.time() * 1000)
        with self._lock:
            for name, value, step in points:
                key = clean_key(name)
                if math.isfinite(value) and self._is_new(key, value, step):
                    links = {**self._links, "run_id": self.run_id} if step is None else {}
                    self._pending.append(Metric(key, value, now, step or 0, **links))
            try:
                if others:
                    self._note_skipped(others)
                self._flush()
            except TrackingError:
                # A store that is away for a while must not end a training of hours; ``finish`` insists.
                logger.warning("%d metrics wait for the tracking store", len(self._pending), exc_info=True)

    def _is_new(self, key: str, value: float, step: int | None) -> bool:
        """Whether a point adds to the run; from now on it counts as logged."""
        if key in self._unread:
            history = call(self._client.get_metric_history, self.run_id, key)
            self._unread.discard(key)
            history.sort(key=lambda item: item.timestamp)
            self._held[key] = {item.step: item.value for item in history}
        held = self._held.setdefault(key, {})
        # A result scored again replaces the former one: MLflow shows the newest of a step.
        new = step not in held if step is not None else held.get(0) != value
        held[step or 0] = value
        return new

    def _note_skipped(self, points: Sequence[MetricPoint]) -> None:
        names = [
            f"{name}={value}" if step is None else f"{name}@{step}={value}" for name, value, step in points
        ]
        logger.warning("metrics that are not finite were left out: %s", ", ".join(names))
        self._skipped.extend(name for name in names if name not in self._skipped)
        self.set_tags({TAG_SKIPPED: ", ".join(self._skipped)})

    def _flush(self) -> None:
        while self._pending:
            chunk = self._pending[: _BATCH["metrics"]]
            self._send("metrics", chunk)
            del self._pending[: len(chunk)]

    def log_table(self, table: pd.DataFrame, artifact: str) -> None:
        """Log a table as ``artifact`` (``*.json``), replacing an earlier one; MLflow's call would append."""
        if not artifact.endswith(".json"):
            raise ValueError(f"table {artifact} must be named *.json, which MLflow's page shows as a table")
        self.log_text(table.to_json(orient="split", index=False, date_format="iso"), artifact)
        with self._lock:
            listed = json.loads(self.tags().get(_TABLES_TAG, "[]"))
            entry = {"path": artifact, "type": "table"}
            if entry not in listed:
                self.set_tags({_TABLES_TAG: json.dumps([*listed, entry])})

    def log_text(self, text: str, artifact: str) -> None:
        """Log a UTF-8 text file."""
        target = PurePosixPath(artifact)
        with tempfile.TemporaryDirectory(prefix="cadnet-") as folder:
            path = Path(folder) / target.name
            path.write_text(text, "utf-8")
            self.log_artifact(path, None if target.parent == PurePosixPath() else target.parent.as_posix())

    def log_artifact(self, path: Path | str, folder: str | None = None) -> None:
        """Log a file under its own name in ``folder`` of the run."""
        if not Path(path).is_file():
            raise FileNotFoundError(f"artifact {path} does not exist or is no file")
        call(self._store.artifacts(self.artifact_uri).log_artifact, str(path), folder)

    def log_artifacts(self, directory: Path | str, folder: str | None = None) -> None:
        """Log all files of a directory in ``folder`` of the run."""
        if not Path(directory).is_dir():
            raise FileNotFoundError(f"artifact folder {directory} does not exist or is no folder")
        call(self._store.artifacts(self.artifact_uri).log_artifacts, str(directory), folder)

    def log_dataset(self, name: str, digest: str, source: str, context: str = "training") -> None:
        """Log a dataset as an input of the run. MLflow cuts digests, so the whole one is a tag as well.

        Args:
            name: of the dataset.
            digest: of its content.
            source: its folder.
            context: what it is used for.
        """
        from mlflow.data.dataset_source_registry import get_dataset_source_from_json
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.entities import Dataset, DatasetInput, InputTag

        folder = get_dataset_source_from_json(json.dumps({"uri": source}), "local")
        about = MetaDataset(folder, name, digest[:_DIGEST_LENGTH])  # type: ignore[abstract]
        entry = DatasetInput(Dataset(**about.to_dict()), [InputTag("mlflow.data.context", context)])
        call(self._client.log_inputs, self.run_id, [entry])
        self._links |= {"dataset_name": name, "dataset_digest": digest[:_DIGEST_LENGTH]}
        self.set_tags({f"{TAG_DATASET_DIGEST}{name}": digest})

    def log_model(self, weights: Path | str, description: Path | str) -> str:
        """Log a network under ``model/`` of the run, and as a model of MLflow that results are linked with.

        Args:
            weights: a safetensors file.
            description: a JSON file that says how to build the network the weights belong to.

        Returns:
            The SHA-256 of the weights, which is a tag too.

        Raises:
            FileNotFoundError: one of the files is missing.
            ValueError: the weights are not safetensors, or the description is not JSON.
        """
        from mlflow.entities import LoggedModelOutput

        _require_safetensors(Path(weights))
        read_json(Path(description))
        digest = file_digest(Path(weights))
        for path in (weights, description):
            self.log_artifact(path, "model")
        tags = self.tags()
        if tags.get(TAG_WEIGHTS_DIGEST) != digest or "model_id" not in self._links:
            model = call(
                self._client.create_logged_model,
                self._experiment_id,
                name=re.sub(r"[^\w-]", "-", tags.get("mlflow.runName", "model")),
                source_run_id=self.run_id,
                # The files are the run's, and their format is this project's.
                tags={TAG_WEIGHTS_DIGEST: digest, "mlflow.model.isExternal": "true"},
                params={key: tags[key] for key in ("method", "dataset", "seed") if key in tags},
                model_type=tags.get("method"),
            )
            call(self._client.finalize_logged_model, model.model_id, "READY")
            call(self._client.log_outputs, self.run_id, [LoggedModelOutput(model.model_id, 0)])
            self._links["model_id"] = model.model_id
        self.set_tags({TAG_WEIGHTS_DIGEST: digest})
        return digest

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags in one request; values beyond MLflow's limit are cut."""
        from mlflow.entities import RunTag

        self._send("tags", [RunTag(key, _cut(str(value), _TAG_LENGTH)) for key, value in tags.items()])

    def tags(self) -> dict[str, str]:
        """Return all tags of the run."""
        return dict(self._entity().data.tags)

    def download(self, artifact: str, destination: Path | str) -> Path:
        """Download an artifact (file or folder) into the folder ``destination``; returns its local path."""
        Path(destination).mkdir(parents=True, exist_ok=True)
        repository = self._store.artifacts(self.artifact_uri)
        return Path(call(repository.download_artifacts, artifact, str(destination)))

    def finish(self, status: FinalStatus, stage: str | None = None) -> None:
        """Send what is buffered and close the run. The status is written even if the metrics cannot be."""
        try:
            with self._lock:
                self._flush()
        finally:
            if stage is not None:
                self.set_tags({f"{TAG_STAGE_STATUS}{stage}": status})
            call(self._client.set_terminated, self.run_id, status)

    def _entity(self) -> Entity:
        return call(self._client.get_run, self.run_id)

    def _send(self, what: str, items: Sequence[object]) -> None:
        for start in range(0, len(items), _BATCH[what]):
            chunk: Any = items[start : start + _BATCH[what]]
            call(self._client.log_batch, self.run_id, **{what: chunk}, synchronous=True)


class Unrecorded(Run):
    """A run of tracking switched off: it keeps nothing, and MLflow is not even imported."""

    def __init__(self) -> None:
        self.run_id, self.resumed = "untracked", False

    def _ignore(self, *_: Any, **__: Any) -> Any:
        """Keep nothing."""

    log_params = log_metrics = log_table = log_text = log_artifact = log_artifacts = _ignore
    log_dataset = log_model = set_tags = finish = _ignore

    def tags(self) -> dict[str, str]:
        """Return nothing."""
        return {}

    def download(self, artifact: str, destination: Path | str) -> Path:
        """Fail, because nothing was recorded."""
        del destination
        raise TrackingError(
            f"{artifact} was not recorded because tracking is off; switch it on and run again"
        )


def metric_points(values: Mapping[str, float], step: int | None = None) -> list[MetricPoint]:
    """Return the points of one step from a mapping of names to values."""
    return [(name, float(value), step) for name, value in values.items()]


def clean_key(name: str) -> str:
    """Return a metric or param name that MLflow accepts: other characters become underscores."""
    return re.sub(r"[^\w\-. /:]", "_", name, flags=re.ASCII)[:_KEY_LENGTH]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, leaf) of nested mappings; lists are leaves."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _require_safetensors(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"model weights {path} do not exist")
    try:
        with safe_open(path, framework="np"):
            pass
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a safetensors file ({error}); save the weights with safetensors"
        ) from error
