"""Which studies the ablation's trials allow, and what their rows are."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from cadnet.config import MethodParams, ProjectParams, load_params
from cadnet.evaluation.gate import Check, Decision
from cadnet.files import write_json
from cadnet.models.factory import build_model
from cadnet.models.weights import save_weights
from cadnet.reporting.gate import Acceptance, Choice, GateRecord
from cadnet.tracking import Tracker
from cadnet.tracking.store import resolve_store
from cadnet.tracking.trials import TAG_KIND
from pipelines.stages.evaluate import evaluate, open_scored
from pipelines.stages.report import report
from pipelines.stages.studies import Variant, cross_test, studies_of
from pipelines.trials import (
    DECISION,
    TrialName,
    ablation_trials,
    cross_trials,
    gate_folder,
    semi_trials,
    trained_on,
    trials,
)
from tests.fakes import write_fake_dataset

BASE = MethodParams(
    title="CADNet", model="cadnet", recipe="transformer", options={"decoder": "add"}, loss="ce+bcl",
    contrastive_weight=0.02,
)  # fmt: skip


def variant(**changes: object) -> Variant:
    return Variant("some", BASE.model_copy(update={"title": "other", **changes}))


@pytest.mark.parametrize(
    ("changes", "flags"),
    [
        (
            {"loss": "ce", "contrastive_weight": 0.0, "options": {"decoder": "none"}},
            (True, False, False, False),
        ),
        ({"loss": "ce+cl", "options": {"decoder": "none"}}, (True, True, False, False)),
        ({"options": {"decoder": "none"}}, (True, False, True, False)),
        ({}, (True, False, True, True)),
        ({"options": {}}, (True, False, True, True)),
        # A loss of weight 0 is none.
        ({"contrastive_weight": 0.0}, (True, False, False, True)),
    ],
)
def test_flags_are_the_columns_of_table_7(changes: dict[str, object], flags: tuple[bool, ...]) -> None:
    assert variant(**changes).flags == flags


def test_a_study_varies_one_thing() -> None:
    base = Variant("cadnet", BASE)
    assert variant(options={"decoder": "multiply"}).differs_only_in(base, "decoder")
    assert variant(contrastive_weight=1.0).differs_only_in(base, "contrastive_weight")
    assert not variant(contrastive_weight=1.0).differs_only_in(base, "decoder")
    assert not variant(options={"decoder": "none"}, loss="ce").differs_only_in(base, "decoder")


GATE = GateRecord(
    product="screen",
    model="cadnet-screen",
    version=1,
    champion=None,
    decision=Decision((Check("latency", True, "5 ms", "at most 9 ms"),)),
    acceptance=Acceptance("kept", "val", "ab" * 32, 60, 40),
    choice=Choice("synlcd/cadnet/s0", "CADNet", "val_miou", {"synlcd/cadnet/s0": 0.5}, 0.4, "as it was set"),
    scale="test",
    device="CPU",
    decided="2026-01-02T03:04:05+00:00",
)


def finish(trial: TrialName, params: ProjectParams) -> None:
    """Random weights where training would put them, a history, and a true evaluation."""
    method = params.methods[trial.method]
    torch.manual_seed(trial.seed)
    learnt = trained_on(trial, params)
    dataset = open_scored(trial, learnt)
    metadata = {
        "fingerprint": f"{trial.path.as_posix():f<64}", "method": trial.method, "seed": trial.seed,
        "dataset": {"name": learnt, "digest": dataset.digest},
    }  # fmt: skip
    network = build_model(method.model, dataset.num_classes, **method.options)
    save_weights(
        trial.model, network, name=method.model, num_classes=dataset.num_classes, options=method.options,
        class_names=dataset.classes, metadata=metadata,
    )  # fmt: skip
    trial.history.parent.mkdir(parents=True, exist_ok=True)
    rows = {"epoch": [1, 2], "loss": [1.0, 0.5], "val_miou": [0.1, 0.3], "train_seconds": [1.0, 1.0]}
    pd.DataFrame(rows).to_csv(trial.history, index=False)
    evaluate(trial, params)


@pytest.fixture
def params(project: Path) -> ProjectParams:
    """The smoke test's grids with two further variants, all trials finished from random weights."""
    path = project / "params.yaml"
    values = yaml.safe_load(path.read_text("utf-8"))
    base = values["methods"]["cadnet"]
    values["methods"]["cadnet-multiply"] = base | {"title": "multiply", "options": {"decoder": "multiply"}}
    values["methods"]["cadnet-lambda"] = base | {"title": "weight 1", "contrastive_weight": 1.0}
    values["ablation"]["methods"] += ["cadnet-multiply", "cadnet-lambda"]
    path.write_text(yaml.safe_dump(values), "utf-8")
    loaded = load_params(path)
    for seed, name in enumerate(("synlcd-line", "synlcd-abpt")):
        write_fake_dataset(project / "datasets" / name, seed=seed + 1)
    for trial in (*trials(loaded), *ablation_trials(loaded), *cross_trials(loaded), *semi_trials(loaded)):
        finish(trial, loaded)
    write_json(gate_folder("screen") / DECISION, GATE.to_dict())
    return loaded


