"""Settings that must stand before torch is imported, how tests share processes, and an expensive template."""

import os
from pathlib import Path

import pytest

# The tests' tensors are small: a second thread costs more than it brings, most of all beside other processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests share a process, so that its fixtures are made once, as do files marked as a group."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.relative_to(item.config.rootpath).as_posix()))


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking database without runs, to be copied: MLflow takes seconds to create one."""
    from cadnet.tracking.store import connect, resolve_store

    folder = tmp_path_factory.mktemp("empty-database")
    connect(resolve_store(folder, "sqlite:///mlflow.db"))
    return folder / "mlflow.db"
