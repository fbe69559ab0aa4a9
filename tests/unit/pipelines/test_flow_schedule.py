"""What runs next, and what is said about it."""

import pytest

from pipelines.flows.schedule import Schedule, duration

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
    schedule.end(stage, reason)


def test_a_stage_is_ready_once_what_it_needs_is_done() -> None:
    schedule = Schedule(NEEDS)
    assert schedule.ready() == ["prepare@a"]
    schedule.begin("prepare@a")
    assert schedule.ready() == []
    schedule.end("prepare@a")
    assert schedule.ready() == ["train@x", "train@y"]
    run(schedule, "train@x")
    assert schedule.ready() == ["evaluate@x", "train@y"]
    for stage in ("train@y", "evaluate@y", "evaluate@x", "report"):
        run(schedule, stage)
    assert schedule.ready() == []
    assert schedule.done == set(NEEDS)
    assert schedule.failures() == ""


def test_what_is_trained_is_evaluated_before_the_next_training() -> None:
    needs = {"pretrain@m-0": [], "finetune@m-0.05-0": ["pretrain@m-0"]}
    needs |= {
        "evaluate-pretrained@m-0": ["pretrain@m-0"],
        "evaluate-finetuned@m-0.05-0": ["finetune@m-0.05-0"],
    }
    schedule = Schedule(needs)
    run(schedule, "pretrain@m-0")
    assert schedule.ready() == ["evaluate-pretrained@m-0", "finetune@m-0.05-0"]


def test_a_failed_stage_holds_up_what_needs_it_and_nothing_else() -> None:
    schedule = Schedule(NEEDS)
    run(schedule, "prepare@a")
    run(schedule, "train@y", "no memory")
    run(schedule, "train@x", "no disk")
    assert schedule.ready() == []
    assert schedule.failures() == (
        "train@x: no disk\n  not run because of it: evaluate@x, report\n"
        "train@y: no memory\n  not run because of it: evaluate@y, report"
    )


def test_the_last_stage_fails_alone() -> None:
    schedule = Schedule({"report": []})
    run(schedule, "report", "no template")
    assert schedule.failures() == "report: no template"


def test_progress_counts_and_tells_the_time() -> None:
    schedule = Schedule(NEEDS)
    run(schedule, "prepare@a")
    assert schedule.progress("prepare@a", 61.2) == "prepare@a finished: 1 of 6 stages done after 1 min 1 s"
    run(schedule, "train@x", "no disk")
    assert schedule.progress("train@x", 62) == "train@x failed: 1 of 6 stages done, 1 failed, after 1 min 2 s"
    run(schedule, "train@y")
    assert (
        schedule.progress("train@y", 63) == "train@y finished: 2 of 6 stages done, 1 failed, after 1 min 3 s"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (90061, "25 h 1 min"),
    ],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
