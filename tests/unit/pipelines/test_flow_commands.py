import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cadnet.tracking.processes import process_start
from pipelines.flows.commands import RUNNING, STOP, StageError, environment, is_advice, run_command


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_environment_prefers_this_interpreter_and_calls_nobody() -> None:
    variables = environment()
    assert variables["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert variables["DO_NOT_TRACK"] == variables["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert variables["DVC_NO_ANALYTICS"] == "1"


def test_advice_for_later_is_told_from_what_a_stage_says() -> None:
    advice = ["", "  ", "To track the changes with git, run:", "\tgit add dvc.lock", "Use `dvc push` to send"]
    assert all(is_advice(line) for line in advice)
    assert not any(
        is_advice(line) for line in ("epoch 1/4", "Running stage 'a':", "Updating lock file 'dvc.lock'")
    )


def test_run_command_passes_every_line_on(tmp_path: Path) -> None:
    code = (
        "import os,sys; print('one'); print('ünï', file=sys.stderr, flush=True); print(os.getcwd(), end='')"
    )
    lines: list[str] = []
    run_command(python(code), tmp_path, 60, lines.append, {"PYTHONIOENCODING": "utf-8"})
    assert lines == ["one", "ünï", str(tmp_path)]


def test_a_failed_command_is_told_by_the_end_of_its_output(tmp_path: Path) -> None:
    code = (
        "import sys\nfor i in range(50): print('line', i, flush=True)\nsys.exit('error: bad mask; mend it')"
    )
    with pytest.raises(StageError) as caught:
        run_command(python(code), tmp_path, 60, lambda line: None)
    text = str(caught.value)
    assert "exited with 1" in text
    assert text.endswith("line 48\nline 49\nerror: bad mask; mend it")
    assert "line 20\n" not in text
    assert caught.value.reason == "error: bad mask; mend it"
    assert caught.value.curable


def test_a_crash_is_told_by_its_last_line_and_not_called_curable() -> None:
    ending = "ERROR: failed to reproduce 'train@a': failed to run: python -m x, exited with {}"
    error = StageError(f"dvc exited with 255:\nValueError: broken\n{ending.format(1)}")
    assert not error.curable
    assert error.reason == "exited with 1 after the line: ValueError: broken"
    killed = StageError(f"dvc exited with 255:\nepoch 3/9 loss=0.5\n\n{ending.format(-9)}")
    assert killed.reason == "exited with -9 after the line: epoch 3/9 loss=0.5"
    # A stage that printed nothing, and an error of DVC itself.
    assert StageError(f"> python -m x\n{ending.format(2)}").reason == ending.format(2)
    assert StageError("> x\nERROR: failed to reproduce 'a': missing").reason.endswith("'a': missing")
    assert StageError("").reason == ""


def test_a_timeout_ends_the_whole_process_group(tmp_path: Path) -> None:
    code = (
        "import subprocess,sys,time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\ntime.sleep(60)"
    )
    lines: list[str] = []
    started = time.monotonic()
    with pytest.raises(StageError, match="ran longer than"):
        run_command(python(code), tmp_path, 2, lines.append)
    assert time.monotonic() - started < 20
    deadline = time.monotonic() + 5
    while process_start(int(lines[0])) is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process_start(int(lines[0])) is None


def test_a_group_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.flows.processes.PATIENCE", 0.5)
    code = "import signal,time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)"
    started = time.monotonic()
    with pytest.raises(StageError):
        run_command(python(code), tmp_path, 1.5, lambda line: None)
    assert time.monotonic() - started < 20


def test_a_command_gets_sigterm_first(tmp_path: Path) -> None:
    code = (
        "import pathlib,signal,sys,time\n"
        "def end(*_):\n    pathlib.Path('ended').write_text('well'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\nprint('on', flush=True)\ntime.sleep(60)"
    )
    with pytest.raises(StageError):
        run_command(python(code), tmp_path, 2, lambda line: None)
    assert (tmp_path / "ended").read_text() == "well"


def test_children_are_not_left_behind_by_a_broken_listener(tmp_path: Path) -> None:
    def broken(line: str) -> None:
        raise RuntimeError("listener")

    with pytest.raises(RuntimeError, match="listener"):
        run_command(python("import time; print('x', flush=True); time.sleep(60)"), tmp_path, 60, broken)
    children = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True
    )
    assert "time.sleep(60)" not in children.stdout


def test_stop_ends_what_runs_and_starts_no_more(tmp_path: Path) -> None:
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


def stop(line: str) -> None:
    STOP.set()
