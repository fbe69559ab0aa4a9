"""A project in which stages are run in this process, at the smoke test's scale."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from pipelines.profile import compose
from tests.fakes import write_fake_dataset

ROOT = Path(__file__).parents[1]


def enter(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Run what follows in ``folder``, untracked."""
    patch.chdir(folder)
    for name in ("MLFLOW_TRACKING_URI", "CADNET_INVOCATION"):
        patch.delenv(name, raising=False)
    patch.setenv("CADNET_TRACKING", "off")
    return folder


def make_project(folder: Path) -> None:
    """A project with a prepared dataset, in which nothing is trained."""
    params = yaml.safe_load(compose("ci", ROOT / "params"))
    params["train"] |= {"crop": 32, "batch_size": 4}
    (folder / "params.yaml").write_text(yaml.safe_dump(params), "utf-8")
    (folder / "splits").mkdir()
    shutil.copyfile(ROOT / "splits/synlcd.csv", folder / "splits/synlcd.csv")
    write_fake_dataset(folder / "datasets/synlcd")
