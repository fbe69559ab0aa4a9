from pathlib import Path

import pytest

from pipelines.flows.commands import StageError
from pipelines.flows.dag import (
    parse_dag,
    parse_inputs,
    parse_status,
    read_changed,
    read_graph,
    stage_kind,
    with_ancestors,
    with_descendants,
)

DOT = """strict digraph {
"report";
"data.dvc";
"prepare@a";
"train@a-x-0";
"evaluate@a-x-0";
"data.dvc" -> "prepare@a";
"prepare@a" -> "train@a-x-0";
"prepare@a" -> "evaluate@a-x-0";
"train@a-x-0" -> "evaluate@a-x-0";
"evaluate@a-x-0" -> "report";
}
"""


def test_parse_dag_orders_stages_and_leaves_out_tracked_files() -> None:
    needs = parse_dag(DOT)
    assert list(needs) == ["prepare@a", "train@a-x-0", "evaluate@a-x-0", "report"]
    assert needs == {
        "prepare@a": set(),
        "train@a-x-0": {"prepare@a"},
        "evaluate@a-x-0": {"prepare@a", "train@a-x-0"},
        "report": {"evaluate@a-x-0"},
    }


def test_parse_dag_knows_stages_that_stand_alone_or_only_in_arrows() -> None:
    assert parse_dag('digraph {\n"alone";\n"a" -> "b";\n}') == {"alone": set(), "a": set(), "b": {"a"}}
    assert parse_dag("strict digraph {\n}\n") == {}
    assert parse_dag('digraph {\n"data.dvc";\n}') == {}


@pytest.mark.parametrize(
    ("stage", "kind"),
    [
        ("prepare@d", "prepare"),
        ("validate@my-board", "validate"),
        ("train@d-m-0", "train"),
        ("train-ablation@d-m-s", "train"),
        ("evaluate-cross@d-t-m-s", "evaluate"),
        ("report", "report"),
        ("pretrain@m-0", "train"),
        ("finetune@m-x-0.05-0", "train"),
        ("evaluate-pretrained@m-0", "evaluate"),
        ("evaluate-finetuned@m-0.05-0", "evaluate"),
    ],
)
def test_the_kind_of_a_stage_is_what_its_module_does(stage: str, kind: str) -> None:
    assert stage_kind(stage) == kind


def test_inputs_are_the_tracked_files_that_stages_read() -> None:
    assert parse_inputs(DOT) == {"data.dvc"}
    assert parse_inputs('digraph {\n"other.dvc";\n"a" -> "b";\n}') == set()


def test_parse_status_names_what_has_changed() -> None:
    changed = """{"prepare@a": [{"changed deps": {"data": "modified", "params.yaml": {"seed": "modified"}}},
        {"changed outs": {"datasets/a": "deleted"}}, "changed command"], "report": ["always changed"],
        "data.dvc": [{"changed outs": {"data": "modified"}}]}"""
    assert parse_status(changed) == {
        "prepare@a": {"data": "modified", "datasets/a": "deleted"},
        "report": {},
        "data.dvc": {"data": "modified"},
    }
    assert parse_status("{}\n") == {}


@pytest.mark.parametrize("text", ["", "Data and pipelines are up to date.", '["train@a"]'])
def test_a_status_that_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(StageError, match="dvc status --json gave no"):
        parse_status(text)


def test_what_needs_a_stale_stage_runs_too_in_order() -> None:
    needs = parse_dag(DOT) | {"prepare@b": set(), "train@b": {"prepare@b"}}
    chosen = with_descendants(needs, {"train@a-x-0"})
    assert list(chosen) == ["train@a-x-0", "evaluate@a-x-0", "report"]
    assert chosen == {
        "train@a-x-0": set(),
        "evaluate@a-x-0": {"train@a-x-0"},
        "report": {"evaluate@a-x-0"},
    }
    assert with_descendants(needs, {"prepare@a", "train@b"}).keys() == needs.keys() - {"prepare@b"}
    assert with_descendants(needs, set()) == {}
    assert with_descendants(needs, {"unknown"}) == {}


def test_what_a_stage_needs_is_chosen_in_order() -> None:
    needs = parse_dag(DOT) | {"prepare@b": set(), "train@b": {"prepare@b"}}
    assert with_ancestors(needs, {"evaluate@a-x-0", "train@b"}) == {
        "prepare@a": set(),
        "train@a-x-0": {"prepare@a"},
        "evaluate@a-x-0": {"prepare@a", "train@a-x-0"},
        "prepare@b": set(),
        "train@b": {"prepare@b"},
    }
    assert list(with_ancestors(needs, {"report"})) == ["prepare@a", "train@a-x-0", "evaluate@a-x-0", "report"]
    assert with_ancestors(needs, set()) == {}


@pytest.mark.parametrize("question", [read_graph, read_changed])
def test_a_project_that_dvc_cannot_read(question: object, tmp_path: Path) -> None:
    assert callable(question)
    with pytest.raises(StageError, match=r"dvc \w+ --\w+ failed: .*not inside of a DVC repository"):
        question(tmp_path)
