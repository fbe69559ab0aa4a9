"""How many stages run side by side and what each of them gets."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from cadnet.config import ConfigError
from pipelines.flows import resources
from pipelines.flows.resources import (
    Places,
    available_memory,
    cpu_places,
    gpu_places,
    machine_places,
    usable_cores,
)

GIB = 1 << 30


@pytest.mark.parametrize(
    ("cores", "memory", "count", "threads"),
    [
        (1, None, 1, 1),
        (2, None, 2, 1),
        (2, 6 * GIB, 2, 1),
        (2, 6 * GIB - 1, 1, 2),
        (2, 0, 1, 2),
        (3, 64 * GIB, 3, 1),
        (16, 64 * GIB, 4, 4),
        (10, 64 * GIB, 4, 2),
        (16, 10 * GIB, 3, 5),
    ],
)
def test_trainings_on_a_cpu_share_cores_and_memory(
    cores: int, memory: int | None, count: int, threads: int
) -> None:
    assert cpu_places(cores, memory, None) == [{"OMP_NUM_THREADS": str(threads)}] * count


@pytest.mark.parametrize(
    ("threads", "count"),
    [("1", 4), ("2", 4), ("4", 2), ("8", 1), ("99", 1), ("3,2", 2), ("many", 4), ("0", 4)],
)
def test_threads_that_the_user_has_chosen_stay(threads: str, count: int) -> None:
    assert cpu_places(8, None, threads) == [{}] * count


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
    assert gpu_places(gpus, devices, visible) == wanted  # type: ignore[arg-type]


def test_memory_is_read_where_the_system_tells(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  9 kB\nMemAvailable:    2048 kB\nBuffers: 1 kB\n")
    assert available_memory(meminfo) == 2 << 20
    for text in ("MemTotal: 9 kB\n", "MemAvailable:\n", "MemAvailable: x kB\n"):
        meminfo.write_text(text)
        assert available_memory(meminfo) is None
    assert available_memory(tmp_path / "none") is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process choose its cores")
def test_only_cores_this_process_may_use_count() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert usable_cores() == len(allowed)


def test_the_places_of_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "usable_cores", lambda: 2)
    monkeypatch.setattr(resources, "available_memory", lambda: None)
    monkeypatch.setattr(resources.torch.cuda, "device_count", lambda: 0)
    assert machine_places(tmp_path, {}).take("train@a") == {"OMP_NUM_THREADS": "1"}
    assert machine_places(tmp_path, {"OMP_NUM_THREADS": "2"}).count == 1
    monkeypatch.setattr(resources.torch.cuda, "device_count", lambda: 1)
    assert machine_places(tmp_path, {}).take("train@a") == {}
    monkeypatch.setattr(resources.torch.cuda, "device_count", lambda: 3)
    (tmp_path / "params.yaml").write_text("train: fast\n")
    with pytest.raises(ConfigError):
        machine_places(tmp_path, {})


def test_several_gpus_are_shared_out_as_the_parameters_say(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources.torch.cuda, "device_count", lambda: 3)
    places = machine_places(project, {})
    assert places.count == 3
    assert places.take("train@a") == {"CUDA_VISIBLE_DEVICES": "0"}


def test_trainings_and_evaluations_take_places() -> None:
    places = Places([{"N": "0"}, {"N": "1"}], on_gpu=False)
    assert places.take("train@a") == {"N": "0"}
    assert places.take("evaluate-cross@a-b") == {"N": "1"}
    assert places.take("train-ablation@c") is None
    assert places.take("report") == {}
    places.give_back("train@a")
    assert places.take("train-ablation@c") == {"N": "0"}


@pytest.mark.parametrize(
    "stage", ["pretrain@m-0", "finetune@m-0.05-0", "evaluate-pretrained@m-0", "evaluate-finetuned@m-0.05-0"]
)
def test_learning_from_few_labels_takes_places_too(stage: str) -> None:
    places = Places([{"N": "0"}], on_gpu=False)
    assert places.take("prepare@a") == {}
    assert places.take(stage) is None
    places.give_back("prepare@a")
    assert places.take(stage) == {"N": "0"}
    assert places.take("train@a") is None


@pytest.mark.parametrize("on_gpu", [False, True])
def test_preparing_is_alone_where_trainings_need_the_cores(on_gpu: bool) -> None:
    places = Places([{}], on_gpu=on_gpu)
    assert places.take("prepare@a") == {}
    assert places.take("prepare@b") is None
    assert places.take("validate@c") == {}
    assert (places.take("train@c") is not None) == on_gpu
    places.give_back("prepare@a")
    if not on_gpu:
        assert places.take("train@c") == {}
    assert (places.take("prepare@b") is not None) == on_gpu


def test_all_stages_together_have_a_limit() -> None:
    places = Places([{}], on_gpu=False)
    assert [places.take(f"validate@{name}") for name in "abcde"] == [{}, {}, {}, {}, None]
    places = Places([{} for _ in range(6)], on_gpu=True)
    assert [places.take(f"train@{name}") for name in "abcdefg"] == [*[{}] * 6, None]
