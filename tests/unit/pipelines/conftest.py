"""A project in which stages are run in this process."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.stage_project import enter, make_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_project(tmp_path)
    return enter(tmp_path, monkeypatch)


@pytest.fixture
def tracked(project: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project with a tracking store, which its stages use."""
    shutil.copyfile(empty_database, project / "mlflow.db")
    monkeypatch.setenv("CADNET_TRACKING", "on")
    return project


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a stage that must fail; returns its one line on stderr."""

    def run(main: Callable[[], None], *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["stage", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 1
        error = capsys.readouterr().err
        found = [line for line in error.splitlines() if line.startswith("error: ")]
        assert len(found) == 1, error
        assert "Traceback" not in error
        return error[error.index("error: ") :].strip()

    return run


@pytest.fixture
def edit(project: Path) -> Callable[[str, object], None]:
    """Change one dotted key of params.yaml."""

    def change(key: str, value: object) -> None:
        params = yaml.safe_load((project / "params.yaml").read_text("utf-8"))
        *path, last = key.split(".")
        node = params
        for part in path:
            node = node[part]
        node[last] = value
        (project / "params.yaml").write_text(yaml.safe_dump(params), "utf-8")

    return change
