"""Registered versions, aliases, and what a kill at any moment leaves."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cadnet.cli import app
from cadnet.tracking import Tracker, TrackingError, Trial
from cadnet.tracking.processes import ProcessMark
from cadnet.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    TAG_BY_HAND,
    TAG_CHANGE,
    TAG_DECISION,
    TAG_ROLLED_BACK,
    TAG_STATUS,
    Registry,
    Version,
    model_name,
)
from cadnet.tracking.run import Run
from cadnet.tracking.store import resolve_store

BOARD = model_name("board")
WRITES = (
    "create_registered_model", "create_model_version", "set_registered_model_alias",
    "delete_registered_model_alias", "set_model_version_tag", "delete_model_version_tag", "log_artifacts",
    "set_registered_model_tag", "delete_registered_model_tag", "create_run",
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


def three(registry: Registry, run_id: str) -> None:
    """A champion, version 3, after two others, of which the first was champion long ago."""
    _, second = two(registry, run_id)
    registry.promote(second)
    registry.promote(registry.register(BOARD, "c" * 64, run_id, build("three"))[0])


def numbered(registry: Registry, number: int) -> Version:
    return registry.resolve(f"models:/{BOARD}/{number}")


def numbers(registry: Registry) -> tuple[int | None, ...]:
    """Numbers of champion, challenger and the champion before."""
    holders = [registry.holder(BOARD, alias) for alias in (CHAMPION, CHALLENGER, PREVIOUS)]
    return tuple(holder.number if holder else None for holder in holders)


def test_a_model_is_registered_once(registry: Registry, run_id: str, tmp_path: Path) -> None:
    version, new = registry.register(BOARD, "a" * 64, run_id, build("one"), {"cadnet.method": "cadnet"})
    assert new and (version.number, version.status) == (1, "pending")
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


def test_a_version_keeps_its_files_when_the_training_is_deleted(
    registry: Registry, tracker: Tracker, run_id: str, project: Path, tmp_path: Path
) -> None:
    version, _ = registry.register(BOARD, "a" * 64, run_id, build("one"))
    assert version.run_id != run_id
    assert tracker.find_run(version.run_id).tags()["cadnet.training_run"] == run_id
    tracker.client.delete_run(run_id)
    tracker.client.delete_run(version.run_id)
    assert registry.has_files(version)
    assert (registry.download(version, tmp_path / "got") / "MLmodel").read_text("utf-8") == "one"
    # As `mlflow gc` does.
    shutil.rmtree(project / "mlartifacts" / BOARD)
    assert not registry.has_files(version)
    with pytest.raises(TrackingError, match="No such artifact"):
        registry.download(version, tmp_path / "gone")
    registry.restore(version, build("one"))
    assert (registry.download(version, tmp_path / "back") / "MLmodel").read_text("utf-8") == "one"
    found, new = registry.register(BOARD, "a" * 64, run_id, build("another"), lost={1})
    assert new and found.number == 2
    assert registry.register(BOARD, "a" * 64, run_id, build("never built"), lost={1}) == (found, False)


@pytest.mark.parametrize("fingerprint", ["../../../elsewhere", "/tmp/elsewhere", "..", ""])
def test_no_tag_leads_to_other_files(
    registry: Registry, run_id: str, project: Path, tmp_path: Path, fingerprint: str
) -> None:
    registry.register(BOARD, "a" * 64, run_id, build("one"))
    registry._client.set_model_version_tag(BOARD, "1", "cadnet.product_fingerprint", fingerprint)
    (version,) = registry.versions(BOARD)
    assert (registry.download(version, tmp_path / "got") / "MLmodel").read_text("utf-8") == "one"
    for address in ("models:/..@champion", "models:/../1", "models:/.@champion"):
        with pytest.raises(TrackingError, match="no address of a model"):
            registry.resolve(address)


def test_promotion_keeps_the_champion_before_and_rollback_returns_to_it_once(
    registry: Registry, run_id: str
) -> None:
    first, second = two(registry, run_id)
    assert numbers(registry) == (1, 2, None)
    with pytest.raises(TrackingError, match="no champion before the present one"):
        registry.rollback(BOARD)
    registry.promote(second)
    assert numbers(registry) == (2, None, 1)
    assert {one.number: one.status for one in registry.versions(BOARD)} == {1: "approved", 2: "approved"}
    registry.promote(second)  # again is no harm
    assert numbers(registry) == (2, None, 1)

    def went(to: int | None = None) -> tuple[int, int | None]:
        now, before = registry.rollback(BOARD, to)
        return now.number, before and before.number

    assert went() == (1, 2) and numbers(registry) == (1, None, None)
    assert went() == (1, None) and numbers(registry) == (1, None, None)
    # By number, which is the same as often as it is given.
    assert went(to=2) == (2, 1) and went(to=2) == (2, None)
    assert numbers(registry) == (2, None, None)
    assert went() == (2, None)
    registry.promote(first)
    assert numbers(registry) == (1, None, 2) and went() == (2, 1)


def test_only_what_was_approved_is_gone_back_to(registry: Registry, run_id: str) -> None:
    _, second = two(registry, run_id)
    with pytest.raises(TrackingError, match="version 2 is pending and was no champion; cadnet promote"):
        registry.rollback(BOARD, 2)
    with pytest.raises(TrackingError, match="has no version '7'"):
        registry.rollback(BOARD, 7)
    registry.promote(second)

    def broken(version: Version) -> None:
        raise TrackingError(f"{version} is broken")

    with pytest.raises(TrackingError, match="version 1 is broken"):
        registry.rollback(BOARD, check=broken)
    assert numbers(registry) == (2, None, 1)


def test_a_retired_champion_gives_way_to_the_one_before_or_to_none(registry: Registry, run_id: str) -> None:
    three(registry, run_id)
    third, second = numbered(registry, 3), numbered(registry, 2)
    for _ in range(2):
        registry.retire(third, "retired: marks dust", successor=second)
        assert numbers(registry) == (2, None, None)
    assert numbered(registry, 3).status == "retired"
    with pytest.raises(TrackingError, match="version 3 is retired and was no champion"):
        registry.rollback(BOARD, 3)
    registry.retire(second, "retired: so does it")
    assert numbers(registry) == (None, None, None)
    registry.promote(third, "promoted: dust is wiped off now")
    assert numbers(registry) == (3, None, None)
    assert numbered(registry, 3).tags["cadnet.by_hand"] == "promoted: dust is wiped off now"


def test_a_rejected_challenger_stays_with_its_reasons(registry: Registry, run_id: str) -> None:
    _first, second = two(registry, run_id)
    registry.reject(second, "worse on pattern 07")
    kept = numbered(registry, 2)
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


Change = Callable[[Registry], object]
CHANGES: dict[str, tuple[Change, tuple[int | None, ...]]] = {
    "promote": (lambda one: one.promote(numbered(one, 1), "why"), (1, None, 3)),
    "rollback": (lambda one: one.rollback(BOARD), (2, None, None)),
    "rollback to": (lambda one: one.rollback(BOARD, 1), (1, None, None)),
    "retire": (lambda one: one.retire(numbered(one, 3), "why", numbered(one, 2)), (2, None, None)),
}
"""Each change of three versions of which 3 is champion, and the holders after it."""


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_is_killed_is_completed_by_the_same_command(
    registry: Registry, run_id: str, project: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    do, after = CHANGES[change]
    seen = []
    three(registry, run_id)
    none = dict.fromkeys((TAG_ROLLED_BACK, TAG_BY_HAND))
    for writes in range(12):
        approved = {number: {TAG_STATUS: "approved", **none} for number in (1, 2, 3)}
        registry._change(BOARD, {CHAMPION: 3, CHALLENGER: None, PREVIOUS: 2}, approved)
        try:
            with monkeypatch.context() as patched:
                dying(registry, patched, writes)
                do(registry)
        except Killed:
            fresh = Registry(resolve_store(project))
            champion = fresh.holder(BOARD, CHAMPION)
            assert champion is not None and champion.status in ("approved", "retired")
            seen.append(champion.number)
            do(fresh)
        assert numbers(registry) == after
        do(registry)
        assert numbers(registry) == after
        found = registry._registered(BOARD)
        assert found is not None and TAG_CHANGE not in found.tags
        if len(seen) == writes:
            break
    # At each moment the old champion or the new one, which takes several writes.
    assert seen == sorted(seen, key=lambda number: number == after[0]) and set(seen) == {3, after[0]}
    assert 4 <= len(seen) < 12


def test_whoever_changes_something_next_completes_it(
    registry: Registry, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, second = two(registry, run_id)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        dying(registry, patched, 1)
        registry.promote(second)
    assert numbers(registry) == (1, 2, None)
    registry.register(BOARD, "c" * 64, run_id, build("three"))
    assert numbers(registry) == (2, None, 1)


@pytest.mark.parametrize("note", ["{", "[]", '{"aliases": {"champion": "x"}, "tags": {}}', "null"])
def test_a_damaged_note_of_a_change_is_named(registry: Registry, run_id: str, note: str) -> None:
    first, _ = two(registry, run_id)
    registry._client.set_registered_model_tag(BOARD, TAG_CHANGE, note)
    with pytest.raises(
        TrackingError, match=r"tag cadnet\.change of model cadnet-board is damaged; delete it"
    ):
        registry.promote(first)
    # A note about versions that were deleted since hinders nothing.
    gone = '{"aliases": {"champion": 9}, "tags": {"9": {"validation_status": "approved"}}}'
    registry._client.set_registered_model_tag(BOARD, TAG_CHANGE, gone)
    registry.promote(first)
    assert numbers(registry) == (1, 2, None)


def test_what_a_killed_registration_left_is_deleted(
    registry: Registry, tracker: Tracker, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(Killed):
        dying(registry, patched, 2)
        registry.register(BOARD, "a" * 64, run_id, build("half"))
    (left,) = tracker.find_runs(BOARD)
    monkeypatch.setattr(ProcessMark, "is_dead", lambda _: True)
    version, _ = registry.register(BOARD, "a" * 64, run_id, build("whole"))
    assert [one.run_id for one in tracker.find_runs(BOARD)] == [version.run_id] != [left.run_id]


def test_what_is_not_there_is_named(registry: Registry, run_id: str) -> None:
    with pytest.raises(TrackingError, match=r"no model 'cadnet-x' .*nothing is registered"):
        registry.resolve("models:/cadnet-x@champion")
    two(registry, run_id)
    assert registry.resolve(f"models:/{BOARD}@champion").number == 1
    with pytest.raises(TrackingError, match="registered are cadnet-board"):
        registry.resolve("models:/cadnet-x@champion")
    with pytest.raises(TrackingError, match=r"'best'; .* versions 1, 2 and the aliases challenger, champion"):
        registry.resolve(f"models:/{BOARD}@best")
    with pytest.raises(TrackingError, match=r"has no version '7'"):
        registry.resolve(f"models:/{BOARD}/7")
    for wrong in (BOARD, f"models:/{BOARD}", "models:/@champion", f"{BOARD}@champion"):
        with pytest.raises(TrackingError, match="no address of a model"):
            registry.resolve(wrong)


def test_an_emptied_model_is_not_one_that_never_was(registry: Registry, run_id: str) -> None:
    registry.register(BOARD, "a" * 64, run_id, build("one"))
    registry._client.delete_model_version(BOARD, "1")
    with pytest.raises(TrackingError, match="cadnet-board has no version any more; `make repro`"):
        registry.resolve(f"models:/{BOARD}@champion")


def test_versions_are_listed_with_what_was_done_to_them(
    registry: Registry, run_id: str, project: Path
) -> None:
    invoke = CliRunner().invoke
    store = ["--store", f"sqlite:///{project / 'mlflow.db'}"]
    assert invoke(app, ["models", *store]).output == "nothing is registered here yet\n"
    first, second = two(registry, run_id)
    third, _ = registry.register(BOARD, "c" * 64, run_id, build("three"))
    registry.promote(second)
    registry.reject(third, "latency: 5 ms, wanted at most 4 ms")
    registry.rollback(BOARD)
    registry.promote(first, "promoted: on trial")
    listed = invoke(app, ["models", *store])
    assert listed.output.splitlines() == [
        "cadnet-board",
        "  version 3  rejected",
        "    latency: 5 ms, wanted at most 4 ms",
        "  version 2  approved",
        "    rolled back to version 1",
        "  version 1  approved  champion",
        "    by hand: promoted: on trial",
    ]


def test_an_approved_version_has_no_reasons_left(registry: Registry, run_id: str, tmp_path: Path) -> None:
    version, _ = registry.register(BOARD, "a" * 64, run_id, build("one"))
    (tmp_path / "pages").mkdir()
    registry.decided(version, "{}", tmp_path / "pages")
    registry.reject(version, "too slow")
    registry.promote(version)
    approved = registry.version(BOARD, version.number)
    assert approved is not None and approved.status == "approved" and "cadnet.reasons" not in approved.tags
    assert approved.tags[TAG_DECISION] == "{}"
