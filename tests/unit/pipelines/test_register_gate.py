"""Stages ``register`` and ``gate``: one version per training, and only a better one replaces the champion."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cadnet.datasets.manifest import open_dataset
from cadnet.files import read_json, write_json
from cadnet.models.factory import build_model
from cadnet.models.weights import save_weights
from cadnet.tracking import Tracker
from cadnet.tracking.registry import CHALLENGER, CHAMPION, PREVIOUS, Registry
from cadnet.tracking.store import resolve_store
from pipelines.stages import evaluate, gate, register, train
from tests.fakes import CLASSES, write_fake_dataset

pytestmark = pytest.mark.slow

Edit = Callable[[str, object], None]
Fails = Callable[..., str]

TRIAL = ("--dataset", "synlcd", "--method", "cadnet", "--seed", "0")
PRODUCT = ("--product", "screen")
NAME = "cadnet-screen"
LOOSE = {"behaviour": {"false_fraction": 1.0, "shift": 0}, "latency_ms": 100000.0, "slice_images": 1}


@pytest.fixture
def products(project: Path, edit: Edit) -> Path:
    """A project with an acceptance set and a product that may be made of CADNet."""
    write_fake_dataset(project / "datasets/synlcd-acceptance", per_group=9, seed=3)
    edit("run.methods", ["cadnet"])
    edit("ablation.methods", [])
    edit("products.screen.gate", LOOSE)
    edit("products.screen.min_pixels", 1)
    return project


def untrained(project: Path, fingerprint: str, score: float | None = 0.25, seed: int = 0) -> None:
    """What training and test leave of a trial, with random weights."""
    torch.manual_seed(seed)
    save_weights(
        project / "models/synlcd/cadnet/s0", build_model("cadnet", 2), name="cadnet", num_classes=2,
        class_names=CLASSES,
        metadata={
            "fingerprint": fingerprint,
            "dataset": {"name": "synlcd", "digest": open_dataset(project / "datasets/synlcd").digest},
            "method": "cadnet", "seed": 0, "best": {"epoch": 3, "val_miou": score},
        },
    )  # fmt: skip
    write_json(project / "reports/metrics/synlcd/cadnet/s0.json", {"miou": 0.2, "escape": 0.5})


def run(monkeypatch: pytest.MonkeyPatch, main: Callable[[], None], *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["stage", *arguments])
    main()


def both(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Register and gate; returns the decision."""
    for main in (register.main, gate.main):
        run(monkeypatch, main, *PRODUCT)
    return dict(read_json(Path("reports/gate/screen/decision.json")))


def holders() -> tuple[int | None, ...]:
    """Numbers of champion, challenger and the champion before."""
    registry = Registry(resolve_store("."))
    found = [registry.holder(NAME, alias) for alias in (CHAMPION, CHALLENGER, PREVIOUS)]
    return tuple(holder.number if holder else None for holder in found)


