"""Which runs make which row, and what the names of metrics say; no store is needed."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from cadnet.tracking import RunRecord, TrackingError
from cadnet.tracking.compare import compare_runs, comparison_text, full_name, is_ratio, lower_is_better


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
    common = {"method.loss": "ce", "method.recipe": "sgd", "train.recipes.sgd.lr": "0.1", "lr": "0.1"}
    faster = common | {"train.recipes.sgd.lr": "0.2", "lr": "0.2"}
    # Another method's recipe, a title, a short copy and how much is shown make no difference.
    same = common | {"train.recipes.adamw.lr": "9", "method.title": "A", "lr": "7", "evaluate.overlays": "3"}
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
