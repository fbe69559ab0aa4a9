"""Processes that outlive who started them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cadnet.tracking.processes import process_start
from pipelines.flows import processes
from pipelines.flows.commands import run_command
from pipelines.flows.dvc_locks import forget_locks
from pipelines.flows.processes import COMMANDS, end_left_over, noted_child, read_notes

STARTS_ONE = """
import sys
from pathlib import Path
from pipelines.flows.commands import run_command
child = "import time; print('on', flush=True); time.sleep(60)"
run_command([sys.executable, "-c", child], Path(), 60, lambda line: print(line, flush=True))
"""


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)


def gone(pid: int) -> bool:
    limit = time.monotonic() + 5
    while process_start(pid) is not None and time.monotonic() < limit:
        time.sleep(0.05)
    return process_start(pid) is None


def test_a_command_is_noted_as_long_as_it_runs(tmp_path: Path) -> None:
    seen: list[str] = []
    notes = tmp_path / COMMANDS
    run_command(
        ["sh", "-c", "echo on"],
        tmp_path,
        60,
        lambda _: seen.extend(note.command for note in read_notes(notes)),
    )
    assert seen == ["sh -c echo on"]
    assert read_notes(notes) == []


def test_what_a_killed_flow_has_left_is_ended(tmp_path: Path) -> None:
    flow = subprocess.Popen([sys.executable, "-c", STARTS_ONE], cwd=tmp_path, stdout=subprocess.PIPE)
    assert flow.stdout is not None
    assert flow.stdout.readline() == b"on\n"
    flow.kill()
    flow.communicate()
    (note,) = read_notes(tmp_path / COMMANDS)
    assert note.lives
    assert not note.is_gone
    told: list[str] = []
    end_left_over(tmp_path / COMMANDS, told.append)
    assert gone(note.mark.pid)
    assert len(told) == 1
    assert told[0].startswith(f"process {note.mark.pid} is left from one that was killed, and is ended: ")
    assert note.is_gone
    assert read_notes(tmp_path / COMMANDS) == []


def test_a_process_that_only_has_the_number_of_a_noted_one_is_let_alone(tmp_path: Path) -> None:
    process = sleeper()
    try:
        with noted_child(process, ["sleep"], tmp_path):
            (path,) = tmp_path.iterdir()
            note = json.loads(path.read_text())
            note["process"]["start"] = "boot:1"
            path.write_text(json.dumps(note))
            (tmp_path / "torn.json").write_text("{")
            assert [note.lives for note in read_notes(tmp_path)] == [False]
            assert [note.is_gone for note in read_notes(tmp_path)] == [True]
            told: list[str] = []
            end_left_over(tmp_path, told.append)
            assert told == []
            assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_a_child_is_ended_when_its_block_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PATIENCE", 5.0)
    process = sleeper()
    with pytest.raises(KeyboardInterrupt), noted_child(process, ["sleep"], tmp_path):
        raise KeyboardInterrupt
    assert process.poll() is not None
    assert list(tmp_path.iterdir()) == []


def test_dvc_forgets_what_is_no_command_of_its(tmp_path: Path) -> None:
    forget_locks(tmp_path)
    path = tmp_path / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(parents=True)
    code = "import time; print('on', flush=True); time.sleep(60)"
    running = subprocess.Popen([sys.executable, "-c", code, "dvc"], stdout=subprocess.PIPE)
    assert running.stdout is not None
    assert running.stdout.readline() == b"on\n"
    try:
        # This process stands for one that got the number of a killed command.
        other, own = {"pid": os.getpid(), "cmd": "dvc repro"}, {"pid": running.pid, "cmd": "dvc repro"}
        unused = next(pid for pid in range(2, 99999) if process_start(pid) is None)
        absent = {"pid": unused, "cmd": "dvc repro"}
        if "dvc" in Path(f"/proc/{os.getpid()}/cmdline").read_text():
            pytest.skip("this process is called after DVC")
        locks = {"write": {"a": other, "b": own, "c": absent}, "read": {"d": [other, own], "e": [absent]}}
        path.write_text(json.dumps(locks))
        forget_locks(tmp_path)
        assert json.loads(path.read_text()) == {"write": {"b": own}, "read": {"d": [own]}}
    finally:
        running.kill()
        running.communicate()
    path.write_text("{")
    forget_locks(tmp_path)
    assert path.read_text() == "{"
