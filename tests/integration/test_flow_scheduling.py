"""When and how often the flow runs which stage; the stages themselves are stand-ins."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from pipelines.flows.dag import StageError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NEEDS = {
    "prepare@a": set(),
    "train@a-x-0": {"prepare@a"},
    "train@a-y-0": {"prepare@a"},
    "train@a-z-0": {"prepare@a"},
    "evaluate@a-x-0": {"train@a-x-0"},
    "evaluate@a-y-0": {"train@a-y-0"},
    "evaluate@a-z-0": {"train@a-z-0"},
    "report": {"evaluate@a-x-0", "evaluate@a-y-0", "evaluate@a-z-0"},
}


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], list[str]]]:
    patch = pytest.MonkeyPatch()
    patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
    patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    patch.setenv("DO_NOT_TRACK", "true")
    from prefect.testing.utilities import prefect_test_harness

    from pipelines.flows import experiment

    patch.setattr(experiment, "stage_dependencies", lambda root: NEEDS)
    with prefect_test_harness(server_startup_timeout=120):
        yield experiment.experiment
    patch.undo()


class Stages:
    """Stands in for ``run_command``: notes when each stage ran; those in ``errors`` fail."""

    def __init__(self, errors: Mapping[str, str] | None = None) -> None:
        self.errors = dict(errors or {})
        self.times: dict[str, tuple[float, float]] = {}
        self.order: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, command: list[str], root: Path, timeout: float, on_line: object) -> None:
        assert command[:3] == ["dvc", "repro", "-s"]
        stage = command[3]
        with self._lock:
            self.order.append(stage)
        started = time.monotonic()
        time.sleep(0.3)
        self.times[stage] = (started, time.monotonic())
        if stage in self.errors:
            raise StageError(self.errors[stage])


def test_trainings_take_turns_and_nothing_starts_before_what_it_needs(
    flow: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.flows import experiment

    stages = Stages()
    monkeypatch.setattr(experiment, "run_command", stages)
    monkeypatch.setattr(experiment.torch.cuda, "device_count", lambda: 0)
    assert flow() == list(NEEDS)
    assert sorted(stages.order) == sorted(NEEDS)
    for stage, needs in NEEDS.items():
        assert all(stages.times[before][1] <= stages.times[stage][0] for before in needs), stage
    trainings = sorted(stages.times[stage] for stage in NEEDS if stage.startswith("train"))
    assert all(one[1] <= two[0] for one, two in pairwise(trainings))


def test_two_gpus_train_two_at_a_time(flow: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.flows import experiment

    stages = Stages()
    monkeypatch.setattr(experiment, "run_command", stages)
    monkeypatch.setattr(experiment.torch.cuda, "device_count", lambda: 2)
    flow()
    events = sorted(
        (moment, change)
        for stage in NEEDS
        if stage.startswith("train")
        for moment, change in zip(stages.times[stage], (1, -1), strict=True)
    )
    level, most = 0, 0
    for _, change in events:
        level += change
        most = max(most, level)
    assert most == 2


def test_a_failed_cell_does_not_stop_its_siblings(
    flow: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.flows import experiment

    stages = Stages(
        {"train@a-x-0": "lost the disk", "evaluate@a-y-0": "exited:\nerror: a wrong mask; mend it"}
    )
    monkeypatch.setattr(experiment, "run_command", stages)
    with pytest.raises(StageError) as caught:
        flow()
    message = str(caught.value)
    assert "train@a-x-0: lost the disk" in message
    assert "evaluate@a-y-0: error: a wrong mask; mend it" in message
    assert message.endswith("not run, because they need them: evaluate@a-x-0, report")
    # What may have been bad luck is tried again; what the user must mend is not.
    assert stages.order.count("train@a-x-0") == 2
    assert stages.order.count("evaluate@a-y-0") == 1
    assert stages.order.count("evaluate@a-z-0") == 1
    assert {"evaluate@a-x-0", "report"}.isdisjoint(stages.order)
