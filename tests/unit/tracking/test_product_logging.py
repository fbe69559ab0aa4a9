"""A registered product is loaded by MLflow alone: no pickle, no checkout, any height and width."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from cadnet.images import write_png
from cadnet.inference import Predictor, ProductError, read_product, write_product
from cadnet.models.factory import build_model
from cadnet.models.weights import save_weights
from cadnet.tracking import Tracker, TrackingError, Trial
from cadnet.tracking.product_logging import fetch_product, product_folder, save_product_model
from cadnet.tracking.registry import Registry
from cadnet.tracking.store import resolve_store

pytestmark = pytest.mark.slow

SCRIPT = """
import json, sys
# An editable installation would find the checkout.
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__module__", "")]
import mlflow, numpy as np
model = mlflow.pyfunc.load_model(sys.argv[1])
pair = np.load(sys.argv[2])
found = model.predict({"image": pair[:1], "reference": pair[1:]})
import cadnet
print("RESULT " + json.dumps({
    "cadnet": cadnet.__file__, "labels": found["labels"].tolist(), "dtype": str(found["probability"].dtype),
    "probability": float(found["probability"].max())}))
"""


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("product")
    torch.manual_seed(0)
    network = build_model("cadnet", 1, decoder="none")
    about = {"name": "cadnet", "num_classes": 1, "options": {"decoder": "none"}, "class_names": ["dent"]}
    save_weights(root / "model", network, **about)
    generator = np.random.default_rng(0)
    write_png(root / "clean.png", generator.integers(0, 255, (96, 64, 3), dtype=np.uint8))
    references = {"clean": root / "clean.png"}
    write_product(root / "product", name="board", model=root / "model", references=references, size=64)
    return root / "product"


def test_a_registered_product_is_fetched_once(
    product: Path, project: Path, tracker: Tracker, trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = tracker.open_run(trial, "f" * 64, stage="register").run_id
    registry = Registry(resolve_store(project))
    version, _ = registry.register(
        "cadnet-board", "a" * 64, run_id, lambda folder: save_product_model(folder, product)
    )
    registry.promote(version)
    cache = project / "cache"
    folder = fetch_product("models:/cadnet-board@champion", cache, project)
    assert read_product(folder).weights_sha256 == read_product(product).weights_sha256
    monkeypatch.setattr(Registry, "download", lambda *_: pytest.fail("downloaded twice"))
    assert fetch_product("models:/cadnet-board/1", cache, project) == folder
    with pytest.raises(TrackingError, match="has no version '2'"):
        fetch_product("models:/cadnet-board/2", cache, project)
    next(folder.glob("references/*")).write_bytes(b"another picture")
    with pytest.raises(ProductError, match=r"is not the file that product\.json names"):
        fetch_product("models:/cadnet-board@champion", cache, project)


def test_mlflow_loads_it_without_pickle_and_without_a_checkout(product: Path, tmp_path: Path) -> None:
    save_product_model(tmp_path / "saved", product)
    description = yaml.safe_load((tmp_path / "saved/MLmodel").read_text("utf-8"))
    shapes = [entry["tensor-spec"]["shape"] for entry in json.loads(description["signature"]["inputs"])]
    assert shapes == [[-1, -1, -1, 3], [-1, -1, -1, 3]]
    assert not list((tmp_path / "saved").rglob("*.pkl"))
    requirements = (tmp_path / "saved/requirements.txt").read_text("utf-8").splitlines()
    assert all("==" in line for line in requirements)
    assert product_folder(tmp_path / "saved").joinpath("product.json").is_file()

    pair = np.random.default_rng(1).integers(0, 255, (2, 70, 50, 3), dtype=np.uint8)
    np.save(tmp_path / "pair.npy", pair)
    done = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, str(tmp_path / "saved"), str(tmp_path / "pair.npy")],
        cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
        env=os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    found = json.loads(line.removeprefix("RESULT "))
    assert found["cadnet"].startswith(str(tmp_path / "saved")) and found["dtype"] == "float32"
    own = Predictor(product).predict(pair[0], pair[1])
    assert found["labels"] == [own.labels.tolist()]
    assert found["probability"] == pytest.approx(float(own.probability.max()), abs=1e-5)
