"""Registered versions, aliases, and what a kill at any moment leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cadnet.cli import app
from cadnet.tracking import Tracker, TrackingError, Trial
from cadnet.tracking.registry import CHALLENGER, CHAMPION, PREVIOUS, Registry, Version, model_name
from cadnet.tracking.run import Run
from cadnet.tracking.store import resolve_store

BOARD = model_name("board")
WRITES = (
    "create_registered_model", "create_model_version", "set_registered_model_alias",
    "delete_registered_model_alias", "set_model_version_tag", "log_artifacts",
)  # fmt: skip
"""What changes the store."""


class Killed(BaseException):
    """The process dies here."""


@pytest.fixture
def registry(project: Path) -> Registry:
    return Registry(resolve_store(project))


@pytest.fixture
def run_id(tracker: Tracker, trial: Trial) -> str:
    return tracker.open_run(trial, "f" * 64, stage="train").run_id


def build(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "MLmodel").write_text(text, "utf-8")

    return write


def dying(registry: Registry, monkeypatch: pytest.MonkeyPatch, after: int) -> list[str]:
    """Let the ``after`` first writes through and die at the next; returns what was written."""
    written: list[str] = []
    owners = {name: Run if name == "log_artifacts" else registry._client for name in WRITES}
    for name, owner in owners.items():
        original = getattr(owner, name)

        def write(*args: Any, _original: Any = original, _name: str = name, **kwargs: Any) -> Any:
            if len(written) == after:
                raise Killed
            written.append(_name)
            return _original(*args, **kwargs)

        monkeypatch.setattr(owner, name, write)
    return written


def two(registry: Registry, run_id: str) -> tuple[Version, Version]:
    """A champion and a challenger."""
    first, _ = registry.register(BOARD, "a" * 64, run_id, build("one"))
    second, _ = registry.register(BOARD, "b" * 64, run_id, build("two"))
    registry.promote(first)
    registry.nominate(second)
    return first, second


def numbers(registry: Registry) -> tuple[int | None, ...]:
    """Numbers of champion, challenger and the champion before."""
    holders = [registry.holder(BOARD, alias) for alias in (CHAMPION, CHALLENGER, PREVIOUS)]
    return tuple(holder.number if holder else None for holder in holders)


def test_a_model_is_registered_once(registry: Registry, run_id: str, tmp_path: Path) -> None:
    version, new = registry.register(BOARD, "a" * 64, run_id, build("one"), {"cadnet.method": "cadnet"})
    assert new and (version.number, version.status, version.run_id) == (1, "pending", run_id)
    assert version.tags["cadnet.method"] == "cadnet" and str(version) == "cadnet-board version 1"
    again, new = registry.register(BOARD, "a" * 64, run_id, build("never built"))
    assert not new and again == version
    other, new = registry.register(BOARD, "b" * 64, run_id, build("two"))
    assert new and other.number == 2
    assert [one.number for one in registry.versions(BOARD)] == [2, 1]
    assert (registry.download(version, tmp_path / "got") / "MLmodel").read_text("utf-8") == "one"
    assert registry.models() == [BOARD] and registry.versions("cadnet-nothing") == []


def test_a_moved_project_finds_what_was_registered(
    registry: Registry, run_id: str, project: Path, tmp_path: Path
) -> None:
    version, _ = registry.register(BOARD, "a" * 64, run_id, build("one"))
    moved = Registry(resolve_store(project.rename(tmp_path / "moved")))
    found = moved.resolve(version.address)
    assert (moved.download(found, tmp_path / "got") / "MLmodel").read_text("utf-8") == "one"


def test_promotion_keeps_the_champion_before_and_rollback_returns_to_it(
    registry: Registry, run_id: str
) -> None:
    _first, second = two(registry, run_id)
    assert numbers(registry) == (
        1,
        2,
        None,
    )
    with pytest.raises(TrackingError, match="no champion before the present one"):
        registry.rollback(BOARD)
    registry.promote(second)
    assert numbers(registry) == (
        2,
        None,
        1,
    )
    assert {one.number: one.status for one in registry.versions(BOARD)} == {1: "approved", 2: "approved"}
    registry.promote(second)  # again is no harm
    assert numbers(registry) == (2, None, 1)
    assert registry.rollback(BOARD).number == 1
    assert numbers(registry) == (1, None, 2)
    assert registry.rollback(BOARD).number == 2


def test_a_rejected_challenger_stays_with_its_reasons(registry: Registry, run_id: str) -> None:
    _first, second = two(registry, run_id)
    registry.reject(second, "worse on pattern 07")
    kept = registry.resolve(f"models:/{BOARD}/2")
    assert (kept.status, kept.tags["cadnet.reasons"]) == ("rejected", "worse on pattern 07")
    assert numbers(registry) == (1, None, None)


def test_a_kill_while_registering_leaves_no_half_version(
    registry: Registry, run_id: str, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for after in range(3):
        name = f"cadnet-part{after}"
        with monkeypatch.context() as patched:
            written = dying(registry, patched, after)
            with pytest.raises(Killed):
                registry.register(name, "a" * 64, run_id, build("whole"))
            assert len(written) == after
        assert registry.versions(name) == []
        version, new = Registry(resolve_store(project)).register(name, "a" * 64, run_id, build("whole"))
        assert new and version.number == 1
        got = registry.download(version, tmp_path / name)
        assert (got / "MLmodel").read_text("utf-8") == "whole"


def test_a_kill_while_promoting_leaves_the_old_champion_or_the_new(
    registry: Registry, run_id: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _first, second = two(registry, run_id)
    seen = []
    for after in range(4):
        with monkeypatch.context() as patched:
            dying(registry, patched, after)
            with pytest.raises(Killed):
                registry.promote(second)
        fresh = Registry(resolve_store(project))
        seen.append(numbers(fresh)[0])
    # Previous, status, champion, challenger: the champion changes at one of the four.
    assert seen == [1, 1, 1, 2]
    registry.promote(second)
    assert numbers(registry) == (
        2,
        None,
        1,
    )


def test_what_is_not_there_is_named(registry: Registry, run_id: str) -> None:
    with pytest.raises(TrackingError, match=r"no model 'cadnet-x' .*nothing is registered"):
        registry.resolve("models:/cadnet-x@champion")
    two(registry, run_id)
    assert registry.resolve(f"models:/{BOARD}@champion").number == 1
    with pytest.raises(TrackingError, match="registered are cadnet-board"):
        registry.resolve("models:/cadnet-x@champion")
    with pytest.raises(TrackingError, match=r"no alias 'best'; .* versions 1, 2 and the aliases champion"):
        registry.resolve(f"models:/{BOARD}@best")
    with pytest.raises(TrackingError, match=r"has no version '7'"):
        registry.resolve(f"models:/{BOARD}/7")
    for wrong in (BOARD, f"models:/{BOARD}", "models:/@champion", f"{BOARD}@champion"):
        with pytest.raises(TrackingError, match="no address of a model"):
            registry.resolve(wrong)


def test_the_commands_list_versions_and_go_back(registry: Registry, run_id: str, project: Path) -> None:
    invoke = CliRunner().invoke
    store = ["--store", f"sqlite:///{project / 'mlflow.db'}"]
    assert invoke(app, ["models", *store]).output == "nothing is registered here yet\n"
    first, second = two(registry, run_id)
    third, _ = registry.register(BOARD, "c" * 64, run_id, build("three"))
    registry.promote(second)
    registry.reject(third, "latency: 5 ms, wanted at most 4 ms")
    listed = invoke(app, ["models", *store])
    assert listed.output.splitlines() == [
        "cadnet-board",
        "  version 3  rejected",
        "    latency: 5 ms, wanted at most 4 ms",
        "  version 2  approved  champion",
        "  version 1  approved  previous",
    ]
    back = invoke(app, ["rollback", "board", *store])
    assert (
        back.exit_code == 0
        and "cadnet-board: version 1 is champion again instead of version 2" in back.output
    )
    assert numbers(registry) == (first.number, None, second.number)
    wrong = invoke(app, ["rollback", "bord", *store])
    assert (
        wrong.exit_code == 1 and "no model 'bord' is registered; registered are cadnet-board" in wrong.output
    )


def test_an_approved_version_has_no_reasons_left(registry: Registry, run_id: str) -> None:
    version, _ = registry.register(BOARD, "a" * 64, run_id, build("one"))
    registry.reject(version, "too slow")
    registry.promote(registry.version(BOARD, version.number) or version)
    approved = registry.version(BOARD, version.number)
    assert approved is not None and approved.status == "approved" and "cadnet.reasons" not in approved.tags
