"""What runs next, how many stages run side by side and what each of them gets."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cadnet.config import ConfigError
from pipelines.flows import scheduling
from pipelines.flows.scheduling import (
    Schedule,
    Slots,
    cpu_slots,
    duration,
    gpu_slots,
    machine_slots,
    usable_cores,
)

GIB = 1 << 30


@pytest.mark.parametrize(
    ("cores", "memory", "count", "threads"),
    [
        (1, 64 * GIB, 1, 1),
        (2, 64 * GIB, 2, 1),
        (2, 6 * GIB, 2, 1),
        (2, 6 * GIB - 1, 1, 2),
        (2, 0, 1, 2),
        (3, 64 * GIB, 3, 1),
        (16, 64 * GIB, 4, 4),
        (10, 64 * GIB, 4, 2),
        (16, 10 * GIB, 3, 5),
    ],
)
def test_trainings_on_a_cpu_share_cores_and_memory(cores: int, memory: int, count: int, threads: int) -> None:
    assert cpu_slots(cores, memory, None) == [{"OMP_NUM_THREADS": str(threads)}] * count


@pytest.mark.parametrize(
    ("threads", "count"),
    [("1", 4), ("2", 4), ("4", 2), ("8", 1), ("99", 1), ("3,2", 2), ("many", 4), ("0", 4)],
)
def test_threads_that_the_user_has_chosen_stay(threads: str, count: int) -> None:
    assert cpu_slots(8, 64 * GIB, threads) == [{}] * count


@pytest.mark.parametrize(
    ("gpus", "devices", "visible", "expected"),
    [
        (1, "auto", None, [None]),
        (1, 2, None, [None]),
        (2, "auto", None, ["0", "1"]),
        (2, 2, None, [None]),
        (5, 2, None, ["0,1", "2,3"]),
        (2, "auto", "3,GPU-8a", ["3", "GPU-8a"]),
    ],
)
def test_trainings_side_by_side_have_gpus_of_their_own(
    gpus: int, devices: int | str, visible: str | None, expected: list[str | None]
) -> None:
    wanted = [{} if names is None else {"CUDA_VISIBLE_DEVICES": names} for names in expected]
    assert gpu_slots(gpus, devices, visible) == wanted  # type: ignore[arg-type]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process choose its cores")
def test_only_cores_this_process_may_use_count() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert usable_cores() == len(allowed)


def test_the_slots_of_a_machine(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "usable_cores", lambda: 2)
    memory = SimpleNamespace(available=64 * GIB)
    monkeypatch.setattr(scheduling.psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(scheduling.torch.cuda, "device_count", lambda: 0)
    assert machine_slots(tmp_path, {}).take("train@a") == {"OMP_NUM_THREADS": "1"}
    assert machine_slots(tmp_path, {"OMP_NUM_THREADS": "2"}).count == 1
    memory.available = 5 * GIB
    assert machine_slots(tmp_path, {}).take("train@a") == {"OMP_NUM_THREADS": "2"}
    monkeypatch.setattr(scheduling.torch.cuda, "device_count", lambda: 1)
    assert machine_slots(tmp_path, {}).take("train@a") == {}
    # Several are shared out as the parameters say.
    monkeypatch.setattr(scheduling.torch.cuda, "device_count", lambda: 3)
    slots = machine_slots(project, {})
    assert slots.count == 3
    assert slots.take("train@a") == {"CUDA_VISIBLE_DEVICES": "0"}
    (tmp_path / "params.yaml").write_text("train: fast\n")
    with pytest.raises(ConfigError):
        machine_slots(tmp_path, {})


def test_trainings_and_evaluations_take_slots() -> None:
    slots = Slots([{"N": "0"}, {"N": "1"}], on_gpu=False)
    assert slots.take("train@a") == {"N": "0"}
    assert slots.take("evaluate-cross@a-b") == {"N": "1"}
    assert slots.take("train-ablation@c") is None
    assert slots.take("finetune@m-0.05-0") is None
    assert slots.take("report") == {}
    slots.give_back("train@a")
    assert slots.take("pretrain@m-0") == {"N": "0"}


@pytest.mark.parametrize("on_gpu", [False, True])
def test_preparing_is_alone_where_trainings_need_the_cores(on_gpu: bool) -> None:
    slots = Slots([{}], on_gpu=on_gpu)
    assert slots.take("prepare@a") == {}
    assert slots.take("prepare@b") is None
    assert slots.take("validate@c") == {}
    assert (slots.take("train@c") is not None) == on_gpu
    slots.give_back("prepare@a")
    if not on_gpu:
        assert slots.take("train@c") == {}
    assert (slots.take("prepare@b") is not None) == on_gpu


def test_all_stages_together_have_a_limit() -> None:
    slots = Slots([{}], on_gpu=False)
    assert [slots.take(f"validate@{name}") for name in "abcde"] == [{}, {}, {}, {}, None]
    slots = Slots([{} for _ in range(6)], on_gpu=True)
    assert [slots.take(f"train@{name}") for name in "abcdefg"] == [*[{}] * 6, None]


NEEDS = {
    "prepare@a": [],
    "train@x": ["prepare@a"],
    "train@y": ["prepare@a"],
    "evaluate@x": ["train@x", "prepare@a"],
    "evaluate@y": ["train@y"],
    "report": ["evaluate@x", "evaluate@y"],
}


def run(schedule: Schedule, stage: str, reason: str | None = None) -> None:
    assert stage in schedule.ready()
    schedule.begin(stage)
    assert stage not in schedule.ready()
    assert not schedule.is_idle
    schedule.end(stage, reason)


def test_a_stage_is_ready_once_what_it_needs_is_done_and_evaluated_before_the_next_training() -> None:
    schedule = Schedule(NEEDS)
    run(schedule, "prepare@a")
    assert schedule.ready() == ["train@x", "train@y"]
    run(schedule, "train@x")
    assert schedule.ready() == ["evaluate@x", "train@y"]
    for stage in ("train@y", "evaluate@y", "evaluate@x", "report"):
        run(schedule, stage)
    assert schedule.is_idle
    assert schedule.ready() == []
    assert schedule.done == set(NEEDS)
    assert schedule.failures() == ""


def test_a_failed_stage_holds_up_what_needs_it_and_nothing_else() -> None:
    schedule = Schedule(NEEDS)
    run(schedule, "prepare@a")
    assert schedule.progress("prepare@a", 61.2) == "prepare@a finished: 1 of 6 stages done after 1 min 1 s"
    run(schedule, "train@y", "no memory")
    run(schedule, "train@x", "no disk")
    assert schedule.progress("train@x", 62) == "train@x failed: 1 of 6 stages done, 2 failed, after 1 min 2 s"
    assert schedule.ready() == []
    assert schedule.failures() == (
        "train@x: no disk\n  not run because of it: evaluate@x, report\n"
        "train@y: no memory\n  not run because of it: evaluate@y, report"
    )
    alone = Schedule({"report": []})
    run(alone, "report", "no template")
    assert alone.failures() == "report: no template"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(59.4, "59 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (3600, "1 h 0 min"), (90061, "25 h 1 min")],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
