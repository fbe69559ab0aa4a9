"""Ctrl-C and SIGTERM: one line and 130 or 143, whenever they arrive."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cadnet.signals import STOPPED, Terminated, answered, raised, stopping_signal

ROOT = Path(__file__).parents[2]
SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("sign", SIGNALS)
def test_a_block_puts_its_things_in_order_first(
    sign: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    before, order = [signal.getsignal(each) for each in SIGNALS], []
    with pytest.raises(SystemExit) as caught, answered():
        try:
            signal.raise_signal(sign)
        finally:
            order.append("put in order")
    assert (caught.value.code, capsys.readouterr().err) == (128 + sign, f"{STOPPED}\n")
    assert order == ["put in order"]
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_a_second_sigterm_does_not_disturb() -> None:
    with pytest.raises(Terminated), raised():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)


def test_other_exceptions_go_on() -> None:
    for error in (ValueError("x"), SystemExit(2)):
        assert stopping_signal(error) is None
        with pytest.raises(type(error)) as caught, answered():
            raise error
        assert caught.value is error


MODULES = ["cadnet", "pipelines.stages.prepare", "pipelines.stages.validate", "pipelines.stages.evaluate",
           "pipelines.labels", "pipelines.flows.experiment", "pipelines.flows.serve"]  # fmt: skip


@pytest.mark.parametrize("sign", SIGNALS)
@pytest.mark.parametrize("module", MODULES)
def test_a_command_that_loads_its_libraries(module: str, sign: signal.Signals) -> None:
    # At the first library that it loads, as pressed in the middle of start-up.
    code = (
        "import runpy, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name in ('typer', 'argparse', 'torch', 'numpy', 'pydantic', 'psutil'):\n"
        f"            signal.raise_signal({int(sign)})\n"
        "sys.meta_path.insert(0, Finder())\n"
        "for name in [n for n in sys.modules if n.split('.')[0] in ('argparse',)]: del sys.modules[name]\n"
        "sys.argv = ['-m']\n"
        f"runpy.run_module({module!r}, run_name='__main__')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (128 + sign, f"{STOPPED}\n")
