"""DVC names stages and files as the code does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from cadnet.config import ProjectParams, load_params
from pipelines.flows.commands import environment
from pipelines.flows.project import Graph, read_graph
from pipelines.profile import compose
from pipelines.trials import (
    ablation_trials,
    candidate_folder,
    cross_trials,
    dataset_folder,
    gate_folder,
    product_folder,
    registration_file,
    semi_trials,
    training_stage,
    trials,
    validation_folder,
    validation_stage,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph alone, with all grids on."""
    folder = tmp_path_factory.mktemp("graph")
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text("[core]\n    no_scm = true\n", "utf-8")
    shutil.copyfile(ROOT / "dvc.yaml", folder / "dvc.yaml")
    params = yaml.safe_load(compose("ci", ROOT / "params"))
    params["semi"] |= {"methods": ["cadnet", "segformer"], "unlabelled": 0.0}
    params["semi"]["fractions"] = [0.05, 0.1, 0.15, 0.3333, 1.0]
    (folder / "params.yaml").write_text(yaml.safe_dump(params), "utf-8")
    return folder


@pytest.fixture(scope="module")
def params(project: Path) -> ProjectParams:
    return load_params(project / "params.yaml")


@pytest.fixture(scope="module")
def graph(project: Path) -> Graph:
    return read_graph(project)


def outputs(folder: Path) -> set[str]:
    """What all stages together write."""
    command = ["dvc", "dag", "--dot", "--outs"]
    dot = subprocess.check_output(command, cwd=folder, env=environment(folder), text=True)
    return set(re.findall(r'^"([^"]+)";$', dot, re.MULTILINE))


def test_every_trial_has_the_stages_that_the_code_names(graph: Graph, params: ProjectParams) -> None:
    few = semi_trials(params)
    assert len(few) == 2 * 6
    everything = [*trials(params), *ablation_trials(params), *cross_trials(params), *few]
    assert {training_stage(trial, params) for trial in everything} <= set(graph.needs)
    assert {validation_stage(name) for name in params.prepare} <= set(graph.needs)
    kinds = [stage.split("@")[0] for stage in graph.needs]
    assert kinds.count("finetune") == kinds.count("evaluate-finetuned") == 2 * 5
    assert kinds.count("pretrain") == kinds.count("evaluate-pretrained") == 2


def test_every_trial_has_the_files_that_the_code_names(project: Path, params: ProjectParams) -> None:
    scored = [*trials(params), *ablation_trials(params), *cross_trials(params), *semi_trials(params)]
    named = {str(path(name)) for name in params.prepare for path in (dataset_folder, validation_folder)}
    for trial in scored:
        named |= {str(trial.model), str(trial.history)}
        named |= {str(trial.metrics), str(trial.curves), str(trial.evaluation)}
    for name in params.products:
        named |= {
            str(path(name)) for path in (candidate_folder, product_folder, registration_file, gate_folder)
        }
    written = outputs(project)
    assert written - named == {"reports/index.html", "reports/plots", "reports/tables"}
    assert named <= written


def test_what_is_fine_tuned_was_pretrained_on_the_other_dataset(graph: Graph) -> None:
    assert graph.needs["pretrain@cadnet-0"] == {"prepare@synlcd-abpt", "validate@synlcd-abpt"}
    assert graph.needs["finetune@cadnet-0.05-0"] == {
        "prepare@synlcd-line", "validate@synlcd-line", "pretrain@cadnet-0",
    }  # fmt: skip
    assert graph.needs["evaluate-pretrained@cadnet-0"] == {
        "prepare@synlcd-line", "prepare@synlcd-abpt", "pretrain@cadnet-0",
    }  # fmt: skip
    assert graph.needs["evaluate-finetuned@cadnet-0.05-0"] == {
        "prepare@synlcd-line",
        "finetune@cadnet-0.05-0",
    }
    assert {"pretrain@cadnet-0", "evaluate-finetuned@cadnet-0.05-0"} <= graph.needs["report"]


def test_grids_that_are_off_have_no_stages(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "off")
    params = yaml.safe_load((project / "params.yaml").read_text("utf-8"))
    for grid in ("ablation", "cross", "semi"):
        params[grid]["methods"] = []
    params["products"] = {}
    (tmp_path / "off/params.yaml").write_text(yaml.safe_dump(params), "utf-8")
    kinds = {stage.split("@")[0] for stage in read_graph(tmp_path / "off").needs}
    assert kinds == {"prepare", "validate", "train", "evaluate", "report"}
