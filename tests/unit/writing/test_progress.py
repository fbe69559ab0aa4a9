from __future__ import annotations

import sys

import pytest

from cadnet.writing import progress
from cadnet.writing.progress import open_progress


def test_a_log_gets_few_plain_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with open_progress(True, total=100, done=20, title="Drawing") as bar:
        for _ in range(8):
            now += 4.0
            bar.advance(10)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["Drawing: 50/100, 2.5/s", "Drawing: 80/100, 2.5/s", "Drawing: 100/100, 2.5/s"]


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with open_progress(True, total=10, done=4, title="Drawing") as bar:
        bar.advance(6)
    text = capsys.readouterr().err
    assert "Drawing" in text and "10/10" in text


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    with open_progress(False, total=10, done=0, title="Drawing") as bar:
        bar.advance(10)
    assert capsys.readouterr() == ("", "")
