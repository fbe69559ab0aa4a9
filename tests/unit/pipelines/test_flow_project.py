"""What is asked of DVC: the graph, what has changed, who holds its locks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import networkx as nx
import pytest

from pipelines.flows.commands import StageError
from pipelines.flows.project import Graph, forget_locks, read_graph, read_project, stage_kind
from tests.integration.shell_project import make_shell_project, shell_environment

DIGEST = "0" * 32 + ".dir"


def graph_of(needs: Mapping[str, Sequence[str]]) -> Graph:
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(needs)
    graph.add_edges_from((before, name) for name, befores in needs.items() for before in befores)
    return Graph(graph)


GRAPH = graph_of(
    {
        "report": ["evaluate@a-x-0"],
        "data.dvc": [],
        "other.dvc": [],
        "prepare@a": ["data.dvc"],
        "train@a-x-0": ["prepare@a"],
        "evaluate@a-x-0": ["prepare@a", "train@a-x-0"],
        "prepare@b": ["data.dvc"],
        "train@b": ["prepare@b"],
    }
)


def test_stages_are_in_an_order_that_can_be_run_and_files_are_no_stages() -> None:
    assert list(GRAPH.needs) == [
        "prepare@a",
        "train@a-x-0",
        "evaluate@a-x-0",
        "report",
        "prepare@b",
        "train@b",
    ]
    assert GRAPH.needs["evaluate@a-x-0"] == {"prepare@a", "train@a-x-0"}
    assert GRAPH.needs["prepare@a"] == set()
    assert GRAPH.inputs == {"data.dvc"}
    assert graph_of({}).needs == {}


def test_what_needs_a_stale_stage_runs_too() -> None:
    assert GRAPH.with_descendants({"train@a-x-0"}).needs == {
        "train@a-x-0": set(),
        "evaluate@a-x-0": {"train@a-x-0"},
        "report": {"evaluate@a-x-0"},
    }
    assert GRAPH.with_descendants({"prepare@a", "train@b"}).needs.keys() == GRAPH.needs.keys() - {"prepare@b"}
    assert GRAPH.with_descendants({"unknown", "data.dvc"}).needs == {}


def test_what_a_stage_needs_runs_before_it() -> None:
    assert GRAPH.with_ancestors({"evaluate@a-x-0", "train@b"}).needs == {
        "prepare@a": set(),
        "train@a-x-0": {"prepare@a"},
        "evaluate@a-x-0": {"prepare@a", "train@a-x-0"},
        "prepare@b": set(),
        "train@b": {"prepare@b"},
    }
    assert GRAPH.with_ancestors(set()).needs == {}


@pytest.mark.parametrize(
    ("stage", "kind"),
    [
        ("validate@my-board", "validate"),
        ("train@d-m-0", "train"),
        ("train-ablation@d-m-s", "train"),
        ("evaluate-cross@d-t-m-s", "evaluate"),
        ("report", "report"),
        ("pretrain@m-0", "train"),
        ("finetune@m-x-0.05-0", "train"),
        ("evaluate-finetuned@m-0.05-0", "evaluate"),
    ],
)
def test_the_kind_of_a_stage_is_what_its_module_does(stage: str, kind: str) -> None:
    assert stage_kind(stage) == kind


def test_a_project_of_dvc_is_read_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in shell_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    make_shell_project(tmp_path)
    lock = tmp_path / "dvc.lock"
    outs = [{"path": "page", "hash": "md5", "md5": "1" * 32}]
    stage = {"cmd": "x", "deps": [{"path": "scores", "hash": "md5", "md5": DIGEST}], "outs": outs}
    lock.write_text(json.dumps({"schema": "2.0", "stages": {"report": stage}}))
    (tmp_path / "raw").write_text("changed\n")
    project = read_project(tmp_path)
    assert project.graph.needs["evaluate-ablation@y"] == {"train@y"}
    assert project.graph.needs["report"] == {f"evaluate-ablation@{name}" for name in "xyz"}
    assert project.graph.inputs == {"raw.dvc"}
    assert project.changed.keys() == project.graph.needs.keys() | {"raw.dvc"}
    assert project.changed["raw.dvc"] == {"raw": "modified"}
    assert project.changed["report"] == {"scores": "deleted", "page": "not in cache"}
    assert (project.tracked["raw.dvc"][0], project.used["report"]) == ("raw", {"scores": DIGEST})
    (tmp_path / "dvc.yaml").write_text("stages: [")
    with pytest.raises(StageError, match=r"DVC cannot read the project in .*dvc\.yaml"):
        read_graph(tmp_path)
    (tmp_path / "none").mkdir()
    (tmp_path / ".dvc").rename(tmp_path / "dvc")
    with pytest.raises(StageError, match="not inside of a DVC repository"):
        read_graph(tmp_path / "none")
    (tmp_path / "dvc").rename(tmp_path / ".dvc")
    (tmp_path / ".dvc/config").unlink()
    with pytest.raises(StageError, match=r"is not a git repository; .*dvc config --local core\.no_scm true"):
        read_graph(tmp_path)


def test_dvc_forgets_locks_of_processes_that_are_no_commands_of_its(tmp_path: Path) -> None:
    forget_locks(tmp_path)
    path = tmp_path / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(parents=True)
    code = "import time; print('on', flush=True); time.sleep(60)"
    running = subprocess.Popen([sys.executable, "-c", code, "dvc"], stdout=subprocess.PIPE)
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd="/")
    assert running.stdout is not None
    assert running.stdout.readline() == b"on\n"
    try:
        # The second process stands for one that got the number of a killed command.
        locks = {
            "write": {"a": {"pid": other.pid}},
            "read": {"d": [{"pid": other.pid}, {"pid": running.pid}]},
        }
        path.write_text(json.dumps(locks))
        forget_locks(tmp_path)
        assert json.loads(path.read_text()) == locks
        path.write_text(json.dumps({"write": {"a": {"pid": other.pid}}, "read": {}}))
        forget_locks(tmp_path)
        assert not path.exists()
    finally:
        for process in (running, other):
            process.kill()
            process.communicate()
    for damaged in ("{", "[]", '{"write": {}}'):
        path.write_text(damaged)
        forget_locks(tmp_path)
        assert path.read_text() == damaged
