"""One project that ``dvc repro`` has run through, shared by all tests of the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.preloaded import preloaded_python
from tests.integration.project import Project, copy_of, fresh_copy


@dataclass(frozen=True)
class Finished:
    """A project after ``dvc pull data/synlcd`` and one ``dvc repro``, with what they printed."""

    project: Project
    pulled: str
    output: str


@pytest.fixture(scope="session")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for PATH with a ``python`` that starts stages faster, but not to be stopped or killed."""
    with preloaded_python(tmp_path_factory.mktemp("preloaded")) as folder:
        yield folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, preloaded: Path) -> Finished:
    """Only to be read; tests that change something take ``copied``."""
    project = fresh_copy(tmp_path_factory.mktemp("finished") / "project", preloaded)
    pulled = project.run("dvc", "pull", "data/synlcd")
    return Finished(project, pulled, project.run("dvc", "repro", timeout=900))


@pytest.fixture
def copied(finished: Finished, tmp_path: Path) -> Callable[[bool], Project]:
    """Make a copy of the finished project, run by the real ``python``; the argument switches MLflow on."""
    return lambda tracking: copy_of(finished.project, tmp_path / "copy", tracking)
