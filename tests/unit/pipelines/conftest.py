"""A project in which stages are run in this process."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipelines.profile import compose
from tests.fakes import write_fake_dataset

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a prepared dataset, in which nothing is trained."""
    params = yaml.safe_load(compose("ci", ROOT / "params"))
    params["train"] |= {"crop": 32, "batch_size": 4}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), "utf-8")
    (tmp_path / "splits").mkdir()
    shutil.copyfile(ROOT / "splits/synlcd.csv", tmp_path / "splits/synlcd.csv")
    write_fake_dataset(tmp_path / "datasets/synlcd")
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "CADNET_INVOCATION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CADNET_TRACKING", "off")
    return tmp_path


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
