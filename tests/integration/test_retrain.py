"""Scheduled retraining as it runs at night: a real server, its schedule, a worker, and what a kill leaves."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Finished
from tests.integration.project import copy_of
from tests.integration.served_project import Served

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.xdist_group("project")]

EPOCHS = 30
"""So many that the network becomes better than the champion's four."""


@pytest.fixture(scope="module")
def served(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A finished project with a champion and something to train, which is scheduled every minute."""
    project = Served(copy_of(finished.project, tmp_path_factory.mktemp("retrain") / "project").root)
    assert project.champion() == 1
    project.set_param("run.methods", ["cadnet"])
    project.set_param("train.epochs", EPOCHS)
    deployments = project.root / "prefect.yaml"
    text = deployments.read_text("utf-8")
    assert text.count("0 2 * * *") == 1
    deployments.write_text(text.replace("0 2 * * *", "* * * * *"), "utf-8")
    project.serve()
    yield project
    project.end()


@pytest.fixture(scope="module")
def killed(served: Served) -> str:
    """A run of the schedule that was killed in the training, together with the worker; its id."""
    known = states(served.root)
    run = served.next_of_schedule(set())
    served.until(lambda: states(served.root) - known, 150)
    served.kill_all()
    return run


def states(root: Path) -> set[Path]:
    """The training states, each of which is there from the first epoch on."""
    return set((root / "checkpoints").rglob("state.safetensors"))


@pytest.fixture(scope="module")
def completed(served: Served, killed: str) -> dict[str, Any]:
    """The next run of the schedule, which a new worker has executed."""
    assert served.process is not None
    assert served.process.wait(60) == 1
    assert "error: the " in served.told()
    assert f"epoch {EPOCHS}/{EPOCHS}" not in served.told()
    before = holder(served.root)
    served.serve()
    assert served.run_of(killed)["state"]["type"] == "RUNNING", "a killed process cannot say so itself"
    run = served.next_of_schedule({killed})
    served.until(lambda: holder(served.root) not in (None, before), 60)
    second = served.ended(served.begin())
    assert second["state"]["type"] == "CANCELLED"
    assert f"another flow runs in {served.root} (retrain, process " in second["state"]["message"]
    return served.ended(run, 900)


def holder(root: Path) -> dict[str, Any] | None:
    """Who holds the flow lock, if it has said so."""
    path = root / ".prefect/experiment.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def test_a_run_of_the_schedule_changes_the_registry(served: Served, completed: dict[str, Any]) -> None:
    assert completed["state"]["type"] == "COMPLETED", served.told()[-5000:]
    told = "screen: version 2 of cadnet-screen is the new champion, after version 1\n5 stages have run"
    assert completed["state"]["message"] == told
    assert served.champion() == 2
    decision = json.loads((served.root / "reports/gate/screen/decision.json").read_text("utf-8"))
    assert (decision["version"], decision["champion"], decision["passed"]) == (2, 1, True)
    assert "Traceback" not in served.told()


def test_it_went_on_where_the_run_before_it_was_killed(
    served: Served, killed: str, completed: dict[str, Any]
) -> None:
    dead = served.run_of(killed)["state"]
    assert (dead["type"], dead["message"]) == ("CRASHED", "its process has ended")
    assert served.told().count(f"epoch 1/{EPOCHS} ") == served.told().count(f"epoch {EPOCHS}/{EPOCHS} ") == 1
    training, before = served.trial_runs("cadnet")
    assert (training.status, before.status) == ("FINISHED", "FINISHED")
    history = served.tracker().client.get_metric_history(training.run_id, "loss")
    assert [point.step for point in history] == list(range(1, EPOCHS + 1))
    assert served.run("dvc", "status").strip() == "Data and pipelines are up to date."


def test_a_run_without_changes_ends_within_a_minute_and_trains_nothing(
    served: Served, completed: dict[str, Any]
) -> None:
    lock = (served.root / "dvc.lock").read_bytes()
    started = time.monotonic()
    run = served.ended(served.begin(), 60)
    assert time.monotonic() - started < 60
    assert (run["state"]["type"], run["state"]["message"]) == ("COMPLETED", "nothing has changed")
    assert (served.root / "dvc.lock").read_bytes() == lock
    assert len(served.trial_runs("cadnet")) == 2
