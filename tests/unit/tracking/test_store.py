"""Which store, its errors, and a project folder that moves."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from cadnet.tracking import TrackingError, Trial, open_tracker
from cadnet.tracking import store as store_module
from cadnet.tracking.store import connect, resolve_store


def test_default_is_a_database_in_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = resolve_store(tmp_path)
    assert store.uri == f"sqlite:///{tmp_path.resolve()}/mlflow.db"
    assert store.resolve("mlflow-artifacts:/a") == (tmp_path / "mlartifacts/a").resolve().as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///sub/runs.db")
    assert resolve_store(tmp_path).database == tmp_path.resolve() / "sub" / "runs.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://example.org/mlflow")
    store = resolve_store(tmp_path)
    assert (store.uri, store.database) == ("https://example.org/mlflow", None)
    assert store.resolve("mlflow-artifacts:/a") == "mlflow-artifacts:/a"
    assert resolve_store(tmp_path, "postgresql+psycopg2://u@h/d").database is None


@pytest.mark.parametrize("uri", ["file:./mlruns", "file:///x/mlruns", "./mlruns", "mlartifacts"])
def test_file_store_is_refused_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(
        TrackingError, match=r"no longer accepts a folder.*unset MLFLOW_TRACKING_URI"
    ) as caught:
        open_tracker(tmp_path)
    assert uri in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", ["htp://server", "sqlite://", "sqlite:///:memory:"])
def test_unknown_store_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(TrackingError, match="kind is not known"):
        resolve_store(tmp_path, uri)


def test_server_that_is_away_fails_soon(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
        begin = time.monotonic()
        with pytest.raises(TrackingError, match=r"does not answer.*MLFLOW_TRACKING_URI") as caught:
            open_tracker(tmp_path, uri)
    assert uri in str(caught.value)
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("ftp://user:S3CRET@host/runs", "kind is not known"),
        ("http://user:S3CRET@127.0.0.1:9", "does not answer"),
        ("http://user:S3CRET@127.0.0.1:port", "does not answer"),
        ("http://user:S3CRET@my server", "does not answer"),
        ("postgresql://user:S3C@RET@127.0.0.1:9/runs", "driver psycopg2 is not installed.*psycopg2-binary"),
        ("postgresql://user:S3CRET@127.0.0.1:port/runs", "cannot be opened"),
    ],
)
def test_what_cannot_be_reached_is_named_without_its_password(tmp_path: Path, uri: str, said: str) -> None:
    with pytest.raises(TrackingError, match=said) as caught:
        open_tracker(tmp_path, uri)
    assert "S3C" not in str(caught.value) and "RET@" not in str(caught.value)
    assert "***@" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_server_is_asked_with_the_users_name_and_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Authorization"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        store_module._require_answer(
            resolve_store(tmp_path, f"http://inspector:S3CRET@127.0.0.1:{server.server_port}")
        )
        server.shutdown()
    assert asked == [f"Basic {b64encode(b'inspector:S3CRET').decode()}"]


def test_a_folder_that_is_not_there_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"folder .*/mistyped of the tracking store does not exist"):
        open_tracker(tmp_path, "sqlite:///mistyped/mlflow.db")
    assert list(tmp_path.iterdir()) == []


def test_the_registry_is_that_of_the_tracking_store(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{tmp_path}/other.db")
    connect(resolve_store(project)).create_registered_model("screen")
    assert not (tmp_path / "other.db").exists()
    with closing(sqlite3.connect(project / "mlflow.db")) as connection:
        assert connection.execute("SELECT name FROM registered_models").fetchall() == [("screen",)]


def test_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"not a database" * 100)
    with pytest.raises(TrackingError, match=r"mlflow\.db is not a usable MLflow database"):
        connect(resolve_store(tmp_path, "sqlite:///mlflow.db"))


def test_database_of_another_version_says_how_to_upgrade(project: Path) -> None:
    with closing(sqlite3.connect(project / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    with pytest.raises(TrackingError, match="mlflow db upgrade"):
        open_tracker(project)


def test_interrupted_creation_leaves_nothing(migrated_database: Path) -> None:
    names = sorted(path.name for path in migrated_database.parent.iterdir())
    assert names == ["mlflow.db", "mlflow.db.lock"]


def test_lock_held_too_long_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_LOCK_SECONDS", 0.1)
    store = resolve_store(tmp_path, "sqlite:///mlflow.db")
    with store.locked(), pytest.raises(TrackingError, match="held by another process"), store.locked():
        pass


@pytest.mark.parametrize("keep", [False, True], ids=["moved", "copied"])
def test_moved_project_keeps_its_artifacts(project: Path, trial: Trial, tmp_path: Path, keep: bool) -> None:
    before = open_tracker(project).open_run(trial, "f1", stage="train")
    before.log_text("from before", "note.txt")
    before.finish("FINISHED")
    moved = tmp_path / "a new place, 100%"
    if keep:
        shutil.copytree(project, moved)
    else:
        project.rename(moved)
    tracker = open_tracker(moved)
    record = tracker.find_runs(trial.experiment)[0]
    assert tracker.find_run(record.run_id).download("note.txt", tmp_path / "out").read_text() == "from before"
    after = tracker.open_run(trial, "f2", stage="train")
    after.log_text("from after", "note.txt")
    folder = moved / "mlartifacts" / trial.experiment
    assert {path.name for path in folder.iterdir()} == {before.run_id, after.run_id}
    assert (folder / after.run_id / "artifacts" / "note.txt").read_text() == "from after"
    assert (project / "mlartifacts").exists() == keep
    if keep:
        assert {path.name for path in (project / "mlartifacts" / trial.experiment).iterdir()} == {
            before.run_id
        }


def test_artifact_folder_of_another_server_is_left_alone(project: Path, tmp_path: Path) -> None:
    tracker = open_tracker(project)
    place = (tmp_path / "big disk").as_uri()
    tracker.client.create_experiment("theirs", place)
    moved = project.rename(tmp_path / "moved")
    again = open_tracker(moved)
    assert again.client.get_experiment_by_name("theirs").artifact_location == place


def test_nothing_happens_at_import() -> None:
    code = (
        "import os, sys; before = dict(os.environ); import cadnet.tracking;"
        "assert dict(os.environ) == before; assert not {'mlflow', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_two_folders_have_two_stores(make_project: Callable[[str], Path], trial: Trial) -> None:
    first, second = open_tracker(make_project("one")), open_tracker(make_project("two"))
    first.open_run(trial, "f1", stage="train")
    assert len(first.find_runs(trial.experiment)) == 1
    assert second.find_runs(trial.experiment) == []
