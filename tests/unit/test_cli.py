"""The command line: generating a dataset, one-line errors, and what ``--help`` loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cadnet.cli import app
from cadnet.images import write_png
from cadnet.signals import STOPPED
from cadnet.synthesis import writer


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(0)
    for name in ("01", "02"):
        coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        write_png(tmp_path / "patterns" / f"{name}.png", np.kron(coarse, np.ones((8, 8, 1), np.uint8)))
    (tmp_path / "splits.csv").write_text("pattern,split\n01,train\n02,test\n")
    options = {"--out": "out", "--patterns": "patterns", "--split-list": "splits.csv"}
    paths = [part for key, value in options.items() for part in (key, str(tmp_path / value))]
    return ["synth", *paths, "--size", "64", "--per-pattern", "3"]


def test_a_dataset_is_generated_and_progress_shown(arguments: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [*arguments, "--subset", "abpt", "--seed", "4"])
    assert result.exit_code == 0, result.output
    assert "synlcd-abpt: 14/14" in result.stderr and f"{tmp_path / 'out'}" in result.stderr
    assert len(list((tmp_path / "out" / "images").glob("abpt-0[12]-[dc]000[012].png"))) == 12


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--subset", "lines", "--subset 'lines'"),
        ("--size", "8", "--size 8"),
        ("--per-pattern", "-1", "--per-pattern -1"),
        ("--seed", "-1", "--seed -1"),
    ],
)
def test_wrong_options_end_with_code_2_and_one_line(
    arguments: list[str], tmp_path: Path, option: str, value: str, message: str
) -> None:
    result = CliRunner().invoke(app, [*arguments, option, value])
    assert result.exit_code == 2 and message in result.stderr
    assert result.stderr.count("\n") == 1 and not (tmp_path / "out").exists()


def test_missing_patterns_end_with_code_1_and_the_cure(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "patterns" / "02.png").unlink()
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1 and result.stderr.startswith("error: 1 of 2 clean patterns")
    assert "dvc pull data/synlcd" in result.stderr and result.stderr.count("\n") == 1


def test_an_interrupt_says_how_to_go_on(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writer, "write_dataset", interrupted)
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.stderr) == (130, f"{STOPPED}\n")


@pytest.mark.parametrize("command", ["synth", "fetch-data", "predict", "compare"])
def test_help_does_not_load_the_heavy_libraries(command: str) -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from cadnet.cli import app; "
        f"assert CliRunner().invoke(app, ['{command}', '--help']).exit_code == 0; "
        "heavy = {'torch', 'cv2', 'numpy', 'pandas', 'mlflow', 'requests', 'yaml', 'cadnet.fetching'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_generating_does_not_load_torch() -> None:
    code = "import sys, cadnet.synthesis.writer; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
