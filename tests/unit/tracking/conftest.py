"""A migrated tracking database, made once because creating one takes seconds."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from cadnet.tracking import Run, Tracker, Trial
from cadnet.tracking.store import resolve_store


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tracking-template")
    # What killed creators leave; both must not stand in the way.
    (folder / "mlflow.db").touch()
    (folder / ".mlflow.db.123.tmp.db").write_bytes(b"half a database")
    Tracker(resolve_store(folder, "sqlite:///mlflow.db"))
    return folder / "mlflow.db"


@pytest.fixture
def make_project(tmp_path: Path, migrated_database: Path) -> Callable[[str], Path]:
    def make(name: str = "project") -> Path:
        root = tmp_path / name
        root.mkdir()
        shutil.copyfile(migrated_database, root / "mlflow.db")
        with closing(sqlite3.connect(root / "mlflow.db")) as connection:
            assert connection.execute("SELECT count(*) FROM experiments").fetchone() == (1,)
        return root

    return make


@pytest.fixture
def project(make_project: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MLFLOW_TRACKING_URI", "CADNET_TRACKING", "CADNET_INVOCATION"):
        monkeypatch.delenv(name, raising=False)
    return make_project("project")


@pytest.fixture
def tracker(project: Path) -> Tracker:
    return Tracker(resolve_store(project))


@pytest.fixture
def trial() -> Trial:
    return Trial("synlcd-mixed", "cadnet", 0, scale="small")


@pytest.fixture
def run(tracker: Tracker, trial: Trial) -> Run:
    """The trial's run, which is being trained."""
    return tracker.open_run(trial, "f1", stage="train")
