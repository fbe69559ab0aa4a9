"""Scheduled retraining as it runs at night: a real server, its schedule, a worker, and what a kill leaves."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from pipelines.flows.serve import AUTOMATION
from tests.integration.served_project import EPOCHS, Served
from tests.integration.shell_project import ran, shell_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("served")]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("retrain") / "project"
    root.mkdir()
    project = Served(root)
    for epoch in (3, 5):
        (root / f"hold-{epoch}").touch()
    project.serve()
    yield project
    project.end()


@pytest.fixture(scope="module")
def killed(served: Served) -> dict[str, Any]:
    """A run of the schedule that was killed in the training, together with the server and the worker."""
    began = served.next_of_schedule()
    served.until(lambda: served.exists("held-3"), 200)
    run = served.run_of(began)
    served.kill_all()
    assert served.process is not None
    assert served.process.wait(60) == 1
    assert "error: the " in served.printed()
    return run


@pytest.fixture(scope="module")
def completed(served: Served, killed: dict[str, Any]) -> dict[str, Any]:
    """The next run, which a new worker has executed."""
    served.schedule("* * * * *", "0 2 * * *")
    (served.root / "hold-3").unlink()
    served.serve()
    assert served.run_of(killed["id"])["state"]["type"] == "RUNNING", "a killed process reports nothing"
    run = served.begin()
    served.until(lambda: served.exists("held-5"), 150)
    second = served.ended(served.begin())
    assert (second["state"]["type"], second["state"]["name"]) == ("CANCELLED", "Refused")
    assert f"another flow runs in {served.root} (retrain, process " in second["state"]["message"]
    (served.root / "hold-5").unlink()
    return served.ended(run)


def test_a_run_of_the_schedule_is_executed_and_named_by_its_time(killed: dict[str, Any]) -> None:
    assert killed["created_by"]["type"] == "SCHEDULE"
    due = killed["expected_start_time"]
    assert killed["name"] == f"retrain {due[:10]} {due[11:16]}"


def test_the_next_run_goes_on_where_the_run_before_it_was_killed(
    served: Served, killed: dict[str, Any], completed: dict[str, Any]
) -> None:
    assert (completed["state"]["type"], completed["state"]["name"]) == ("COMPLETED", "Promoted")
    assert completed["state"]["message"].startswith("screen: version ")
    assert completed["state"]["message"].endswith(" is the new champion\n4 stages have run")
    dead = served.run_of(killed["id"])["state"]
    assert (dead["type"], dead["message"]) == ("CRASHED", "its process has ended")
    for epoch in range(1, EPOCHS + 1):
        assert served.printed().count(f" epoch {epoch}\n") == 1, epoch
    assert ran(served.root).count("train@x") == 2
    environment = shell_environment(served.root)
    status = subprocess.check_output(["dvc", "status", "--json"], cwd=served.root, env=environment)
    assert json.loads(status) == {}
    assert "promoted: screen: version " in served.printed()
    assert "Traceback" not in served.printed()


def test_a_run_without_changes_runs_nothing(served: Served, completed: dict[str, Any]) -> None:
    lock = (served.root / "dvc.lock").read_bytes()
    run = served.ended(served.begin())
    assert (run["state"]["name"], run["state"]["message"]) == ("Unchanged", "nothing has changed")
    assert (served.root / "dvc.lock").read_bytes() == lock


def test_a_run_that_shows_no_sign_of_life_is_crashed(served: Served, completed: dict[str, Any]) -> None:
    # Made once, though the flows were served twice.
    (automation,) = served.ask("automations/filter", automations={"name": {"any_": [AUTOMATION["name"]]}})
    impatient = AUTOMATION | {"trigger": AUTOMATION["trigger"] | {"within": 10}}
    served.ask(f"automations/{automation['id']}", "PUT", **impatient)
    # As one that a worker has taken and not begun, because it was killed.
    run = served.ended(served.begin("PENDING"), 90)
    assert (run["state"]["type"], run["state"]["message"]) == (
        "CRASHED",
        AUTOMATION["actions"][0]["message"],
    )
