"""The comparison counts the right runs, computes by hand what it prints, and refuses clearly."""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cadnet.cli import app
from cadnet.tracking import Provenance, RunRecord, Tracker, TrackingError, Trial
from cadnet.tracking.compare import (
    compare,
    compare_runs,
    comparison_text,
    full_name,
    is_ratio,
    lower_is_better,
)
from cadnet.tracking.store import resolve_store

EXPERIMENT = "cadnet/synlcd/supervised"
SMALL, PAPER = "small scale: 128 px", "paper scale: 512 px"


def log_trial(
    tracker: Tracker,
    method: str,
    seed: int,
    metrics: Mapping[str, float],
    *,
    scale: str = SMALL,
    digest: str = "aaaa1111",
    lr: float = 0.1,
    status: str = "FINISHED",
    fingerprint: str = "",
) -> str:
    trial = Trial("synlcd", method, seed, scale=scale)
    key = fingerprint or f"{method}-{seed}-{scale}-{digest}-{lr}"
    provenance = Provenance(commit="0123456789", dirty=False)
    run = tracker.open_run(trial, key, stage="evaluate", provenance=provenance)
    run.log_params(
        {"method": {"title": method.upper()}, "train": {"epochs": 5, "lr": lr}, "seed": seed, "lr": lr}
    )
    run.set_tags({"cadnet.dataset_digest.synlcd": digest})
    run.log_metrics([(name, value, None) for name, value in metrics.items()])
    if status != "RUNNING":
        run.finish(status, "evaluate")
    return run.run_id


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Path:
    """One store for all tests of this module, which only read it."""
    folder = tmp_path_factory.mktemp("compared")
    shutil.copyfile(migrated_database, folder / "mlflow.db")
    tracker = Tracker(resolve_store(folder, "sqlite:///mlflow.db"))
    log_trial(tracker, "cadnet", 0, {"test_miou": 0.99}, fingerprint="older code")
    for seed, miou, escape in ((0, 0.5, 0.1), (1, 0.6, 0.2), (2, 0.7, 0.3)):
        scores = {"test_miou": miou, "test_escape": escape, "loss": 0.25, "cost_params_m": 3.9}
        log_trial(tracker, "cadnet", seed, {**scores, "cost_train_seconds": 100.0 * (seed + 1)})
    for seed, miou, escape in ((0, 0.3, 0.5), (1, 0.4, 0.7)):
        log_trial(tracker, "segformer", seed, {"test_miou": miou, "test_escape": escape, "loss": 0.5})
    log_trial(tracker, "fcn", 0, {"test_miou": 0.45, "test_escape": 0.1})
    log_trial(tracker, "fcn", 1, {"test_miou": 0.01}, status="FAILED")
    log_trial(tracker, "fcn", 2, {"test_miou": 0.01}, status="KILLED")
    log_trial(tracker, "fcn", 3, {"test_miou": 0.01}, status="RUNNING")
    log_trial(tracker, "fcn", 4, {"loss": 0.01})
    log_trial(tracker, "cadnet", 0, {"test_miou": 0.8}, scale=PAPER)
    log_trial(tracker, "cadnet", 0, {"test_miou": 0.2}, digest="bbbb2222")
    parent = tracker.open_parent("invocation", EXPERIMENT)
    parent.log_metrics([("test_miou", 1.0, None)])
    return folder / "mlflow.db"


def csv_rows(store: Path, *metrics: str, scale: str = "", digest: str = "") -> list[dict[str, str]]:
    text = compare(EXPERIMENT, metrics, scale=scale, digest=digest, form="csv", store=str(store))
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(autouse=True)
def _own_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_means_spreads_and_differences_are_those_computed_by_hand(store: Path) -> None:
    rows = csv_rows(store, "miou", "escape", scale="SMALL", digest="aaaa")
    assert [row["method"] for row in rows] == ["cadnet", "fcn", "segformer"]
    cadnet, fcn, segformer = rows
    expected = {
        "test_miou_mean": 0.6, "test_miou_sd": 0.1, "test_miou_n": 3, "test_miou_vs_best_other": 0.15,
        "test_escape_mean": 0.2, "test_escape_vs_best_other": 0.1, "params_m": 3.9, "train_seconds": 200,
    }  # fmt: skip
    assert {name: float(cadnet[name]) for name in expected} == pytest.approx(expected)
    assert cadnet["seeds"] == "0 1 2" and len(cadnet["runs"].split()) == 3
    assert cadnet["test_miou_vs_cadnet"] == "" and fcn["test_miou_sd"] == "" and fcn["params_m"] == ""
    assert float(fcn["test_miou_vs_best_other"]) == pytest.approx(-0.15)
    assert float(segformer["test_miou_sd"]) == pytest.approx(0.0707107, abs=1e-6)
    assert float(segformer["test_miou_vs_cadnet"]) == pytest.approx(-0.25)
    # Of escape the least is the best.
    assert float(segformer["test_escape_vs_best_other"]) == pytest.approx(0.5)


