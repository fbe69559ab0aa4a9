"""When and how often the flow runs which stage; the stages themselves are stand-ins or shell commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.flows.commands import StageError
from pipelines.flows.resources import Places
from tests.integration.project import FLOW, ROOT

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

SHELL_STAGES = """\
stages:
  prepare:
    matrix: {d: [a]}
    cmd: echo prepare@a >> ran; mkdir -p data; head -n 1 raw > data/a
    deps: [raw]
    outs: [data/a]
  train:
    matrix: {m: [x, y, z]}
    cmd: >-
      echo train@${item.m} >> ran; mkdir -p models;
      if test -e broken-${item.m}; then echo "error: mend it"; exit 1; fi;
      cat data/a ${item.m} > models/${item.m}
    deps: [data/a, "${item.m}"]
    outs: ["models/${item.m}"]
  evaluate-ablation:
    matrix: {m: [x, y, z]}
    cmd: echo evaluate-ablation@${item.m} >> ran; mkdir -p scores; wc models/${item.m} > scores/${item.m}
    deps: ["models/${item.m}"]
    outs: ["scores/${item.m}"]
  report:
    cmd: echo report >> ran; cat scores/* > page
    deps: [scores]
    outs: [page]
"""
"""Each stage adds its name to the file ``ran``."""


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
def flow(server: None) -> Callable[[], list[str]]:
    from pipelines.flows.flow import experiment

    return lambda: experiment(".", NEEDS)


class Stages:
    """Stands in for ``run_command``: notes when and with what each stage ran; those in ``errors`` fail."""

    def __init__(self, errors: Mapping[str, str] | None = None) -> None:
        self.errors = dict(errors or {})
        self.times: dict[str, tuple[float, float]] = {}
        self.variables: dict[str, Mapping[str, str]] = {}
        self.order: list[str] = []
        self._lock = threading.Lock()

    def __call__(
        self, command: list[str], root: Path, timeout: float, on_line: object, extra: Mapping[str, str]
    ) -> None:
        assert command[:4] == ["dvc", "--wait-for-lock", "repro", "-s"]
        stage = command[4]
        with self._lock:
            self.order.append(stage)
        started = time.monotonic()
        time.sleep(0.3)
        self.times[stage] = (started, time.monotonic())
        self.variables[stage] = extra
        if stage in self.errors:
            raise StageError(self.errors[stage])

    def most_at_once(self, stages: list[str]) -> int:
        """How many of ``stages`` ran side by side."""
        events = sorted(
            (moment, change)
            for stage in stages
            for moment, change in zip(self.times[stage], (1, -1), strict=True)
        )
        level, most = 0, 0
        for _, change in events:
            level += change
            most = max(most, level)
        return most


@pytest.fixture
def run_with(
    flow: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Stages, list[dict[str, str]]], list[str]]:
    """Run the flow with stand-ins on a machine with the given places."""
    from pipelines.flows import flow as module

    def run(stages: Stages, free: list[dict[str, str]]) -> list[str]:
        monkeypatch.setattr(module, "run_command", stages)
        monkeypatch.setattr(module, "_shares_server", lambda: False)
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


def test_flows_that_share_a_server_share_its_limit(
    flow: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.orchestration import get_client

    from pipelines.flows import flow as module

    held: list[str] = []

    @contextmanager
    def concurrency(name: str, occupy: int) -> Iterator[None]:
        held.extend([name] * occupy)
        yield

    # Not the real one: on the server of tests, slots that a locked database loses never come back.
    monkeypatch.setattr(module, "concurrency", concurrency)
    monkeypatch.setattr(module, "machine_places", lambda root, environ: Places([{}, {}], on_gpu=False))
    monkeypatch.setattr(module, "run_command", Stages())
    flow()
    assert held == [module.TRAINING_LIMIT] * len(PLACED)
    with get_client(sync_client=True) as client:
        assert client.read_global_concurrency_limit_by_name(module.TRAINING_LIMIT).limit == 2


def test_a_failed_cell_does_not_stop_its_siblings(
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
    (tmp_path / "dvc.yaml").write_text(SHELL_STAGES)
    for name in ("raw", "x", "y", "z"):
        (tmp_path / name).write_text(f"{name}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / ".dvc/tmp/site"))
    monkeypatch.setattr(sys, "argv", ["experiment"])
    subprocess.run(["dvc", "init", "--no-scm", "--quiet"], check=True)
    subprocess.run(["dvc", "add", "--quiet", "raw"], check=True)
    return tmp_path


def ran(project: Path) -> list[str]:
    """The stages whose commands have run since this was last asked."""
    path = project / "ran"
    names = sorted(path.read_text().split()) if path.exists() else []
    path.unlink(missing_ok=True)
    return names


def test_after_a_failure_only_what_failed_and_what_needs_it_runs(
    server: None, shell_project: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.flows import flow as module
    from pipelines.flows.experiment import main

    monkeypatch.setattr(module, "_shares_server", lambda: False)
    (shell_project / "broken-x").touch()
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    told = capfd.readouterr()
    assert told.out == "8 of 8 stages have changed or need one that has\n"
    assert told.err.endswith(
        "error: stages failed:\n"
        "train@x: error: mend it\n"
        "  not run because of it: evaluate-ablation@x, report\n"
    )
    others = [f"{kind}@{name}" for kind in ("evaluate-ablation", "train") for name in "yz"]
    assert ran(shell_project) == sorted(["prepare@a", "train@x", *others])

    (shell_project / "broken-x").unlink()
    main()
    told = capfd.readouterr().out
    assert told == "3 of 8 stages have changed or need one that has\n8 stages are up to date\n"
    assert ran(shell_project) == ["evaluate-ablation@x", "report", "train@x"]

    # In a process of its own, without Prefect's server; it would say so if it started one.
    again = subprocess.run(FLOW, capture_output=True, text=True, check=True)
    assert (again.stdout, again.stderr) == ("8 stages are up to date\n", "")
    assert ran(shell_project) == []

    # As with ``dvc repro``, changed raw data are noted; here they change nothing but what reads them.
    with (shell_project / "raw").open("a") as file:
        file.write("more\n")
    main()
    assert capfd.readouterr().out.startswith("Verifying data sources in stage: 'raw.dvc'\n8 of 8 stages ")
    assert ran(shell_project) == ["prepare@a"]
    assert json.loads(subprocess.check_output(["dvc", "status", "--json"])) == {}