def test_the_ablation_gives_three_studies_and_the_cross_grid_four_pairs(params: ProjectParams) -> None:
    studies = {study.name: study for study in studies_of("synlcd", params)}
    assert list(studies) == ["ablation", "decoder", "lambda"]
    ablation = studies["ablation"]
    assert list(ablation.factors) == ["CE", "CADNet"] and ablation.base == "CADNet"
    assert ablation.factors["CE"] == {"CE": "✓", "CL": "", "BCL": "", "CAD": ""}
    assert ablation.factors["CADNet"] == {"CE": "✓", "CL": "", "BCL": "✓", "CAD": "✓"}
    assert [run.title for run in ablation.runs] == ["CE", "CADNet"]
    assert ablation.published is not None
    assert ablation.published.loc["CADNet", "miou"] == 83.78
    assert ablation.published.loc["CE", "miou"] == 78.61
    assert set(ablation.differences) == {"CE"}
    difference = ablation.differences["CE"]
    scores = {run.title: run.result.metrics.miou or 0.0 for run in ablation.runs}
    assert difference.observed == pytest.approx(scores["CADNet"] - scores["CE"])
    assert studies["decoder"].factors == {"multiply": {"decoder": "multiply"}, "CADNet": {"decoder": "add"}}
    assert studies["lambda"].axis is not None
    assert studies["lambda"].axis[1] == {"CADNet": 0.02, "weight 1": 1.0}

    cross = cross_test(params)
    assert cross is not None
    assert cross.short == {"line": "L", "abpt": "A"}
    assert set(cross.runs) == {("line", "line"), ("line", "abpt"), ("abpt", "line"), ("abpt", "abpt")}
    same, crossed = cross.runs["line", "line"][0], cross.runs["line", "abpt"][0]
    # One training, two test splits.
    assert same.title == crossed.title == "CADNet"
    assert same.result != crossed.result


def test_without_an_ablation_there_is_no_study(project: Path) -> None:
    params = load_params(project / "params.yaml")
    off = params.model_copy(
        update={name: params.ablation.model_copy(update={"methods": ()}) for name in ("ablation", "cross")}
    )
    assert studies_of("synlcd", off) == []
    assert cross_test(off) is None


def test_the_report_shows_and_records_every_table(
    params: ProjectParams, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CADNET_TRACKING")
    report(params)
    page = Path("reports/index.html").read_text("utf-8")
    for study in studies_of("synlcd", params):
        assert study.title in page
        assert f"tables/synlcd-{study.name}.csv" in page
    assert "Registered products" in page and "cadnet-screen version 1 is champion" in page
    assert "Cross-testing" in page and "Few labels: abpt known, line new" in page
    tables = {path.name for path in Path("reports/tables").iterdir()}
    assert tables >= {
        "synlcd.csv", "synlcd-ablation.csv", "synlcd-decoder.csv", "synlcd-lambda.csv", "cross.csv",
        "synlcd.md", "synlcd-ablation.md", "synlcd-decoder.md", "synlcd-lambda.md", "cross.md",
        "few-labels.csv", "few-labels.md",
    }  # fmt: skip
    tracker = Tracker(resolve_store(".", "sqlite:///mlflow.db"))
    wanted = {
        "cadnet/synlcd/supervised": "synlcd.md", "cadnet/synlcd/ablation": "synlcd-ablation.md",
        "cadnet/synlcd-line/cross": "cross.md", "cadnet/synlcd-abpt/cross": "cross.md",
        "cadnet/synlcd-line/semi": "few-labels.md",
    }  # fmt: skip
    for experiment, table in wanted.items():
        (parent,) = tracker.find_runs(experiment, {TAG_KIND: "parent"})
        assert parent.tags["mlflow.note.content"] == (Path("reports/tables") / table).read_text("utf-8")
        logged = tracker.find_run(parent.run_id).download("tables", tmp_path / experiment)
        assert (logged / table).is_file() and (logged / "results.json").is_file()
