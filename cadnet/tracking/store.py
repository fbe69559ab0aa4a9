"""Opening the MLflow store: which it is, creating it once, keeping it whole when the project moves."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from filelock import FileLock, Timeout

from cadnet.files import atomic_path
from cadnet.tracking.tracker import TrackingError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

P = ParamSpec("P")
R = TypeVar("R")

TAG_ARTIFACT_ROOT = "cadnet.artifact_root"
_SQLITE = "sqlite:///"
_DATABASES = ("postgresql", "mysql", "mssql")
_LOCK_SECONDS = 180
_LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("experiment_tags", "value"),
)
"""Columns of MLflow's database that hold absolute places of artifacts."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    """A tracking store.

    ``database`` and ``artifacts`` (a file URI) are set for a local SQLite store only; elsewhere the server or
    the database decides where artifacts go.
    """

    uri: str
    lock: Path
    database: Path | None = None
    artifacts: str | None = None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock under which runs are found or created; it ends with the process, come what may."""
        self.lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.lock, timeout=_LOCK_SECONDS):
                yield
        except Timeout as error:
            raise TrackingError(
                f"{self.lock} was held by another process for {_LOCK_SECONDS} s; "
                "look for a hanging run and end it"
            ) from error


def resolve_store(root: Path | str, uri: str | None = None) -> Store:
    """Decide on the store: ``uri``, else ``MLFLOW_TRACKING_URI``, else ``<root>/mlflow.db``.

    Relative SQLite paths count from ``root``, not from where the process was started.

    Raises:
        TrackingError: a ``file:`` store, or an address of an unknown kind.
    """
    root = Path(root).resolve()
    uri = (uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db").strip()
    lock = root / "mlflow.db.lock"
    scheme = uri.partition(":")[0].partition("+")[0] if "://" in uri else ""
    if uri.startswith(_SQLITE) and not uri.startswith(f"{_SQLITE}:memory:"):
        database = (root / uri.removeprefix(_SQLITE).partition("?")[0]).resolve()
        if not database.name:
            raise TrackingError(f"tracking store {uri} names no file; write for example sqlite:///mlflow.db")
        return Store(
            uri=f"{_SQLITE}{database}",
            lock=database.with_name(f"{database.name}.lock"),
            database=database,
            artifacts=(database.parent / "mlruns").as_uri(),
        )
    if scheme in ("http", "https") or scheme in _DATABASES or uri.startswith("databricks"):
        return Store(uri=uri, lock=lock)
    why = (
        "MLflow no longer accepts a folder as its store"
        if scheme in ("", "file")
        else "its kind is not known"
    )
    raise TrackingError(
        f"tracking store {uri!r} cannot be used: {why}; unset MLFLOW_TRACKING_URI for mlflow.db in "
        "the project's folder, or set it to sqlite:///<file>, http(s)://<server> or postgresql://<database>"
    )


def is_off() -> bool:
    """Whether ``CADNET_TRACKING`` switches tracking off."""
    return os.environ.get("CADNET_TRACKING", "on").lower() in ("off", "0", "false", "no")


def connect(store: Store) -> MlflowClient:
    """Return a client of ``store``, creating the local database when there is none.

    Raises:
        TrackingError: the server does not answer, or the database is of another MLflow version or not one.
    """
    _prepare_mlflow()
    if store.uri.startswith("http"):
        _require_answer(store.uri)
    if store.database is not None:
        with store.locked():
            # An empty file is what an interrupted creation by MLflow itself leaves.
            if not store.database.exists() or store.database.stat().st_size == 0:
                _create_database(store.database, store.artifacts or "")
            _relocate(store.database, store.artifacts or "")
    from mlflow.tracking import MlflowClient

    client = call(MlflowClient, tracking_uri=store.uri)
    call(client.search_experiments, max_results=1)
    return client


def call(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call MLflow, again while its database is locked by another writer.

    Raises:
        TrackingError: MLflow refused, or the database stayed locked; the message holds MLflow's own.
    """
    from mlflow.exceptions import MlflowException

    attempts = 7
    for attempt in range(attempts):
        try:
            return function(*args, **kwargs)
        except (MlflowException, OSError) as error:
            locked = "database is locked" in str(error) or "database table is locked" in str(error)
            if not locked or attempt == attempts - 1:
                raise TrackingError(f"tracking store: {error}") from error
            # Random, so that writers which met once do not meet again.
            time.sleep(random.uniform(0.5, 1.0) * 0.2 * 2**attempt)
    raise AssertionError("unreachable")


def _prepare_mlflow() -> None:
    """Settings MLflow reads while it is imported or used; only the telemetry is not left to the user."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    # The defaults wait for minutes on a server that is gone; unsent metrics are kept here and sent later.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    # Otherwise a line per migration step, a bar per file and an address per closed run.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


def _require_answer(uri: str, attempts: int = 3, seconds: float = 5) -> None:
    """Ask a server for any answer at all, so that a wrong address fails within seconds."""
    for attempt in range(attempts):
        try:
            with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=seconds):
                return
        except urllib.error.HTTPError:
            return
        except OSError as error:
            if attempt == attempts - 1:
                raise TrackingError(
                    f"the MLflow server {uri} does not answer ({error}); start it, correct "
                    "MLFLOW_TRACKING_URI, or unset it to track into mlflow.db in the project's folder"
                ) from error
            time.sleep(1)


def _create_database(database: Path, artifacts: str) -> None:
    """Create MLflow's tables beside the final name and rename: a half-migrated database cannot be opened."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    logger.info("creating the tracking database %s (some seconds, once)", database)
    # Under the lock nobody else creates one, so these were left by a creator that was killed.
    for leftover in database.parent.glob(f".{database.name}.*.tmp*"):
        leftover.unlink(missing_ok=True)
    with atomic_path(database) as temporary:
        SqlAlchemyStore(f"{_SQLITE}{temporary}", artifacts).engine.dispose()


def _relocate(database: Path, artifacts: str) -> None:
    """Point the places of artifacts to ``artifacts`` when the project's folder was moved or copied.

    MLflow stores absolute places only and offers no way to change them, so this edits its database. Only
    roots that were recorded by this pipeline are replaced.
    """
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection, connection:
            roots = connection.execute(
                "SELECT DISTINCT value FROM experiment_tags WHERE key = ? AND value != ?",
                (TAG_ARTIFACT_ROOT, artifacts),
            ).fetchall()
            for (old,) in roots:
                logger.info("the project was moved: artifacts of %s are now looked for in %s", old, artifacts)
                for table, column in _LOCATIONS:
                    _replace_prefix(connection, table, column, old, artifacts)
    except sqlite3.Error as error:
        raise TrackingError(
            f"{database} is not a usable MLflow database ({error}); move it away to begin a new one"
        ) from error


def _replace_prefix(connection: sqlite3.Connection, table: str, column: str, old: str, new: str) -> None:
    columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    # Compared by substr because LIKE reads _ and % in a path as wildcards.
    if column in columns:
        connection.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
            f" WHERE {column} = ? OR substr({column}, 1, ?) = ?",
            (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
        )