def test_lower_is_better_turns_the_order_round(store: Path) -> None:
    rows = csv_rows(store, "escape", scale="small", digest="aaaa")
    assert [row["method"] for row in rows] == ["fcn", "cadnet", "segformer"]
    # A run without the first metric does not count, whatever else it holds.
    assert rows[0]["seeds"] == "0"


def test_scales_and_data_are_never_averaged_together(store: Path) -> None:
    rows = csv_rows(store, "miou")
    found = {(row["scale"], row["digest"], row["method"]): float(row["test_miou_mean"]) for row in rows}
    assert found[PAPER, "aaaa1111", "cadnet"] == 0.8
    assert found[SMALL, "bbbb2222", "cadnet"] == 0.2
    assert found[SMALL, "aaaa1111", "cadnet"] == pytest.approx(0.6)
    text = compare(EXPERIMENT, ["miou"], store=str(store))
    for title in (f"{PAPER} | synlcd aaaa1111", f"{SMALL} | synlcd bbbb2222", f"{SMALL} | synlcd aaaa1111"):
        assert f"{EXPERIMENT} | {title}\n" in text


def test_what_does_not_count_is_counted(store: Path) -> None:
    text = compare(EXPERIMENT, ["miou"], store=str(store))
    assert (
        "runs that do not count: 2 failed or killed, 1 still running, 1 superseded, 1 without test_miou"
        in text
    )
    assert "below three seeds a difference is no evidence" in text


def test_plain_table_and_markdown_hold_the_same_trials(store: Path) -> None:
    options = {"scale": SMALL, "digest": "aaaa", "store": str(store)}
    plain = compare(EXPERIMENT, ["miou", "loss"], **options).splitlines()
    line = next(line for line in plain if "segformer" in line)
    assert [trial.strip() for trial in line.split("  ") if trial.strip()] == [
        "segformer", "2", "35.00 ± 7.07", "-25.00", "-25.00",
        "0.5000 ± 0.0000", "+0.2500", "+0.2500", "–", "–",
    ]  # fmt: skip
    assert "test_miou % ↑" in plain[1] and "loss ↓" in plain[1]
    marked = compare(EXPERIMENT, ["miou", "loss"], form="markdown", **options).splitlines()
    assert marked[0] == f"## {EXPERIMENT} | {SMALL} | synlcd aaaa1111"
    assert set(marked[3]) == {"|", "-"}
    rows = [" ".join(line.split()) for line in marked]
    assert "| cadnet | 3 | 60.00 ± 10.00 | +15.00 | – | 0.2500 ± 0.0000 | -0.2500 | – | 3.90 | 200 |" in rows


def test_a_terminal_gets_a_drawn_table_of_its_width(store: Path) -> None:
    text = compare(EXPERIMENT, ["miou"], scale=SMALL, digest="aaaa", store=str(store), width=120)
    assert "\x1b[1m" in text and "─" in text and "60.00 ± 10.00" in text
    assert max(len(line) for line in text.splitlines() if "\x1b" not in line) <= 120


def test_a_filter_that_leaves_nothing_says_what_there_is(store: Path) -> None:
    with pytest.raises(TrackingError, match=r"--scale 'huge' .none matches.; there are: aaaa1111 at 'paper"):
        compare(EXPERIMENT, ["miou"], scale="huge", store=str(store))


