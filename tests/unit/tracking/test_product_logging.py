"""A registered product is loaded by MLflow alone: no pickle, no checkout, any height and width."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from cadnet.cli import app
from cadnet.images import write_png
from cadnet.inference import Predictor, read_product, write_product
from cadnet.models.factory import build_model
from cadnet.models.weights import save_weights
from cadnet.tracking import Tracker, TrackingError, Trial
from cadnet.tracking.product_logging import fetch_product, product_folder, repair, save_product_model
from cadnet.tracking.registry import CHAMPION, TAG_PRODUCT_DIGEST, Registry, Version
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


MODEL = "cadnet-board"


@pytest.fixture
def registry(project: Path) -> Registry:
    return Registry(resolve_store(project))


@pytest.fixture
def version(registry: Registry, product: Path, tracker: Tracker, trial: Trial) -> Version:
    """The product as champion, registered like the stage does."""
    return registered(registry, product, tracker.open_run(trial, "f" * 64, stage="register").run_id)


def registered(registry: Registry, product: Path, run_id: str, fingerprint: str = "a" * 64) -> Version:
    """A new champion."""
    tags = {TAG_PRODUCT_DIGEST: read_product(product).digest}
    version, _ = registry.register(
        MODEL, fingerprint, run_id, lambda folder: save_product_model(folder, product), tags
    )
    registry.promote(version)
    return version


def files_of(version: Version, project: Path) -> Path:
    (folder,) = project.glob(f"mlartifacts/*/{version.run_id}/artifacts/model/artifacts/*")
    return folder


def other_threshold(product: Path, folder: Path) -> Path:
    """A product like another, but for its threshold."""
    given = read_product(product)
    references = {one.name: given.folder / one.file for one in given.references}
    return write_product(
        folder, name=given.name, model=product, references=references, size=given.size, threshold=0.9
    ).folder


def test_a_registered_product_is_fetched_once(
    product: Path, project: Path, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = project / "cache"
    folder = fetch_product("models:/cadnet-board@champion", cache, project)
    assert read_product(folder).digest == read_product(product).digest
    download = Registry.download
    monkeypatch.setattr(Registry, "download", lambda *_: pytest.fail("downloaded twice"))
    assert fetch_product(version.address, cache, project) == folder
    with pytest.raises(TrackingError, match="has no version '2'"):
        fetch_product("models:/cadnet-board/2", cache, project)
    # A damaged copy is downloaded again, and so is one that is whole but of another product.
    monkeypatch.setattr(Registry, "download", download)
    next(folder.glob("references/*")).write_bytes(b"another picture")
    assert read_product(fetch_product(version.address, cache, project)).threshold == 0.5
    other_threshold(product, folder)
    assert read_product(fetch_product(version.address, cache, project)).threshold == 0.5


def test_files_that_were_exchanged_in_the_store_are_refused(
    product: Path, project: Path, version: Version
) -> None:
    files = files_of(version, project)
    shutil.rmtree(files)
    other_threshold(product, files)
    with pytest.raises(TrackingError, match=r"not those that were registered .*as cadnet-board version 1"):
        fetch_product(version.address, project / "cache", project)
    assert not list((project / "cache").iterdir())


def test_no_tag_leads_into_a_foreign_folder(
    registry: Registry, project: Path, version: Version, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "mine").write_text("precious", "utf-8")
    cache = project / "cache"
    for key in ("cadnet.product_fingerprint", "cadnet.training", "cadnet.trial"):
        for value in ("../../foreign", str(foreign)):
            registry._client.set_model_version_tag(MODEL, "1", key, value)
            folder = fetch_product(version.address, cache, project)
            assert cache in folder.parents and (foreign / "mine").read_text("utf-8") == "precious"


def test_what_the_registry_has_lost_is_uploaded_from_any_copy(
    registry: Registry, product: Path, project: Path, version: Version, tmp_path: Path
) -> None:
    cache, other = project / "cache", other_threshold(product, tmp_path / "other")
    places = [tmp_path / "none", other, product]
    assert repair(registry, MODEL, "", places) == []
    shutil.rmtree(project / "mlartifacts" / MODEL)
    with pytest.raises(TrackingError, match=r"version 1 cannot be had .*`make repro` in its project uploads"):
        fetch_product(version.address, cache, project)
    assert [one.number for one in repair(registry, MODEL, "", [tmp_path / "none", other])] == [1]
    assert repair(registry, MODEL, "", places) == []
    assert read_product(fetch_product(version.address, cache, project)).threshold == 0.5


class TestByHand:
    def invoke(self, *words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, list(words))
        return done.exit_code, done.output

    @pytest.fixture
    def second(
        self,
        registry: Registry,
        product: Path,
        project: Path,
        version: Version,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Version:
        """A second champion, and the project's folder of the product, which nobody has brought up to date."""
        monkeypatch.chdir(project)
        Path("products/board").mkdir(parents=True)
        return registered(registry, other_threshold(product, tmp_path / "other"), version.run_id, "b" * 64)

    def test_going_back_changes_the_champion_and_its_folder_once(self, second: Version) -> None:
        for text in ("version 1 is champion again instead of version 2; ", "version 1 is champion already; "):
            status, output = self.invoke("rollback", "board")
            assert status == 0 and text in output
            assert read_product("products/board").threshold == 0.5
        for text in ("version 2 is champion again instead of version 1; ", "version 2 is champion already; "):
            status, output = self.invoke("rollback", "cadnet-board", "--to", "2")
            assert status == 0 and text in output
            assert read_product("products/board").threshold == 0.9
        status, output = self.invoke("rollback", "bord")
        assert status == 1 and "no model 'bord' is registered; registered are cadnet-board" in output

    def test_nothing_goes_back_to_files_that_are_gone(
        self, second: Version, version: Version, registry: Registry, project: Path
    ) -> None:
        shutil.rmtree(files_of(version, project))
        status, output = self.invoke("rollback", "board")
        assert status == 1 and "the files of cadnet-board version 1 cannot be had" in output
        champion = registry.holder(MODEL, CHAMPION)
        assert champion is not None and champion.number == 2

    def test_a_reason_is_needed_and_kept(self, second: Version, registry: Registry) -> None:
        registry.reject(second, "too slow")
        status, output = self.invoke("promote", "board", "--version", "2", "--reason", " ")
        assert status == 1 and "--reason must say why" in output
        status, output = self.invoke("promote", "board", "--version", "2", "--reason", "slow is fine")
        assert status == 0 and "version 2 is champion" in output
        assert read_product("products/board").threshold == 0.9
        kept = registry.resolve(second.address)
        assert kept.status == "approved" and kept.tags["cadnet.by_hand"] == "promoted: slow is fine"

    def test_a_broken_champion_is_retired(
        self, second: Version, version: Version, registry: Registry, project: Path
    ) -> None:
        shutil.rmtree(files_of(second, project))
        words = ("retire", "board", "--version", "2", "--reason", "its files are gone")
        for _ in range(2):
            status, output = self.invoke(*words)
            assert status == 0 and "version 2 is retired; version 1 is champion" in output
            assert read_product("products/board").threshold == 0.5
        # The one before is broken, too: without a champion the folder holds no product.
        shutil.rmtree(files_of(version, project))
        status, output = self.invoke("retire", "board", "--version", "1", "--reason", "it, too")
        assert status == 0 and "there is no champion" in output
        assert [path.name for path in Path("products/board").iterdir()] == ["README.md"]
        with pytest.raises(FileNotFoundError, match=r"see products/board/README\.md"):
            read_product("products/board")


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
