"""What a flow says about how it ended."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cadnet.config import ConfigError
from pipelines.flows.commands import StageError
from pipelines.flows.lock import FlowRunsError
from pipelines.flows.outcome import failure, new_decisions, read_decisions, success

STARTED = datetime(2026, 5, 4, 2, 0, 0, 700_000, tzinfo=UTC)


def decision(**changes: Any) -> dict[str, Any]:
    return {
        "product": "screen",
        "model": "cadnet-screen",
        "version": 4,
        "champion": 3,
        "passed": True,
        "reasons": "",
        "checks": [],
    } | changes


def test_decisions_are_read_and_what_is_none_is_passed_over(tmp_path: Path) -> None:
    assert read_decisions(tmp_path) == {}
    for name, text in {"b": json.dumps(decision()), "torn": "{", "list": "[]"}.items():
        (tmp_path / "reports/gate" / name).mkdir(parents=True)
        (tmp_path / "reports/gate" / name / "decision.json").write_text(text)
    (tmp_path / "reports/gate/none").mkdir()
    assert read_decisions(tmp_path) == {"b": decision()}


def test_only_decisions_of_this_flow_count() -> None:
    old = decision(version=3)
    assert new_decisions({"a": old}, {"a": old}, STARTED) == {}
    assert new_decisions({"a": old}, {"a": decision(), "b": old}, STARTED) == {"a": decision(), "b": old}
    # Noted to the second, and in whatever zone.
    second = STARTED.replace(microsecond=0)
    now = decision(decided=second.astimezone().isoformat())
    assert new_decisions({}, {"a": now}, STARTED) == {"a": now}
    # A version that came back and had been decided on.
    back = decision(decided=(second - timedelta(seconds=1)).isoformat())
    assert new_decisions({"a": old}, {"a": back}, STARTED) == {}


@pytest.mark.parametrize(
    ("made", "kind", "line"),
    [
        (decision(), "promoted", "version 4 of cadnet-screen is the new champion, after version 3"),
        (decision(champion=None), "promoted", "version 4 of cadnet-screen is the new champion"),
        (
            decision(passed=False, reasons="miou 0.4 < 0.5\nescape 0.2"),
            "rejected",
            "version 4 of cadnet-screen is rejected: miou 0.4 < 0.5; escape 0.2; version 3 stays in use",
        ),
        (
            decision(passed=False, champion=None),
            "rejected",
            "version 4 of cadnet-screen is rejected: no reason given",
        ),
        (
            decision(version=None, champion=None),
            "promoted",
            "the new network passes the gate; without tracking, nothing is registered",
        ),
    ],
)
def test_a_decision_is_told_in_one_line(made: dict[str, Any], kind: str, line: str) -> None:
    outcome = success(["train@a", "gate@screen"], {"screen": made})
    assert (outcome.kind, outcome.decisions) == (kind, [made])
    assert outcome.text == f"screen: {line}\n2 stages have run"


def test_without_a_decision_something_was_trained_or_nothing_has_changed() -> None:
    assert (success(["report"], {}).kind, success(["report"], {}).text) == ("trained", "1 stage has run")
    assert (success([], {}).kind, success([], {}).text) == ("unchanged", "nothing has changed")
    assert success(["a"], {"x": decision(passed=False), "y": decision()}).kind == "promoted"


@pytest.mark.parametrize(
    ("error", "stopped", "kind", "text"),
    [
        (StageError("stages failed:\ntrain@a: lost"), False, "failed", "stages failed:\ntrain@a: lost"),
        (ConfigError("train.epochs: unknown key"), False, "failed", "train.epochs: unknown key"),
        (ValueError("what"), False, "failed", "ValueError: what"),
        (FlowRunsError("another flow runs"), False, "refused", "another flow runs"),
        (StageError("stopped"), True, "stopped", "the same command goes on from here"),
        (KeyboardInterrupt(), False, "stopped", "the same command goes on from here"),
    ],
)
def test_a_failure_is_told_with_its_reason(error: BaseException, stopped: bool, kind: str, text: str) -> None:
    outcome = failure(error, stopped, {})
    assert (outcome.kind, outcome.text) == (kind, text)


def test_what_was_decided_before_a_failure_is_told_too() -> None:
    outcome = failure(StageError("report failed"), False, {"screen": decision()})
    assert outcome.kind == "failed"
    assert outcome.decisions == [decision()]
    assert outcome.text.splitlines() == [
        "report failed",
        "screen: version 4 of cadnet-screen is the new champion, after version 3",
    ]