def test_command_lists_compares_and_fails_with_one_line(store: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    listed = run(app, ["compare", "--store", f"sqlite:///{store}"])
    assert listed.exit_code == 0 and "cadnet, fcn, segformer" in listed.output
    shown = run(app, ["compare", "--store", str(store), "--experiment", EXPERIMENT, "--metric", "miou"])
    assert shown.exit_code == 0 and "60.00 ± 10.00" in shown.output and "\x1b" not in shown.output
    absent = tmp_path / "none" / "mlflow.db"
    refused = {
        "has no experiment 'cadnet/synlcd/supervise'; it has: cadnet/synlcd/supervised": [
            "--store", str(store), "--experiment", "cadnet/synlcd/supervise"],
        "there is no tracking store": ["--store", str(absent)],
        "no run of the experiment has a metric 'mious'": [
            "--store", str(store), "--experiment", EXPERIMENT, "--metric", "mious"],
    }  # fmt: skip
    for message, arguments in refused.items():
        result = run(app, ["compare", *arguments])
        assert result.exit_code == 1 and result.stderr.startswith("error: ") and message in result.stderr
    assert not absent.parent.exists()


def test_the_searches_of_the_guide_are_understood_by_mlflow(store: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "comparing.md").read_text("utf-8")
    table = text.partition("### What to search by")[2].partition("###")[0]
    rows = [line.strip("| ").split(" | ")[1] for line in table.splitlines() if line.startswith("| ")][2:]
    searches = [row.partition(", column")[0].strip().strip("`") for row in rows]
    searches += [line for line in text.splitlines() if line.startswith("tags.`cadnet.kind`")]
    tracker = Tracker(resolve_store(store.parent, "sqlite:///mlflow.db"))
    (experiment,) = tracker.client.search_experiments(filter_string=f"name = '{EXPERIMENT}'")
    found = {
        search: len(tracker.client.search_runs([experiment.experiment_id], search)) for search in searches
    }
    assert len(found) == 14
    assert found["tags.method = 'cadnet'"] == 6
    assert found["tags.gpu != 'none'"] == 0
    assert found["attributes.status = 'FAILED'"] == 1
    assert (
        found["tags.`cadnet.kind` = 'trial' and attributes.status = 'FINISHED' and tags.scale LIKE 'small%'"]
        == 9
    )


def record(method: str, seed: int, value: float, time: int = 0, **more: object) -> RunRecord:
    tags = {"cadnet.kind": "trial", "method": method, "seed": str(seed), "scale": "s"}
    run = RunRecord(f"{method}{seed}{time}", "", "FINISHED", time, metrics={"m": value}, tags=tags)
    return replace(run, **more)


def rows(*runs: RunRecord) -> dict[tuple[str, str], dict[str, float]]:
    """The rows of runs on equal terms, best first, by method and settings, without what does not exist."""
    table = compare_runs(runs, ["m"]).rows.set_index(["method", "settings"])
    columns = {"m_mean": "mean", "m_n": "n", "m_vs_best_other": "best", "m_vs_cadnet": "cadnet"}
    found = table[list(columns)].rename(columns=columns).to_dict("index")
    return {key: {k: v for k, v in row.items() if v == v} for key, row in found.items()}


def test_settings_are_rows_of_their_own_named_by_what_differs() -> None:
    common = {"method.loss": "ce", "method.recipe.lr": "0.1", "lr": "0.1"}
    faster = common | {"method.recipe.lr": "0.2", "lr": "0.2"}
    # Names, a short copy and how much is shown make no difference.
    same = common | {"method.family": "b", "method.title": "A", "lr": "7", "evaluate.overlays": "3"}
    found = rows(
        record("a", 0, 1.0, params=common), record("a", 1, 3.0, params=same),
        record("a", 0, 9.0, params=faster), record("cadnet", 0, 4.0),
    )  # fmt: skip
    # CADNet is compared with the best row of another method.
    assert list(found.items()) == [
        (("a", "lr=0.2"), {"mean": 9.0, "n": 1, "best": 5.0, "cadnet": 5.0}),
        (("cadnet", ""), {"mean": 4.0, "n": 1, "best": -5.0}),
        (("a", "lr=0.1"), {"mean": 2.0, "n": 2, "best": -2.0, "cadnet": -2.0}),
    ]


def test_the_newest_run_of_a_trial_counts_in_any_order() -> None:
    runs = [record("a", 0, 1.0, time=1), record("a", 0, 3.0, time=3), record("a", 0, 2.0, time=2)]
    assert rows(*runs) == {("a", ""): {"mean": 3.0, "n": 1}}
    assert compare_runs(runs, ["m"]).ignored == {"superseded": 2}
    marked = replace(runs[1], tags=runs[1].tags | {"cadnet.superseded_fingerprint": "f"})
    assert rows(marked, runs[0])["a", ""]["mean"] == 1.0


def test_cadnet_is_the_newest_of_its_rows() -> None:
    found = rows(
        record("cadnet", 0, 9.0, time=1, params={"method.loss": "ce"}),
        record("cadnet", 0, 5.0, time=2, params={"method.loss": "bcl"}),
        record("a", 0, 4.0),
    )
    assert (found["a", ""]["cadnet"], found["a", ""]["best"]) == (-1.0, -5.0)
    assert found["cadnet", "loss=ce"]["cadnet"] == 4.0


def test_variants_are_blocks_and_unequal_terms_are_noted() -> None:
    def tagged(run: RunRecord, **tags: str) -> RunRecord:
        return replace(run, tags=run.tags | tags)

    labelled = [tagged(record("a", 0, 1.0), variant="label10"), tagged(record("a", 0, 2.0), variant="label5")]
    assert len(compare_runs(labelled, ["m"]).notes) == 2
    unequal = [
        tagged(record("a", 0, 1.0, params={"train.epochs": "5"}), gpu="none", git_dirty="true"),
        tagged(record("b", 0, 2.0, params={"train.epochs": "30"}), device="H200", gpu="H200"),
    ]
    (notes,) = compare_runs(unequal, ["m"]).notes.values()
    assert notes == [
        "train.epochs differs: 30 (b); 5 (a)",
        "speed was measured on: CPU (a); H200 (b)",
        "1 of 2 runs are from a work tree with uncommitted changes",
    ]


def test_names_say_direction_and_unit() -> None:
    lower = ("test_escape", "test_overkill", "loss_ce", "best_loss", "cost_latency_ms", "train_seconds")
    assert all(map(lower_is_better, lower))
    assert not any(map(lower_is_better, ("test_miou", "val_macc", "cost_pairs_per_second", "test_ap_line")))
    assert is_ratio("test_iou_line") and is_ratio("best_val_miou") and is_ratio("test_escape")
    assert not is_ratio("loss_contrastive") and not is_ratio("cost_params_m")


def test_short_names_are_completed_and_near_ones_given() -> None:
    known = ["test_miou", "val_miou", "test_macc", "loss", "cost_params_m"]
    assert [full_name(name, known) for name in ("miou", "loss", "val_miou", "params_m")] == [
        "test_miou", "loss", "val_miou", "cost_params_m",
    ]  # fmt: skip
    with pytest.raises(
        TrackingError, match="no run of the experiment has a metric 'mio'; near it: test_miou"
    ):
        full_name("mio", known)
    with pytest.raises(TrackingError, match="there are: cost_params_m, loss"):
        full_name("xyz", known)


def test_a_metric_of_some_seeds_only_says_of_how_many() -> None:
    runs = [record("a", 0, 1.0), replace(record("a", 1, 2.0), metrics={"m": 2.0, "test_miou": 0.5})]
    text = comparison_text("e", compare_runs(runs, ["m", "test_miou"]), "table")
    assert "1.5000 ± 0.7071" in text and "50.00 (n=1)" in text
    # One method alone is better than none: no columns of differences.
    assert "vs best other" not in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_narrow_terminal_breaks_between_columns_never_in_a_number(width: int) -> None:
    metrics = {
        "test_miou": 0.1234,
        "test_escape": 0.4321,
        "cost_gmacs_full": 199.05,
        "cost_train_seconds": 1e4,
    }
    runs = [replace(record(name, 0, 1.0), metrics=metrics) for name in ("cadnet", "deeplabv3plus")]
    text = comparison_text("e", compare_runs(runs, ["test_miou", "test_escape"]), "table", width)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    drawn = plain.partition("mean ±")[0].splitlines()
    assert max(map(len, drawn)) <= width
    for trial in ("12.34", "43.21", "199.05", "10,000", "deeplabv3plus"):
        assert re.search(rf"(^| ){re.escape(trial)}( |$)", plain, re.MULTILINE), trial
    # Each part begins with the methods.
    assert plain.count("deeplabv3plus") == plain.count("───\n") + plain.count("── \n")
