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

from cadnet.tracking.processes import ProcessMark
from pipelines.flows.commands import StageError
from pipelines.flows.plan import only_flow, read_runs, write_runs
from pipelines.flows.scheduling import Slots
from tests.integration.flow_fake import Stages
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
SLOTTED = [stage for stage in NEEDS if stage.startswith(("train", "evaluate"))]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One server of Prefect for all flows here."""
    patch = pytest.MonkeyPatch()
    patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
    patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    patch.setenv("DO_NOT_TRACK", "true")
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield
    patch.undo()


@pytest.fixture
def run_with(
    server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Stages, list[dict[str, str]]], None]:
    """Run the flow with stand-ins on a machine with the given slots."""
    from pipelines.flows import deployed

    def run(stages: Stages, free: list[dict[str, str]]) -> None:
        monkeypatch.setattr(deployed, "run_command", stages)
        monkeypatch.setattr(deployed, "machine_slots", lambda root, environ: Slots(free, on_gpu=False))
        deployed.run_as_flow("grid", tmp_path, NEEDS, print, "cross")

    return run


def test_with_one_slot_trainings_and_evaluations_take_turns_and_nothing_starts_before_what_it_needs(
    run_with: Callable[..., None], tmp_path: Path
) -> None:
    stages = Stages()
    with only_flow(tmp_path, "grid"):
        run_with(stages, [{}])
    assert sorted(stages.order) == sorted(NEEDS)
    for stage, needs in NEEDS.items():
        assert all(stages.times[before][1] <= stages.times[stage][0] for before in needs), stage
    assert stages.most_at_once(SLOTTED) == 1


def test_with_two_slots_a_failed_trial_does_not_stop_its_siblings_and_a_dead_run_is_crashed(
    run_with: Callable[..., None], tmp_path: Path
) -> None:
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter
    from prefect.states import Completed, Running

    ended = subprocess.Popen([sys.executable, "-c", ""])
    dead = ProcessMark.of(ended.pid)
    ended.wait()
    free = [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    stages = Stages(
        {"train@a-x-0": "lost the disk", "evaluate@a-y-0": "exited:\nerror: a wrong mask; mend it"}
    )
    with get_client(sync_client=True) as client, only_flow(tmp_path, "grid"):
        states = {"killed": Running(), "done": Completed(), "ending": Running()}
        made = flow(print, name="made")
        ids = {name: str(client.create_flow_run(made, state=state).id) for name, state in states.items()}
        # The last has released the lock and is about to report its end.
        living = ProcessMark.current()
        write_runs(tmp_path, {ids["killed"]: dead, ids["done"]: dead, ids["ending"]: living})
        with pytest.raises(StageError) as caught:
            run_with(stages, free)
        after = {name: client.read_flow_run(one).state for name, one in ids.items()}  # type: ignore[arg-type]
        (own,) = read_runs(tmp_path).keys() - set(ids.values())
        name = client.read_flow_run(own).name  # type: ignore[arg-type]
        key = ArtifactFilter.model_validate({"flow_run_id": {"any_": [own]}})
        pages = [one.data for one in client.read_artifacts(artifact_filter=key)]
    assert str(caught.value).splitlines() == [
        "stages failed:",
        "train@a-x-0: lost the disk",
        "  not run because of it: evaluate@a-x-0, report",
        "evaluate@a-y-0: error: a wrong mask; mend it",
        "  not run because of it: report",
    ]
    # What may have been bad luck is tried again; what the user must fix is not.
    assert stages.order.count("train@a-x-0") == 2
    assert stages.order.count("evaluate@a-y-0") == 1
    assert stages.order.count("evaluate-ablation@a-z-0") == 1
    assert {"evaluate@a-x-0", "report"}.isdisjoint(stages.order)
    trainings = [stage for stage in SLOTTED if stage.startswith("train")]
    assert stages.most_at_once(trainings) == 2
    assert all(stages.variables[stage] in free for stage in trainings)
    assert stages.variables["train@a-x-0"] != stages.variables["train@a-y-0"]
    assert stages.variables["prepare@a"] == {}
    assert {key: state.type.value for key, state in after.items() if state} == {
        "killed": "CRASHED",
        "done": "COMPLETED",
        "ending": "RUNNING",
    }
    assert name == "grid cross"
    assert any("## Decisions of the gate" in str(page) for page in pages)


def test_a_server_that_answers_is_used_and_otherwise_one_of_the_flows_own(server: None) -> None:
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE, temporary_settings

    from pipelines.flows.deployed import _reachable_server

    lines: list[str] = []
    living = PREFECT_API_URL.value()
    with _reachable_server(lines.append):
        assert (PREFECT_API_URL.value(), lines) == (living, [])
    for address in ("http://user:S3CRET@127.0.0.1:9/api", "http://127.0.0.1:port/api", "nonsense", None):
        off = {PREFECT_API_URL: address, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: False}
        lines.clear()
        with temporary_settings(off), _reachable_server(lines.append):
            assert PREFECT_API_URL.value() is None
            assert PREFECT_SERVER_ALLOW_EPHEMERAL_MODE.value()
        assert len(lines) == (1 if address else 0)
        assert "S3CRET" not in "".join(lines)


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
    from pipelines.flows.command_line import main

    (shell_project / "broken-x").touch()
    with pytest.raises(SystemExit) as caught:
        main("experiment")
    assert caught.value.code == 1
    printed = capfd.readouterr()
    assert printed.out == "9 of 9 stages have changed or need one that has\n"
    assert printed.err.endswith(
        "error: stages failed:\n"
        "train@x: error: mend it\n"
        "  not run because of it: evaluate-ablation@x, gate@screen, report\n"
    )
    others = [f"{kind}@{name}" for kind in ("evaluate-ablation", "train") for name in "yz"]
    assert ran(shell_project) == sorted(["prepare@a", "train@x", *others])

    # As with ``dvc repro``, changed raw data are recorded; here they change nothing but what reads them.
    (shell_project / "broken-x").unlink()
    with (shell_project / "raw").open("a") as file:
        file.write("more\n")
    main("experiment")
    printed = capfd.readouterr()
    assert "Verifying data sources in stage: 'raw.dvc'" in printed.out
    assert printed.out.endswith("9 of 9 stages have changed or need one that has\n9 stages are up to date\n")
    again = ["evaluate-ablation@x", "gate@screen", "prepare@a", "report", "train@x"]
    assert ran(shell_project) == again
    assert json.loads(subprocess.check_output(["dvc", "status", "--json"])) == {}

    # In a process of its own, without Prefect's server; it would say so if it started one.
    command = (sys.executable, "-m", "pipelines.flows.experiment")
    unchanged = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (unchanged.stdout, unchanged.stderr) == ("9 stages are up to date\n", "")
    assert ran(shell_project) == []


def test_one_of_two_retrainings_is_refused_and_sigterm_ends_the_other_with_its_stages_at_once(
    server: None, shell_project: Path
) -> None:
    from prefect.settings import PREFECT_API_URL

    command = (sys.executable, "-m", "pipelines.flows.retrain")
    environment = os.environ | {
        "PREFECT_API_URL": PREFECT_API_URL.value(),
        "CADNET_WEBHOOK": "file:///secret",
    }

    def start() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)

    (shell_project / "hold").touch()
    process = start()
    limit = time.monotonic() + 200
    while not (shell_project / "held").exists() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.1)
    other = start()
    refused = other.communicate(timeout=100)[0]
    assert other.returncode == 1
    assert f"another flow runs in {shell_project} (retrain, process {process.pid}, since 2" in refused
    process.terminate()
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 143
    assert output.endswith("\nstopped; the same command goes on from here\n")
    assert "Traceback" not in output
    (shell_project / "held").unlink()
    time.sleep(0.3)
    assert not (shell_project / "held").exists(), "the stage runs on"

    ran(shell_project)
    (shell_project / "hold").unlink()
    process = start()
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    every = [f"{kind}@{name}" for kind in ("evaluate-ablation", "train") for name in "xyz"]
    assert ran(shell_project) == sorted(["gate@screen", "report", *every])
    assert "\npromoted: screen: version " in output
    assert "so nothing was sent" in output
    assert "secret" not in output
    process = start()
    assert process.communicate(timeout=100)[0] == "unchanged: nothing has changed\n"
    assert ran(shell_project) == []
