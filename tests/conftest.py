"""Settings that must stand before torch is imported, and a template that is expensive to make."""

import os
from pathlib import Path

import pytest

# The tests' tensors are small: a second thread costs more than it brings, most of all beside other processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking database without runs, to be copied: MLflow takes seconds to create one."""
    from cadnet.tracking.store import connect, resolve_store

    folder = tmp_path_factory.mktemp("empty-database")
    connect(resolve_store(folder, "sqlite:///mlflow.db"))
    return folder / "mlflow.db"