def test_only_a_better_network_becomes_champion(
    products: Path, tracked: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit("products.screen.threshold", 0.99)
    untrained(products, "a" * 64)
    first = both(monkeypatch)
    assert first["passed"] and (first["version"], first["champion"]) == (1, None)
    assert first["acceptance"]["images"] == 9  # type: ignore[index]
    assert holders() == (1, None, None)

    # Once more: neither a second version nor a second decision.
    assert both(monkeypatch) == first
    assert holders() == (1, None, None)

    # Another training that is no better.
    untrained(products, "b" * 64)
    second = both(monkeypatch)
    assert not second["passed"] and (second["version"], second["champion"]) == (2, 1)
    assert "challenger minus champion" in str(second["reasons"])
    assert holders() == (1, None, None)
    registry = Registry(resolve_store("."))
    rejected = registry.version(NAME, 2)
    assert rejected is not None and rejected.status == "rejected"
    assert rejected.tags["cadnet.reasons"] == second["reasons"]

    # One that has learnt something.
    edit("products.screen.threshold", None)
    edit("train.epochs", 12)
    edit("methods.cadnet.recipe.reference_batch", 4)
    for main in (train.main, evaluate.main):
        run(monkeypatch, main, *TRIAL)
    third = both(monkeypatch)
    assert third["passed"], third["reasons"]
    assert holders() == (3, None, 1)
    run_id = registry.version(NAME, 3).run_id  # type: ignore[union-attr]
    kept = Tracker(resolve_store(".")).find_run(run_id).download("gate/version-3", products / "kept")
    assert read_json(kept / "decision.json") == third
    assert "cadnet-screen version 3 is champion" in (kept / "index.html").read_text("utf-8")

    # Who goes back to the one before does not get it again by the next run.
    registry.rollback(NAME)
    assert both(monkeypatch) == third
    assert holders() == (1, None, 3)


def test_a_promotion_that_was_cut_off_is_completed(
    products: Path, tracked: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit("products.screen.threshold", 0.99)
    untrained(products, "a" * 64)
    alias = Registry._alias

    def dies(self: Registry, version: object, name: str) -> None:
        if name == CHAMPION:
            raise KeyboardInterrupt
        alias(self, version, name)  # type: ignore[arg-type]

    monkeypatch.setattr(Registry, "_alias", dies)
    with pytest.raises(KeyboardInterrupt):
        both(monkeypatch)
    assert not Path("reports/gate/screen").exists()
    assert holders() == (None, 1, None)
    monkeypatch.setattr(Registry, "_alias", alias)
    run(monkeypatch, gate.main, *PRODUCT)
    assert holders() == (1, None, None)
    assert read_json(Path("reports/gate/screen/decision.json"))["passed"]


def test_without_a_registry_the_limits_alone_decide(
    products: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    untrained(products, "a" * 64)
    edit("products.screen.threshold", 0.99)
    edit("products.screen.gate", LOOSE | {"least": 0.5})
    decision = both(monkeypatch)
    assert (decision["version"], decision["champion"], decision["passed"]) == (None, None, False)
    assert decision["reasons"] == "mIoU on the acceptance set: 0.00 %, wanted at least 50.00 %"
    page = Path("reports/gate/screen/index.html").read_text("utf-8")
    assert "Rejected: screen (not registered) failed 1 of" in page
    product = read_json(Path("products/screen/product.json"))
    assert (product["threshold"], product["min_pixels"], product["size"]) == (0.99, 1, 32)
    assert product["metrics"] == {"val_miou": 0.25, "test": {"miou": 0.2, "escape": 0.5}}
    assert product["params"]["method"]["title"] == "CADNet"
    assert [one["name"] for one in product["references"]] == ["01", "02", "03", "04"]
    card = Path("products/screen/README.md").read_text("utf-8")
    assert "the only training by `val_miou` on validation images: 0.2500" in card
    assert "| miou | 20.00 |" in card


class TestMistakes:
    def test_what_cannot_be_registered_is_named(self, products: Path, edit: Edit, fails: Fails) -> None:
        assert fails(register.main, "--product", "board").endswith("no product 'board'; it has ['screen']")
        untrained(products, "a" * 64)
        edit("products.screen.metric", "val_iou_scratch")
        assert "synlcd/cadnet/s0 has no validation metric 'val_iou_scratch'; it has ['val_miou']" in fails(
            register.main, *PRODUCT
        )
        edit("products.screen.metric", "val_miou")
        edit("products.screen.references", "clean")
        assert "clean holds no images" in fails(register.main, *PRODUCT)
        write_fake_dataset(products / "datasets/synlcd", per_group=7, seed=8)
        assert "is of another state of 'synlcd'; run `make repro`" in fails(register.main, *PRODUCT)

    def test_the_acceptance_set_is_apart(
        self, products: Path, edit: Edit, fails: Fails, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        untrained(products, "a" * 64)
        edit("products.screen.threshold", 0.99)
        run(monkeypatch, register.main, *PRODUCT)
        write_fake_dataset(products / "datasets/synlcd-acceptance")
        error = fails(gate.main, *PRODUCT)
        assert "4 images of the acceptance set 'fake' are in 'fake' too, for example images/03-" in error
        assert not Path("reports/gate/screen").exists()
        edit("products.screen.acceptance", "synlcd")
        assert "acceptance is 'synlcd', which the product is trained on" in fails(gate.main, *PRODUCT)
