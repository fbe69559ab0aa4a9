"""DVC reruns a stage when code that decides its results changes: its ``deps`` hold all it imports."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml

from pipelines.stages import pretrain, train

ROOT = Path(__file__).parents[2]
STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))["stages"]
GRAPH = grimp.build_graph("cadnet", "pipelines", cache_dir=None)

EXEMPT = {
    "cadnet.config": "parameters count by their values, and a new one must not train everything again",
    "cadnet.files": "atomic writing and digests",
    "cadnet.signals": "how a command ends by Ctrl-C",
    "cadnet.types": "contracts; a change of them changes the code on both sides",
    "cadnet.tracking": "the record of a run, except what is listed by name",
    "cadnet.writing.progress": "the progress bar",
    "pipelines.trials": "names of files and stages, which dvc.yaml repeats",
    "pipelines.stages.command": "the command line",
}
"""Modules and packages that decide no result, and why; what only they import does not count either."""


def block(stage: str) -> dict[str, Any]:
    return STAGES[stage].get("do", STAGES[stage])


def module_of(stage: str) -> str:
    """The module that the stage's command runs."""
    words = block(stage)["cmd"].split()
    assert words[:2] == ["python", "-m"]
    return words[2]


def file_of(module: str) -> str:
    path = Path(*module.split("."))
    return (path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py")).as_posix()


def covered(path: str, deps: Iterable[str]) -> bool:
    return any(path == dep or path.startswith(f"{dep}/") for dep in deps)


def exempt(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in EXEMPT)


def closure(module: str, graph: grimp.ImportGraph = GRAPH, deps: Iterable[str] = ()) -> set[str]:
    """All that a module imports, directly or not, without what is exempt and not named by ``deps``."""
    found, todo = {module}, [module]
    while todo:
        for imported in graph.find_modules_directly_imported_by(todo.pop()) - found:
            if not exempt(imported) or file_of(imported) in deps:
                found.add(imported)
                todo.append(imported)
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_it_imports(stage: str) -> None:
    deps = block(stage)["deps"]
    imported = {file_of(name) for name in closure(module_of(stage), deps=deps)}
    missing = {path for path in imported if not path.endswith("__init__.py") and not covered(path, deps)}
    assert missing == set(), f"add them to the deps of {stage} in dvc.yaml, or to EXEMPT with a reason"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_no_code_it_does_not_use(stage: str) -> None:
    deps = [dep for dep in block(stage)["deps"] if dep.startswith(("cadnet/", "pipelines/"))]
    imported = {file_of(name) for name in closure(module_of(stage), deps=deps)}
    # Templates and the script that MLflow runs are no imports.
    code = [dep for dep in deps if not dep.endswith(".j2") and "product_model" not in dep]
    assert [dep for dep in code if not any(covered(path, [dep]) for path in imported)] == []
    assert [dep for dep in deps if not (ROOT / dep).exists()] == []


def test_a_dependency_that_is_left_out_is_seen() -> None:
    deps = set(block("register")["deps"]) - {"pipelines/stages/scoring.py"}
    imported = {file_of(name) for name in closure("pipelines.stages.register", deps=deps)}
    assert {path for path in imported if path.endswith("scoring.py") and not covered(path, deps)}


@pytest.mark.parametrize(
    ("stage", "code"), [("train", train.CODE), ("finetune", (*train.CODE, *pretrain.CODE))]
)
def test_fingerprints_cover_the_librarys_code_that_a_training_depends_on(
    stage: str, code: Iterable[str]
) -> None:
    files = {path for pattern in code for path in (ROOT / "cadnet").glob(pattern)}
    deps = [ROOT / dep for dep in block(stage)["deps"] if dep.startswith("cadnet/")]
    needed = {file for dep in deps for file in ([dep] if dep.is_file() else dep.rglob("*.py"))}
    assert len(deps) > 4 and needed - files == set()
