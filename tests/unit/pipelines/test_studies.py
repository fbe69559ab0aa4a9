"""Which studies the ablation's trials allow, and what their rows are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from cadnet.config import MethodParams, ProjectParams, Recipe, load_params
from cadnet.evaluation.gate import Check, Decision
from cadnet.files import read_json, write_json
from cadnet.models.factory import build_model
from cadnet.models.weights import save_weights
from cadnet.reporting.gate import Acceptance, Choice, GateRecord
from cadnet.tracking import Tracker
from cadnet.tracking.store import resolve_store
from cadnet.tracking.trials import TAG_KIND
from pipelines.stages.evaluate import evaluate, open_scored
from pipelines.stages.report import (
    Variant,
    kind_names,
    letters_of,
    methods_of,
    report,
    studies_of,
    supervised_trials,
)
from pipelines.stages.report_trials import TrialReader
from pipelines.stages.sheets import label_sheet, study_maps
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
from tests.stage_project import enter, make_project

pytestmark = pytest.mark.slow

BASE = MethodParams(
    title="CADNet", model="cadnet", family="transformer",
    recipe=Recipe(optimizer="adamw", lr=0.004, weight_decay=0.01, schedule="cosine"),
    options={"decoder": "add"}, loss="ce+bcl", contrastive_weight=0.02,
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
    dataset = open_scored(trial, learnt, params)
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


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke test's grids with two further variants, all trials finished from random weights."""
    project = tmp_path_factory.mktemp("scored")
    make_project(project)
    path = project / "params.yaml"
    values = yaml.safe_load(path.read_text("utf-8"))
    base = values["methods"]["cadnet"]
    values["methods"]["cadnet-multiply"] = base | {"title": "multiply", "options": {"decoder": "multiply"}}
    values["methods"]["cadnet-lambda"] = base | {"title": "weight 1", "contrastive_weight": 1.0}
    values["cross"]["methods"] += ["cadnet-few"]
    values["ablation"]["methods"] += ["cadnet-multiply", "cadnet-lambda"]
    path.write_text(yaml.safe_dump(values), "utf-8")
    for seed, name in enumerate(("synlcd-line", "synlcd-abpt")):
        write_fake_dataset(project / "datasets" / name, seed=seed + 1)
    with pytest.MonkeyPatch.context() as patch:
        enter(project, patch)
        loaded = load_params(path)
        for trial in (*trials(loaded), *ablation_trials(loaded), *cross_trials(loaded), *semi_trials(loaded)):
            finish(trial, loaded)
        write_json(gate_folder("screen") / DECISION, GATE.to_dict())
    return project


