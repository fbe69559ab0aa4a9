"""The MLflow store of a project: its address, creating it once, its client and its artifacts."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from urllib.parse import unquote

import requests
from filelock import FileLock, Timeout
from requests.adapters import HTTPAdapter, Retry

from cadnet.files import atomic_path

if TYPE_CHECKING:
    from mlflow.store.artifact.artifact_repo import ArtifactRepository
    from mlflow.tracking import MlflowClient

P = ParamSpec("P")
R = TypeVar("R")

ARTIFACTS = "mlartifacts"
"""Folder of artifacts beside a local database, which is where ``mlflow ui`` started there looks as well."""
PROXY = "mlflow-artifacts:/"
"""How addresses of artifacts begin that are relative to that folder, or to the one of a server."""
_SQLITE = "sqlite:///"
_DATABASES = ("postgresql", "mysql", "mssql")
_LOCK_SECONDS = 600

logger = logging.getLogger(__name__)


class TrackingError(RuntimeError):
    """The tracking store is misconfigured, out of reach or refused something; the message has the fix."""


@dataclass(frozen=True)
class Store:
    """A tracking store; ``database`` is the file of a local SQLite store, None for a server or database.

    A local store records artifacts relative to the folder of its database, so that a project can be moved or
    copied and MLflow's page, started there, finds them as well.
    """

    uri: str
    lock: Path
    database: Path | None = None

    def __str__(self) -> str:
        """The address without its password."""
        return without_password(self.uri)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock under which runs are found or created; it ends with the process.

        Raises:
            TrackingError: another process has held it for minutes.
        """
        self.lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.lock, timeout=_LOCK_SECONDS):
                yield
        except Timeout as error:
            raise TrackingError(
                f"{self.lock} was held by another process for {_LOCK_SECONDS} s; "
                "look for a hanging run and end it"
            ) from error

    def resolve(self, uri: str) -> str:
        """Return the address of artifacts as this process can open it."""
        if self.database is None or not uri.startswith(PROXY):
            return uri
        return (self.database.parent / ARTIFACTS / uri.removeprefix(PROXY)).as_uri()

    def relocated(self, uri: str) -> str:
        """Return where the artifacts of a local store lie now that were recorded before its project moved."""
        _, found, below = uri.rpartition(f"/{ARTIFACTS}/")
        return self.resolve(PROXY + unquote(below)) if found and self.database and "://" in uri else uri

    def artifacts(self, uri: str) -> ArtifactRepository:
        """Return MLflow's repository of the artifacts at ``uri``."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return call(get_artifact_repository, self.resolve(uri), tracking_uri=self.uri)


def resolve_store(root: Path | str, uri: str | None = None) -> Store:
    """Decide on the store: ``uri``, else ``MLFLOW_TRACKING_URI``, else ``<root>/mlflow.db``.

    Relative SQLite paths count from ``root``, not from the working directory of the process.

    Raises:
        TrackingError: a ``file:`` store, or an address of an unknown kind.
    """
    root = Path(root).resolve()
    uri = (uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db").strip()
    scheme = uri.partition(":")[0].partition("+")[0] if "://" in uri else ""
    if uri.startswith(_SQLITE) and not uri.startswith(f"{_SQLITE}:memory:"):
        database = (root / uri.removeprefix(_SQLITE).partition("?")[0]).resolve()
        if not database.name:
            raise TrackingError(f"tracking store {uri} names no file; write for example sqlite:///mlflow.db")
        return Store(f"{_SQLITE}{database}", database.with_name(f"{database.name}.lock"), database)
    store = Store(uri, root / "mlflow.db.lock")
    if scheme in ("http", "https", *_DATABASES) or uri.startswith("databricks"):
        return store
    why = "its kind is not known" if scheme not in ("", "file") else "MLflow no longer accepts a folder"
    raise TrackingError(
        f"tracking store '{store}' cannot be used: {why}; unset MLFLOW_TRACKING_URI for mlflow.db in "
        "the project's folder, or set it to sqlite:///<file>, http(s)://<server> or postgresql://<database>"
    )


def without_password(text: object) -> str:
    """An address, or a message that holds one; up to the last @, because a password may hold one."""
    return re.sub(r"://[^\s'\"]*@", "://***@", str(text))


def is_off() -> bool:
    """Whether ``CADNET_TRACKING`` switches tracking off."""
    return os.environ.get("CADNET_TRACKING", "on").lower() in ("off", "0", "false", "no")


def connect(store: Store) -> MlflowClient:
    """Return a client of ``store``, creating the local database if it does not exist.

    Raises:
        TrackingError: the server does not answer, or the database is of another MLflow version or not one.
    """
    _prepare_mlflow()
    if store.uri.startswith("http"):
        _require_answer(store)
    elif store.uri.startswith(_DATABASES):
        _require_connection(store)
    if store.database is not None:
        if not store.database.parent.is_dir():
            raise TrackingError(
                f"the folder {store.database.parent} of the tracking store does not exist; make it, or "
                "correct MLFLOW_TRACKING_URI"
            )
        with store.locked():
            _require_database(store.database)
    from mlflow.tracking import MlflowClient

    # Named, because MLFLOW_REGISTRY_URI of a user's other work would lead to another registry.
    client = call(MlflowClient, tracking_uri=store.uri, registry_uri=store.uri)
    call(client.search_experiments, max_results=1)
    return client


def call(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call MLflow, again while its database is locked by another writer.

    MLflow waits 20 s for a lock by itself, but SQLite refuses at once to wait where that could deadlock.

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
                raise TrackingError(f"tracking store: {without_password(error)}") from error
            # Random, so that writers which met once do not meet again.
            time.sleep(random.uniform(0.5, 1.0) * 0.2 * 2**attempt)
    raise AssertionError("unreachable")


def _prepare_mlflow() -> None:
    """Set what MLflow reads while it is imported or used; only telemetry is not left to the user."""
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    defaults = {
        # MLflow's own wait for minutes on a server that is gone; unsent metrics are kept and sent later.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
        # Otherwise a line per migration step, a bar per file and an address per closed run.
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }
    os.environ |= {name: value for name, value in defaults.items() if name not in os.environ}


def _require_answer(store: Store) -> None:
    """Ask a server for any answer at all, so that a wrong address fails within seconds."""
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=Retry(2, backoff_factor=1)))
        try:
            session.get(f"{store.uri.rstrip('/')}/health", timeout=5)
        except requests.RequestException as error:
            raise TrackingError(
                f"the MLflow server {store} does not answer ({without_password(error)}); start it, correct "
                "MLFLOW_TRACKING_URI, or unset it to track into mlflow.db in the project's folder"
            ) from error


def _require_connection(store: Store) -> None:
    """Connect to a database once: MLflow would try for an hour, and print the address at each try."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    try:
        engine = create_engine(store.uri)
        try:
            engine.connect().close()
        finally:
            engine.dispose()
    except ImportError as error:
        package = {"psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}.get(error.name or "", error.name)
        raise TrackingError(
            f"tracking store {store}: its driver {error.name} is not installed; run: pip install {package}"
        ) from error
    except (SQLAlchemyError, ValueError) as error:
        raise TrackingError(
            f"the database {store} cannot be opened ({without_password(error)}); start it or correct "
            "MLFLOW_TRACKING_URI"
        ) from error


def _require_database(database: Path) -> None:
    """Create MLflow's tables beside the final name and rename: a half-migrated database cannot be opened."""
    # An empty file is what an interrupted creation by MLflow itself leaves.
    if database.exists() and database.stat().st_size > 0:
        with database.open("rb") as file:
            if file.read(15) != b"SQLite format 3":
                raise TrackingError(
                    f"{database} is not a usable MLflow database; move it away to begin a new one"
                )
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    logger.info("creating the tracking database %s (some seconds, once)", database)
    # Under the lock nobody else creates one, so these were left by a creator that was killed.
    for leftover in database.parent.glob(f".{database.name}.*.tmp*"):
        leftover.unlink(missing_ok=True)
    with atomic_path(database) as temporary:
        SqlAlchemyStore(f"{_SQLITE}{temporary}", PROXY).engine.dispose()
