from __future__ import annotations

from pathlib import Path

import pytest
from inference_fakes import make_product, save_model, texture

from cadnet.inference import Product


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small CADNet; not to be changed."""
    return save_model(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture
def product(tmp_path: Path, model: Path) -> Product:
    """One reference of 48 x 40 pixels, called clean."""
    return make_product(tmp_path, {"clean": texture(40, 48)}, model)