@pytest.fixture
def params(scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectParams:
    """Of a copy of that project, in which this process then is."""
    shutil.copytree(scored, tmp_path / "project", copy_function=os.link)
    return load_params(enter(tmp_path / "project", monkeypatch) / "params.yaml")


def test_the_ablation_allows_three_studies(params: ProjectParams) -> None:
    reference, studies = studies_of("synlcd", params)
    found = {study.name: study for study in studies}
    assert reference == "cadnet" and list(found) == ["ablation", "decoder", "lambda"]
    ablation = found["ablation"]
    assert ablation.factors == {
        "cadnet-ce": {"CE": "✓", "CL": "", "BCL": "", "CAD": ""},
        "cadnet": {"CE": "✓", "CL": "", "BCL": "✓", "CAD": "✓"},
    }
    assert ablation.published is not None
    assert ablation.published["miou"].to_dict() == {"cadnet-ce": 78.61, "cadnet": 83.78}
    assert found["decoder"].factors == {
        "cadnet-multiply": {"decoder": "multiply"},
        "cadnet": {"decoder": "add"},
    }
    assert found["lambda"].axis is not None
    assert found["lambda"].axis[1] == {"cadnet": 0.02, "cadnet-lambda": 1.0}
    off = params.ablation.model_copy(update={"methods": ()})
    assert studies_of("synlcd", params.model_copy(update={"ablation": off})) == ("", [])


def test_trials_are_read_with_their_keys(params: ProjectParams) -> None:
    reader = TrialReader(params)
    grid = cross_trials(params)
    found = reader.read(grid, "cross")
    pairs = {(trial.trained_on, trial.tested_on): trial for trial in found if trial.method == "cadnet"}
    assert set(pairs) == {(a, b) for a in params.cross.datasets for b in params.cross.datasets}
    same, crossed = pairs["synlcd-line", "synlcd-line"], pairs["synlcd-line", "synlcd-abpt"]
    # One training, two test splits.
    assert same.method == crossed.method == "cadnet"
    assert same.history is not None and crossed.history is not None and same.history.equals(crossed.history)
    assert same.result != crossed.result
    # A network that knows one class is scored on all defects as one, and compared with the others on that.
    assert {trial.result.class_names for trial in found if trial.method == "cadnet-few"} == {("defect",)}
    assert set(same.result.class_names) == {"line", "abpt"}
    few = reader.read(semi_trials(params), "few-label")
    assert {trial.trained_on for trial in few if trial.fraction == 0} == {params.semi.pretrain}
    assert all("iou_defect_validated" in trial.validated or not trial.counts.confusion.any() for trial in few)
    assert methods_of(few, params).reference == "cadnet-few"
    names = kind_names(params.cross.datasets, params)
    assert letters_of(names) == {"synlcd-line": "L", "synlcd-abpt": "A"}
    assert names["synlcd-abpt"] == "abnormal points"
    (grid[0].evaluation / "result.json").unlink()
    with pytest.raises(FileNotFoundError, match=f"not scored yet: {grid[0]}; run"):
        reader.read(grid, "cross")


def test_the_report_shows_and_records_every_table(
    params: ProjectParams, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CADNET_TRACKING")
    report(params)
    page = Path("reports/index.html").read_text("utf-8")
    for study in studies_of("synlcd", params)[1]:
        assert study.title in page
        assert f"tables/synlcd-{study.name}.csv" in page
    assert "Registered products" in page and "cadnet-screen version 1 is champion" in page
    cross = Path("reports/tables/cross.md").read_text("utf-8")
    assert all(f"### {metric}" in cross for metric in ("IoU", "Acc", "Fscore"))
    # For unseen kinds the paper's decoder is the multiplying one: the others are set against it.
    compared = pd.read_csv("reports/tables/cross.csv").set_index("id")["other_LA"]
    assert compared["cadnet"] == "CADNet" and pd.isna(compared["cadnet-few"])
    drawn = {path.relative_to("reports/plots").as_posix() for path in Path("reports/plots").rglob("*.png")}
    assert any(name.startswith("synlcd-ablation/variants") for name in drawn), drawn
    assert any(name.startswith("few-labels/overlays") for name in drawn)
    check_sheets(params)
    assert "there are no raw data at data/pku_pcb, see `make fetch-data`" in page
    assert "Cross-testing" in page and "Few labels: abnormal points known, line new" in page
    tables = {path.name for path in Path("reports/tables").iterdir()}
    names = ("synlcd", "synlcd-ablation", "synlcd-decoder", "synlcd-lambda", "cross", "few-labels")
    assert tables == {f"{name}.{kind}" for name in names for kind in ("csv", "md")} | {
        "synlcd-intervals.csv", "results.csv",
    }  # fmt: skip
    results = pd.read_csv("reports/tables/results.csv", keep_default_na=False)
    grids = {"main": trials, "ablation": ablation_trials, "cross": cross_trials, "few-label": semi_trials}
    for grid, listed in grids.items():
        rows = results[(results["grid"] == grid) & (results["metric"] == "images") & (results["part"] == "")]
        assert len(rows) == len(listed(params))
    trial = trials(params)[0]
    shown = results[
        (results["grid"] == "main") & (results["method"] == trial.method) & (results["metric"] == "macc")
    ]
    assert float(shown["value"].iloc[0]) == pytest.approx(read_json(trial.metrics)["macc"], abs=1e-6)
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


def test_the_fully_supervised_column_is_of_the_tested_dataset_or_of_mixed_defects(project: Path) -> None:
    """The smoke test's cross grid holds CADNet on lines, its main grid SegFormer on mixed defects."""
    found = supervised_trials(load_params(project / "params.yaml"))
    assert found["CADNet, all labels"] == TrialName("synlcd-line", "cadnet", 0)
    assert found["SegFormer, all labels"] == TrialName("synlcd", "segformer", 0)


def check_sheets(params: ProjectParams) -> None:
    """A row for each fraction and each variant."""
    grid = semi_trials(params)
    dataset = open_scored(grid[0], "synlcd-line", params)
    (picture,) = label_sheet(dataset, grid, supervised_trials(params), params).pictures
    assert picture.alt.endswith("errors of UAPS, CADNet, SegFormer, all labels, CADNet, all labels.")
    (once,) = label_sheet(dataset, grid[:1], {}, params).pictures
    sizes = [
        cv2.imdecode(np.frombuffer(one.png, np.uint8), cv2.IMREAD_COLOR).shape for one in (picture, once)
    ]
    assert sizes[0][1] > sizes[1][1] and sizes[0][0] > 1.6 * sizes[1][0]
    shown = [TrialName("synlcd", name, 0) for name in ("cadnet-ce", "cadnet", "segformer")]
    (maps,) = study_maps(TrialReader(params).dataset("synlcd"), shown, params).pictures
    # A network without distances has no row.
    assert maps.alt.count("CE: ") == maps.alt.count("CADNet: ") == 3 and "SegFormer: " not in maps.alt
