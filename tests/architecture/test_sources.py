"""Rules for the source: contracts on imports, and what only the syntax tree shows.

Nothing is imported or run. The contracts are in pyproject.toml (``tool.importlinter``).
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("cadnet", "pipelines", "bench", "tests")
FILE_LINES, FUNCTION_LINES = 500, 80

PICKLING = {"torch.load", "torch.save", "read_pickle", "to_pickle", "load_from_checkpoint"}
"""Calls that read or write pickles, by full name or by method."""

FILE_CALLS = (
    "open",
    "read_",
    "write_",
    "to_csv",
    "to_parquet",
    "to_excel",
    "savefig",
    "savez",
    "imread",
    "imwrite",
)
"""How the names of calls begin that read or write files."""

VAGUE = {"utils", "util", "helpers", "misc", "common"}


class Source:
    """One parsed file; ``name`` is its path relative to the project's folder."""

    def __init__(self, path: Path, root: Path = ROOT) -> None:
        text = path.read_text("utf-8")
        self.name = path.relative_to(root).as_posix()
        self.lines = text.count("\n")
        self.nodes = list(ast.walk(ast.parse(text, str(path))))

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        """Yield each call with its dotted name, "?" in place of anything that is no plain name."""
        return ((dotted(node.func), node) for node in self.nodes if isinstance(node, ast.Call))


def dotted(node: ast.expr) -> str:
    """Return the dotted name of an expression."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def pickle_calls(source: Source) -> Iterator[str]:
    """Calls that read or write pickles, and numpy's switch that allows them."""
    for name, call in source.calls():
        if {name, name.rpartition(".")[2]} & PICKLING:
            yield f"{source.name}:{call.lineno} calls {name}"
        for keyword in call.keywords:
            is_off = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if keyword.arg == "allow_pickle" and not is_off:
                yield f"{source.name}:{call.lineno} allows pickle"


def file_calls(source: Source) -> Iterator[str]:
    """Calls of ``cadnet/evaluation`` that read or write a file."""
    if source.name.startswith("cadnet/evaluation/"):
        for name, call in source.calls():
            if name.rpartition(".")[2].startswith(FILE_CALLS) or name in ("np.load", "np.save"):
                yield f"{source.name}:{call.lineno} calls {name}"


def prints(source: Source) -> Iterator[str]:
    """Calls of ``print`` in the library."""
    if source.name.startswith("cadnet/"):
        yield from (f"{source.name}:{call.lineno}" for name, call in source.calls() if name == "print")


def vague_names(source: Source) -> Iterator[str]:
    """Files and folders with a name that says nothing."""
    if VAGUE & set(Path(source.name).with_suffix("").parts):
        yield source.name


def long_parts(source: Source) -> Iterator[str]:
    """Files and functions that are too long."""
    if source.lines > FILE_LINES:
        yield f"{source.name} has {source.lines} lines, not {FILE_LINES}"
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"{source.name}:{node.lineno} {node.name}: {lines} lines"


CHECKS: tuple[Callable[[Source], Iterator[str]], ...] = (
    pickle_calls, file_calls, prints, vague_names, long_parts,
)  # fmt: skip


@pytest.fixture(scope="module")
def faults() -> dict[str, list[str]]:
    """What each check finds in the project, by the check's name."""
    found: dict[str, list[str]] = {check.__name__: [] for check in CHECKS}
    paths = [path for folder in PACKAGES for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(paths) > 200
    for path in paths:
        source = Source(path)
        for check in CHECKS:
            found[check.__name__] += check(source)
    return found


@pytest.mark.parametrize("check", [check.__name__ for check in CHECKS])
def test_sources_keep_the_rule(check: str, faults: dict[str, list[str]]) -> None:
    assert faults[check] == []


@pytest.mark.parametrize(
    ("check", "name", "text", "faults"),
    [
        (pickle_calls, "cadnet/models/a.py", "torch.load(p, weights_only=True)", 1),
        (pickle_calls, "cadnet/models/a.py", "torch.save(x, p)", 1),
        (pickle_calls, "tests/a.py", "def f():\n    Task.load_from_checkpoint(p)\n    frame.to_pickle(p)", 2),
        (pickle_calls, "pipelines/a.py", "np.load(p, allow_pickle=True), np.load(p, allow_pickle=flag)", 2),
        (pickle_calls, "pipelines/a.py", "np.load(p, allow_pickle=False), load_file(p)", 0),
        (file_calls, "cadnet/evaluation/a.py", "open('a'), pd.read_csv(a), table.to_csv(a), np.load(a)", 4),
        (file_calls, "cadnet/evaluation/a.py", "table.to_dict()", 0),
        (file_calls, "cadnet/reporting/a.py", "open('a')", 0),
        (prints, "cadnet/losses/a.py", "def f():\n    print(1)", 1),
        (prints, "bench/a.py", "print(1)", 0),
        (vague_names, "cadnet/utils/a.py", "", 1),
        (vague_names, "pipelines/helpers.py", "", 1),
        (vague_names, "cadnet/utilities.py", "", 0),
        (long_parts, "cadnet/a.py", "def f():\n" + "    x = 1\n" * FUNCTION_LINES, 1),
        (long_parts, "cadnet/a.py", "def f():\n" + "    x = 1\n" * (FUNCTION_LINES - 1), 0),
        (long_parts, "cadnet/a.py", "x = 1\n" * (FILE_LINES + 1), 1),
        (long_parts, "cadnet/a.py", "x = 1\n" * FILE_LINES, 0),
    ],
)  # fmt: skip
def test_a_check_finds_a_planted_violation(
    check: Callable[[Source], Iterator[str]], name: str, text: str, faults: int, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(text, "utf-8")
    assert len(list(check(Source(path, tmp_path)))) == faults


def lint_imports(folder: Path) -> str:
    """Run import-linter on the packages in ``folder`` and return what it prints."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"]
    environment = os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True).stdout


def test_imports_keep_the_contracts() -> None:
    output = lint_imports(ROOT)
    assert re.search(r"Contracts: \d+ kept, 0 broken", output), output


PLANTED = {
    "packages": ("cadnet.files", "import pipelines.trials"),
    "layers": ("cadnet.datasets", "def f():\n    from ..training import fit"),
    "results-only": ("cadnet.reporting", "from cadnet.training import fit"),
    "networks": ("cadnet.losses", "from cadnet import datasets"),
    "values-only": ("cadnet.evaluation", "from pathlib import Path"),
    "prefect": ("pipelines.trials", "from prefect import flow"),
    "mlflow": ("pipelines.trials", "import mlflow.pytorch"),
    "great-expectations": ("pipelines.stages", "import great_expectations as gx"),
    "dvc": ("pipelines.stages", "import dvc.api"),
    "pickle": ("cadnet.tracking", "def f():\n    import pickle"),
}
"""A violation of each contract: the module or package it is planted in, and its source."""


def test_each_contract_finds_a_planted_violation(tmp_path: Path) -> None:
    settings = (ROOT / "pyproject.toml").read_text("utf-8")
    linter = tomllib.loads(settings)["tool"]["importlinter"]
    assert {contract["id"] for contract in linter["contracts"]} == set(PLANTED)
    (tmp_path / "pyproject.toml").write_text(settings, "utf-8")
    for path in (path for package in linter["root_packages"] for path in (ROOT / package).rglob("*.py")):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.touch()
    for module, text in PLANTED.values():
        path = tmp_path.joinpath(*module.split("."))
        with (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).open("a") as file:
            file.write(f"{text}\n")
    output = lint_imports(tmp_path)
    assert f"Contracts: 0 kept, {len(PLANTED)} broken" in output, output
