"""Stages ``register`` and ``gate``: one version per training, and only a better one replaces the champion."""

from __future__ import annotations

import shutil
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
from cadnet.tracking.champion import Folders, promote_by_hand, retire
from cadnet.tracking.product_logging import fetch_product
from cadnet.tracking.registry import CHALLENGER, CHAMPION, PREVIOUS, Registry
from cadnet.tracking.store import resolve_store
from pipelines.registered import forget_missing
from pipelines.stages import evaluate, gate, register, train
from pipelines.trials import registration_file
from tests.fakes import CLASSES, write_fake_dataset

pytestmark = pytest.mark.slow

Edit = Callable[[str, object], None]
Fails = Callable[..., str]

TRIAL = ("--dataset", "synlcd", "--method", "cadnet", "--seed", "0")
PRODUCT = ("--product", "screen")
NAME = "cadnet-screen"
LOOSE = {
    "least": 0.0, "escape": 1.0, "overkill": 1.0, "latency_ms": 100000.0, "slice_images": 1,
    "behaviour": {"false_fraction": 1.0, "shift": 0, "planted": 0.0},
}  # fmt: skip


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
    kept = Tracker(resolve_store(".")).find_run(run_id).download("gate", products / "kept")
    assert read_json(kept / "decision.json") == third
    assert "cadnet-screen version 3 is champion" in (kept / "index.html").read_text("utf-8")

    # Who goes back to the one before does not get it again by the next run.
    assert in_use() == "candidates/screen"
    registry.rollback(NAME)
    assert both(monkeypatch) == third
    assert holders() == (1, None, None)
    assert in_use() != "candidates/screen"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No export, which takes seconds and decides nothing here."""
    monkeypatch.setattr("cadnet.inference.acceptance.export_difference", lambda _: 0.0)


def in_use() -> str:
    """Which folder's product is in products/screen."""
    own = read_json(Path("products/screen/product.json"))["digest"]
    same = read_json(Path("candidates/screen/product.json"))["digest"] == own
    return "candidates/screen" if same else "another"


def test_a_changed_operating_point_needs_not_be_better(
    quick: None, products: Path, tracked: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit("products.screen.threshold", 0.99)
    untrained(products, "a" * 64)
    both(monkeypatch)
    edit("products.screen.threshold", 0.98)
    changed = both(monkeypatch)
    assert (changed["version"], changed["passed"]) == (2, True), changed["reasons"]
    assert read_json(Path("products/screen/product.json"))["threshold"] == 0.98
    assert holders() == (2, None, 1)


def test_the_folder_in_use_changes_only_by_promotion_and_hands_are_believed(
    quick: None, products: Path, tracked: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit("products.screen.threshold", 0.99)
    edit("products.screen.gate", LOOSE | {"least": 0.5})
    untrained(products, "a" * 64)
    assert not both(monkeypatch)["passed"]
    assert [path.name for path in Path("products/screen").iterdir()] == ["README.md"]
    registry = Registry(resolve_store("."))
    promote_by_hand(registry, "screen", 1, "the set is too hard", Folders())
    assert in_use() == "candidates/screen"
    decision = both(monkeypatch)
    assert decision["passed"] and decision["by_hand"] == "promoted: the set is too hard"
    assert not decision["checks"][0]["passed"]  # type: ignore[index]
    # Another network that the gate rejects is a candidate, and no more.
    untrained(products, "b" * 64, seed=1)
    assert not both(monkeypatch)["passed"] and in_use() == "another"
    retire(registry, "screen", 1, "marks dust", Folders())
    assert [path.name for path in Path("products/screen").iterdir()] == ["README.md"]


def test_what_the_registry_has_lost_comes_back(
    quick: None,
    products: Path,
    tracked: Path,
    edit: Edit,
    empty_database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    edit("products.screen.threshold", 0.99)
    untrained(products, "a" * 64)
    both(monkeypatch)
    untrained(products, "b" * 64, seed=1)
    assert not both(monkeypatch)["passed"] and holders() == (1, None, None)
    champion = read_json(Path("products/screen/product.json"))["digest"]
    assert forget_missing(products, print) == []

    # The runs of both were deleted, then `mlflow gc`.
    shutil.rmtree("mlartifacts")
    shutil.rmtree("cache/registry")
    assert forget_missing(products, print) == ["screen"] and not registration_file("screen").exists()
    run(monkeypatch, register.main, *PRODUCT)
    assert forget_missing(products, print) == []
    fetched = fetch_product("models:/cadnet-screen@champion", "cache/registry")
    assert read_json(fetched / "product.json")["digest"] == champion
    note = read_json(registration_file("screen"))

    # A fresh clone after `dvc pull`: another registry, in which the champion comes first.
    shutil.copyfile(empty_database, "mlflow.db")
    assert forget_missing(products, print) == ["screen"]
    both(monkeypatch)
    assert holders() == (1, None, None) and forget_missing(products, print) == []
    again = read_json(registration_file("screen"))
    assert again["version"] == 2 and again["run"] != note["run"]
    assert read_json(Path("products/screen/product.json"))["digest"] == champion

    # The folder in use lags behind when the champion is changed from another machine.
    Registry(resolve_store(".")).promote(Registry(resolve_store(".")).versions(NAME)[0], "promoted: there")
    assert forget_missing(products, print) == ["screen"]
    assert registration_file("screen").exists() and not Path("reports/gate/screen/decision.json").exists()
    run(monkeypatch, gate.main, *PRODUCT)
    assert in_use() == "candidates/screen" and forget_missing(products, print) == []


def test_a_second_machine_on_one_store_disturbs_nothing(
    quick: None, products: Path, tracked: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit("products.screen.threshold", 0.99)
    untrained(products, "a" * 64)
    first = both(monkeypatch)
    # The other one trains the same, which takes the fingerprint from this one's run; then that is deleted.
    store = Tracker(resolve_store("."))
    (own,) = store.find_runs("cadnet/synlcd/supervised", {"cadnet.fingerprint": "a" * 64})
    store.client.delete_tag(own.run_id, "cadnet.fingerprint")
    store.client.delete_run(own.run_id)
    shutil.rmtree("reports/gate/screen")
    assert both(monkeypatch) == first and holders() == (1, None, None)


def test_a_promotion_that_was_cut_off_is_completed(
    quick: None, products: Path, tracked: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit("products.screen.threshold", 0.99)
    untrained(products, "a" * 64)
    alias = Registry._alias

    def dies(self: Registry, model: str, name: str, number: int | None) -> None:
        if name == CHAMPION:
            raise KeyboardInterrupt
        alias(self, model, name, number)

    monkeypatch.setattr(Registry, "_alias", dies)
    with pytest.raises(SystemExit, match="130"):
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
    assert [path.name for path in Path("products/screen").iterdir()] == ["README.md"]
    edit("products.screen.gate", LOOSE)
    assert both(monkeypatch)["passed"] and in_use() == "candidates/screen"
    edit("products.screen.gate", LOOSE | {"least": 0.5})
    assert not both(monkeypatch)["passed"]
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
