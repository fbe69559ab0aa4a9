"""When and how often the flow runs which stage; the stages themselves are stand-ins or shell commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.flows.commands import StageError
from pipelines.flows.resources import Places
from tests.integration.flow_fake import Stages
from tests.integration.project import FLOW
from tests.integration.shell_project import make_shell_project, ran, shell_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("flow")]

NEEDS = {
    "prepare@a": [],
    "train@a-x-0": ["prepare@a"],
    "train@a-y-0": ["prepare@a"],
    "train-ablation@a-z-0": ["prepare@a"],
    "evaluate@a-x-0": ["train@a-x-0"],
    "evaluate@a-y-0": ["train@a-y-0"],
    "evaluate-ablation@a-z-0": ["train-ablation@a-z-0"],
    "report": ["evaluate@a-x-0", "evaluate@a-y-0", "evaluate-ablation@a-z-0"],
}
PLACED = [stage for stage in NEEDS if stage.startswith(("train", "evaluate"))]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One server of Prefect for all flows here."""
    patch = pytest.MonkeyPatch()
    patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
    patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    patch.setenv("DO_NOT_TRACK", "true")
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
    patch.undo()


@pytest.fixture
def flow(server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    from pipelines.flows.flow import run_stages

    monkeypatch.chdir(tmp_path)
    return lambda: run_stages(".", NEEDS)


@pytest.fixture
def run_with(
    flow: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Stages, list[dict[str, str]]], list[str]]:
    """Run the flow with stand-ins on a machine with the given places."""
    from pipelines.flows import flow as module

    def run(stages: Stages, free: list[dict[str, str]]) -> list[str]:
        monkeypatch.setattr(module, "run_command", stages)
        monkeypatch.setattr(module, "machine_places", lambda root, environ: Places(free, on_gpu=False))
        return flow()

    return run


def test_with_one_place_trainings_and_evaluations_take_turns_and_nothing_starts_before_what_it_needs(
    run_with: Callable[..., list[str]],
) -> None:
    stages = Stages()
    assert run_with(stages, [{}]) == list(NEEDS)
    assert sorted(stages.order) == sorted(NEEDS)
    for stage, needs in NEEDS.items():
        assert all(stages.times[before][1] <= stages.times[stage][0] for before in needs), stage
    assert stages.most_at_once(PLACED) == 1


