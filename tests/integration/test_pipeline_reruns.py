"""What runs again, and what does not."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo

from cadnet.files import file_digest
from cadnet.tracking.trials import TAG_FINGERPRINT
from tests.integration.conftest import Finished
from tests.integration.project import FLOW, STAGES, Project, ran

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("project")]

TRAIN = "train@synlcd-cadnet-0"
WEIGHTS = "models/synlcd/cadnet/s0/weights.safetensors"


def test_a_second_repro_does_nothing(finished: Finished) -> None:
    before = (finished.project.root / "dvc.lock").read_bytes()
    output = finished.project.run("dvc", "repro")
    assert ran(output) == set()
    assert {line.split("'")[1] for line in output.splitlines() if "didn't change" in line} == {
        "data.dvc",
        *STAGES,
    }
    assert (finished.project.root / "dvc.lock").read_bytes() == before
    assert finished.project.run("dvc", "status").strip() == "Data and pipelines are up to date."


TRAININGS = {"train@synlcd-cadnet-0", "train@synlcd-segformer-0"}
EVALUATIONS = {"evaluate@synlcd-cadnet-0", "evaluate@synlcd-segformer-0"}
PRODUCT = {"register@screen", "gate@screen"}
ACCEPTANCE = {"prepare@synlcd-acceptance", "validate@synlcd-acceptance"}
EDITS: list[tuple[str, Any, set[str], set[str]]] = [
    # key, value, stages that read it, stages that have to follow; the report shows all settings
    (
        "methods.segformer.recipe.lr",
        0.002,
        {"train@synlcd-segformer-0", "report"},
        {"train@synlcd-segformer-0", "evaluate@synlcd-segformer-0", *PRODUCT, "report"},
    ),
    (
        "evaluate.thresholds",
        50,
        {*EVALUATIONS, "register@screen", "report"},
        {*EVALUATIONS, *PRODUCT, "report"},
    ),
    ("train.epochs", 5, {*TRAININGS, "report"}, {*TRAININGS, *EVALUATIONS, *PRODUCT, "report"}),
    ("datasets.synlcd.seed", 1, {"prepare@synlcd", "report"}, STAGES - ACCEPTANCE),
    ("products.screen.min_pixels", 9, {*PRODUCT, "report"}, {*PRODUCT, "report"}),
    ("run.scale", "other", {"report"}, {"report"}),
]


def test_a_changed_param_makes_stale_only_what_depends_on_it(
    copied: Callable[[bool], Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = copied(False)
    needs = project.dependencies()
    original = (project.root / "params.yaml").read_bytes()
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", project.environment()["DVC_SITE_CACHE_DIR"])
    # DVC names stages relative to the working directory.
    monkeypatch.chdir(project.root)
    for key, value, stale, following in EDITS:
        project.set_param(key, value)
        with Repo(str(project.root)) as repo:
            status = repo.status()
        assert set(status) == stale, key
        assert all("params.yaml" in change["changed deps"] for (change,) in status.values()), key
        assert downstream(stale, needs) == following, key
        (project.root / "params.yaml").write_bytes(original)


def downstream(stages: set[str], needs: dict[str, set[str]]) -> set[str]:
    """``stages`` and all that depend on them; ``needs`` is in an order that can be run."""
    found = set(stages)
    for stage, before in needs.items():
        if before & found:
            found.add(stage)
    return found


def test_a_stopped_then_killed_training_goes_on_to_the_same_weights(
    copied: Callable[[bool], Project], preloaded: Path
) -> None:
    project = copied(True)
    wanted = file_digest(project.root / WEIGHTS)
    (first,) = project.trial_runs("cadnet")
    project.forget(TRAIN)

    # Ctrl-C of the flow in a terminal: the signal reaches Prefect's own server, but not the stage itself.
    # An epoch's line comes just before its state is kept, so the epoch before is certainly safe.
    status, output = project.stop_after("epoch 2/4", signal.SIGINT, *FLOW)
    assert status == 130
    assert "stopped; the same command goes on from here" in output
    assert "epoch 4/4" not in output
    # The finished run of before is left as it was; the new training has its own.
    run, old = project.trial_runs("cadnet")
    assert (old.run_id, old.status) == (first.run_id, "FINISHED")
    assert TAG_FINGERPRINT not in old.tags
    assert (run.status, run.tags["cadnet.stage.train"]) == ("KILLED", "KILLED")

    status, output = project.stop_after("epoch 3/4", signal.SIGKILL, "dvc", "repro")
    assert status == -signal.SIGKILL
    assert "epoch 1/4" not in output, "the first epoch ran twice"
    assert not (project.root / WEIGHTS).exists()
    assert project.trial_runs("cadnet")[0].status == "RUNNING", "a killed process cannot say so itself"

    project.python = preloaded
    output = project.run("dvc", "repro")
    assert "epoch 2/4" not in output, "the second epoch ran twice"
    assert "epoch 4/4" in output
    assert file_digest(project.root / WEIGHTS) == wanted
    # Evaluation is not repeated, because the weights are the same to the bit.
    assert ran(output) == {TRAIN, "report"}
    again = project.trial_runs("cadnet")
    assert [item.run_id for item in again] == [run.run_id, first.run_id]
    assert again[0].status == "FINISHED"
    history = project.tracker().client.get_metric_history(run.run_id, "loss")
    assert [point.step for point in history] == [1, 2, 3, 4]
    assert project.run("dvc", "status").strip() == "Data and pipelines are up to date."


def test_a_mistake_costs_nothing_once_it_is_fixed(copied: Callable[[bool], Project], preloaded: Path) -> None:
    project = copied(False)
    project.python = preloaded
    metrics = "reports/metrics/synlcd/cadnet/s0.json"
    wanted = file_digest(project.root / metrics)
    right, lock = ((project.root / name).read_bytes() for name in ("params.yaml", "dvc.lock"))
    project.set_param("evaluate.threshold", 5)
    status, output = project.fails("dvc", "repro")
    assert status != 0
    assert [line for line in output.splitlines() if line.startswith("error: ")] == [
        "error: params.yaml: evaluate.threshold: unknown key; check its spelling or remove it"
    ]
    (project.root / "params.yaml").write_bytes(right)
    # Before a stage runs DVC removes its outputs; it has them in its cache.
    assert not (project.root / metrics).exists()
    assert ran(project.run("dvc", "repro")) == set()
    assert file_digest(project.root / metrics) == wanted
    assert (project.root / "dvc.lock").read_bytes() == lock
