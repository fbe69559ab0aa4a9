"""Real photographs that tests use when they lie beside the project; they are not ours to ship."""

from __future__ import annotations

from pathlib import Path

import pytest

SAMPLES = Path(__file__).parents[2] / "shared" / "data"


def sample(name: str) -> Path:
    """Return the folder of real samples ``name``; skip the test, saying so, when it is not there."""
    folder = SAMPLES / name
    if not folder.is_dir():
        pytest.skip(f"the real samples ../shared/data/{name} are not there")
    return folder