def test_with_two_places_two_run_at_a_time_each_with_the_variables_of_its_place(
    run_with: Callable[..., list[str]],
) -> None:
    stages = Stages()
    places = [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    run_with(stages, places)
    assert stages.most_at_once(PLACED) == 2
    assert all(stages.variables[stage] in places for stage in PLACED)
    assert stages.variables["prepare@a"] == stages.variables["report"] == {}
    first, second, *_ = sorted(PLACED, key=lambda stage: stages.times[stage])
    assert stages.variables[first] != stages.variables[second]


def test_a_failed_trial_does_not_stop_its_siblings(
    run_with: Callable[..., list[str]],
) -> None:
    stages = Stages(
        {"train@a-x-0": "lost the disk", "evaluate@a-y-0": "exited:\nerror: a wrong mask; mend it"}
    )
    with pytest.raises(StageError) as caught:
        run_with(stages, [{}, {}])
    assert str(caught.value).splitlines() == [
        "stages failed:",
        "train@a-x-0: lost the disk",
        "  not run because of it: evaluate@a-x-0, report",
        "evaluate@a-y-0: error: a wrong mask; mend it",
        "  not run because of it: report",
    ]
    # What may have been bad luck is tried again; what the user must mend is not.
    assert stages.order.count("train@a-x-0") == 2
    assert stages.order.count("evaluate@a-y-0") == 1
    assert stages.order.count("evaluate-ablation@a-z-0") == 1
    assert {"evaluate@a-x-0", "report"}.isdisjoint(stages.order)


@pytest.fixture
def shell_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC project of shell commands, in which this process then is."""
    for name, value in shell_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["experiment"])
    return make_shell_project(tmp_path)


def test_after_a_failure_only_what_failed_and_what_needs_it_runs(
    server: None, shell_project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from pipelines.flows.experiment import main

    (shell_project / "broken-x").touch()
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    told = capfd.readouterr()
    assert told.out == "9 of 9 stages have changed or need one that has\n"
    assert told.err.endswith(
        "error: stages failed:\n"
        "train@x: error: mend it\n"
        "  not run because of it: evaluate-ablation@x, gate@screen, report\n"
    )
    others = [f"{kind}@{name}" for kind in ("evaluate-ablation", "train") for name in "yz"]
    assert ran(shell_project) == sorted(["prepare@a", "train@x", *others])

    (shell_project / "broken-x").unlink()
    main()
    told = capfd.readouterr().out
    assert told == "4 of 9 stages have changed or need one that has\n9 stages are up to date\n"
    assert ran(shell_project) == ["evaluate-ablation@x", "gate@screen", "report", "train@x"]

    # In a process of its own, without Prefect's server; it would say so if it started one.
    again = subprocess.run(FLOW, capture_output=True, text=True, check=True)
    assert (again.stdout, again.stderr) == ("9 stages are up to date\n", "")
    assert ran(shell_project) == []

    # As with ``dvc repro``, changed raw data are noted; here they change nothing but what reads them.
    with (shell_project / "raw").open("a") as file:
        file.write("more\n")
    main()
    assert capfd.readouterr().out.startswith("Verifying data sources in stage: 'raw.dvc'\n9 of 9 stages ")
    assert ran(shell_project) == ["prepare@a"]
    assert json.loads(subprocess.check_output(["dvc", "status", "--json"])) == {}


@pytest.fixture
def start_retraining(server: None, shell_project: Path) -> Callable[[], subprocess.Popen[str]]:
    """Start a retraining as a command beside the server."""
    from prefect.settings import PREFECT_API_URL

    command = (sys.executable, "-m", "pipelines.flows.retrain")
    environment = os.environ | {
        "PREFECT_API_URL": PREFECT_API_URL.value(),
        "CADNET_WEBHOOK": "file:///secret",
    }
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return lambda: subprocess.Popen(command, env=environment, **pipes)  # type: ignore[call-overload]


def test_a_retraining_that_is_started_twice_trains_once_and_one_without_changes_does_nothing(
    start_retraining: Callable[[], subprocess.Popen[str]], shell_project: Path
) -> None:
    both = [start_retraining(), start_retraining()]
    (refused, told), (done, output) = sorted(
        ((process, process.communicate(timeout=200)[0]) for process in both),
        key=lambda pair: -pair[0].returncode,
    )
    assert (refused.returncode, done.returncode) == (1, 0), told + output
    assert f"error: another flow runs in {shell_project} (retrain, process {done.pid}, since 2" in told
    every = [f"{kind}@{name}" for kind in ("evaluate-ablation", "train") for name in "xyz"]
    assert ran(shell_project) == sorted(["gate@screen", "prepare@a", "report", *every])
    assert "\npromoted: screen: version " in output
    assert "warning: CADNET_WEBHOOK is no http or https address with a host, so nothing was sent" in output
    assert "secret" not in output

    started = time.monotonic()
    again = start_retraining()
    assert again.communicate(timeout=60)[0] == "unchanged: nothing has changed\n"
    assert again.returncode == 0
    assert time.monotonic() - started < 60
    assert ran(shell_project) == []


def test_sigterm_ends_a_retraining_and_its_stages_at_once(
    start_retraining: Callable[[], subprocess.Popen[str]], shell_project: Path
) -> None:
    (shell_project / "hold").touch()
    process = start_retraining()
    limit = time.monotonic() + 120
    while not (shell_project / "held").exists() and time.monotonic() < limit:
        time.sleep(0.1)
    process.terminate()
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert output.endswith("error: stopped; the same command goes on from here\n")
    assert "Traceback" not in output
    assert list((shell_project / ".prefect/commands").iterdir()) == []
    (shell_project / "held").unlink()
    time.sleep(0.3)
    assert not (shell_project / "held").exists(), "the stage runs on"
