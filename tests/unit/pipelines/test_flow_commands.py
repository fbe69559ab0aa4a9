"""Running commands, stopping them, and ending what a killed flow has left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pipelines.flows import commands
from pipelines.flows.commands import (
    RUNNING,
    STAGE_MARK,
    STOP,
    StageError,
    end_left_over,
    environment,
    is_alive,
    run_command,
    site_cache,
    without_advice,
)

STARTS_ONE = """
import sys
from pathlib import Path
from pipelines.flows.commands import run_command
grandchild = "import time; print(7, flush=True); time.sleep(60)"
child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
run_command([sys.executable, "-c", child], Path(), 60, lambda line: print(line, flush=True))
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and is_alive(psutil.Process(pid))


def ignore(line: str) -> None:
    pass


def test_environment_prefers_this_interpreter_and_calls_nobody(tmp_path: Path) -> None:
    variables = environment(tmp_path)
    assert variables["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert variables["DO_NOT_TRACK"] == variables["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert variables["DVC_NO_ANALYTICS"] == "1"


def test_notes_of_dvc_that_others_could_write_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_SITE_CACHE_DIR", raising=False)
    planted = tmp_path / ".dvc-site" / "repo" / "token" / "index" / "data" / "db.db"
    planted.parent.mkdir(parents=True)
    planted.write_bytes(b"a pickle")
    (tmp_path / ".dvc-site").chmod(0o777)
    (tmp_path / ".dvc-site" / "repo").chmod(0o777)
    assert environment(tmp_path)["DVC_SITE_CACHE_DIR"] == str(tmp_path / ".dvc-site")
    assert not planted.exists()
    # DVC opens a folder that it makes itself to all users, and leaves the rights of one that is there.
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    for command in (["dvc", "init", "-q"], ["dvc", "status", "-q"]):
        subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), check=True)
    made = list((tmp_path / ".dvc-site").rglob("*"))
    assert any(path.name == "repo" for path in made)
    assert [path for path in [tmp_path / ".dvc-site", *made] if path.stat().st_mode & 0o022] == []
    assert site_cache(tmp_path) == tmp_path / ".dvc-site"


def test_advice_for_later_is_left_out() -> None:
    lines: list[str] = []
    log = without_advice(lines.append)
    advice = ["", "  ", "To track the changes with git, run:", "\tgit add dvc.lock", "Use `dvc push` to send"]
    own = ["epoch 1/4", "Running stage 'a':", "Updating lock file 'dvc.lock'"]
    for line in [*advice, *own]:
        log(line)
    assert lines == own


def test_run_command_passes_every_line_on(tmp_path: Path) -> None:
    code = (
        "import os,sys; print('one'); print('ünï', file=sys.stderr, flush=True); print(os.getcwd(), end='')"
    )
    lines: list[str] = []
    run_command(python(code), tmp_path, 60, lines.append, {"PYTHONIOENCODING": "utf-8"})
    assert lines == ["one", "ünï", str(tmp_path)]


def test_a_failed_command_gives_the_end_of_its_output(tmp_path: Path) -> None:
    code = (
        "import sys\nfor i in range(50): print('line', i, flush=True)\nsys.exit('error: bad mask; mend it')"
    )
    with pytest.raises(StageError) as caught:
        run_command(python(code), tmp_path, 60, ignore)
    text = str(caught.value)
    assert "exited with 1" in text
    assert text.endswith("line 48\nline 49\nerror: bad mask; mend it")
    assert "line 20\n" not in text
    assert caught.value.reason == "error: bad mask; mend it"
    assert caught.value.names_fix


def test_a_crash_gives_its_last_line_and_names_no_fix() -> None:
    ending = "ERROR: failed to reproduce 'train@a': failed to run: python -m x, exited with {}"
    error = StageError(f"dvc exited with 255:\nValueError: broken\n{ending.format(1)}")
    assert not error.names_fix
    assert error.reason == "exited with 1 after the line: ValueError: broken"
    killed = StageError(f"dvc exited with 255:\nepoch 3/9 loss=0.5\n\n{ending.format(-9)}")
    assert killed.reason == "exited with -9 after the line: epoch 3/9 loss=0.5"
    # A stage that printed nothing, and an error of DVC itself.
    assert StageError(f"> python -m x\n{ending.format(2)}").reason == ending.format(2)
    assert StageError("> x\nERROR: failed to reproduce 'a': missing").reason.endswith("'a': missing")
    assert StageError("").reason == ""


def test_a_timeout_ends_the_whole_process_group_with_sigterm_first(tmp_path: Path) -> None:
    code = (
        "import pathlib,signal,subprocess,sys,time\n"
        "def end(*_):\n    pathlib.Path('ended').write_text('well'); sys.exit(0)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "signal.signal(signal.SIGTERM, end)\nprint(child.pid, flush=True)\ntime.sleep(60)"
    )
    lines: list[str] = []
    with pytest.raises(StageError, match="ran longer than"):
        run_command(python(code), tmp_path, 2, lines.append)
    assert not runs(int(lines[0]))
    assert (tmp_path / "ended").read_text() == "well"


def test_a_group_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "PATIENCE", 0.5)
    code = (
        "import os,signal,time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(os.getpid(), flush=True)\ntime.sleep(60)"
    )
    lines: list[str] = []
    with pytest.raises(StageError):
        run_command(python(code), tmp_path, 1.5, lines.append)
    assert not runs(int(lines[0]))


def test_children_are_not_left_behind_by_a_broken_listener(tmp_path: Path) -> None:
    pids: list[int] = []

    def broken(line: str) -> None:
        pids.append(int(line))
        raise RuntimeError("listener")

    with pytest.raises(RuntimeError, match="listener"):
        run_command(
            python("import os,time; print(os.getpid(), flush=True); time.sleep(60)"), tmp_path, 60, broken
        )
    assert not runs(pids[0])


def test_stop_ends_what_runs_and_starts_no_more(tmp_path: Path) -> None:
    def stop(line: str) -> None:
        STOP.set()

    assert not STOP.is_set()
    try:
        with pytest.raises(StageError, match="was stopped"):
            run_command(python("print('on', flush=True); import time; time.sleep(60)"), tmp_path, 60, stop)
        assert not RUNNING
        with pytest.raises(StageError, match="stopped before it began"):
            run_command(python("open('began', 'w')"), tmp_path, 60, stop)
    finally:
        STOP.clear()
    assert not (tmp_path / "began").exists()


def test_what_a_killed_flow_of_this_project_has_left_is_ended(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    # Another project's stage, and a process that has nothing to do with flows.
    others = [
        subprocess.Popen(python("import time; time.sleep(60)"), env=os.environ | variables)
        for variables in ({STAGE_MARK: str(tmp_path)}, {})
    ]
    flow = subprocess.Popen(python(STARTS_ONE), cwd=tmp_path / "here", stdout=subprocess.PIPE)
    assert flow.stdout is not None
    assert flow.stdout.readline() == b"7\n"
    left = psutil.Process(flow.pid).children(recursive=True)
    flow.kill()
    flow.communicate()
    try:
        assert len(left) == 2
        assert all(is_alive(process) for process in left)
        lines: list[str] = []
        end_left_over(tmp_path / "here", STAGE_MARK, lines.append)
        assert not any(is_alive(process) for process in left)
        assert len(lines) == 2
        assert any(f"process {left[0].pid} was left running" in line for line in lines)
        assert all(process.poll() is None for process in others)
        end_left_over(tmp_path / "here", STAGE_MARK, lines.append)
        assert len(lines) == 2
    finally:
        for process in others:
            process.kill()
            process.wait()
