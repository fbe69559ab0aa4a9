"""The search of learning rates: every method the same effort, resumed, on validation alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from cadnet.config import load_params
from cadnet.reporting.pages import Fold, Section, Table, Text
from pipelines import search as module
from pipelines.search import search, search_jobs
from pipelines.stages.report import search_section

Edit = Callable[[str, object], None]


@pytest.fixture
def tried(project: Path, edit: Edit) -> Path:
    shared = {"optimizer": "adamw", "weight_decay": 0.01, "schedule": "constant"}
    candidates = [shared | {"lr": rate} for rate in (0.001, 0.004)]
    edit("search", {"dataset": "synlcd", "recipes": {"transformer": candidates}})
    return project


def test_every_method_tries_every_candidate_of_its_family(tried: Path) -> None:
    params = load_params(tried / "params.yaml")
    names, jobs = zip(*search_jobs(params, params.run.methods), strict=True)
    assert names == ("cadnet", "cadnet", "segformer", "segformer")
    assert [job.method.recipe.lr for job in jobs] == [0.001, 0.004, 0.001, 0.004]
    assert {(job.train.epochs, job.train.batch_size, job.seed) for job in jobs} == {(1, 4, 0)}
    assert [job.method.model for job in jobs] == list(names)


@pytest.mark.slow
def test_a_search_is_kept_and_resumed(tried: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = load_params(tried / "params.yaml")
    first = search(params, ["segformer"])
    assert list(first["lr"]) == [0.001, 0.004]
    assert set(first["method"]) == {"segformer"}
    assert first["val_miou"].between(0, 1).all() and (first["pairs"] > 0).all()
    monkeypatch.setattr(module, "fit", lambda *_: pytest.fail("trained again"))
    again = search(params, ["segformer"])
    pd.testing.assert_frame_equal(first, again, check_dtype=False)
    # Another state of the data is another search.
    (tried / "datasets/synlcd/dataset.json").write_text(
        (tried / "datasets/synlcd/dataset.json").read_text("utf-8").replace('"name"', '"name" '), "utf-8"
    )
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        search(load_params(tried / "params.yaml"), ["segformer"])


def parts(section: Section | None) -> tuple[str, list[Table]]:
    """The facts and the tables of the report's part on the search."""
    assert section is not None
    (fold,) = section.blocks
    assert isinstance(fold, Fold)
    facts, *tables = fold.blocks
    assert isinstance(facts, Text)
    return "; ".join(facts.lines), [table for table in tables if isinstance(table, Table)]


def test_the_report_holds_space_budget_and_choice(tried: Path) -> None:
    params = load_params(tried / "params.yaml")
    assert search_section(params) is None
    rows = [
        {"scale": "tiny", "method": m, "family": "transformer", "optimizer": "adamw", "lr": lr,
         "seed": 0, "epochs": 1, "pairs": 60, "val_miou": value}
        for m, lr, value in (("cadnet", 0.001, 0.2), ("cadnet", 0.004, 0.6), ("segformer", 0.001, 0.1),
                             ("segformer", 0.004, 0.3))
    ]  # fmt: skip
    path = tried / "params/search/synlcd.csv"
    path.parent.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(path, index=False)
    facts, (table,) = parts(search_section(params))
    for fact in ("trainings of each method: 2;", "epochs: 1;", "pairs: 60;", "scale: tiny;"):
        assert fact in facts
    assert "not searched" not in facts
    assert table.header == ["AdamW 0.001", "AdamW 0.004 (taken)"]
    assert {row.title: [cell.text for cell in row.cells] for row in table.rows} == {
        "CADNet": ["20.00", "60.00"], "SegFormer": ["10.00", "30.00"], "mean": ["15.00", "45.00"],
    }  # fmt: skip
    pd.DataFrame(rows[:2]).to_csv(path, index=False)
    assert "not searched, with the recipe of their family: SegFormer" in parts(search_section(params))[0]
    pd.DataFrame(rows[:3]).to_csv(path, index=False)
    assert "trainings of each method: 1 to 2;" in parts(search_section(params))[0]


def test_a_profile_without_a_search_says_what_is_missing(project: Path) -> None:
    with pytest.raises(ValueError, match="has no section `search`; give it a dataset"):
        search(load_params(project / "params.yaml"))


def test_unknown_methods_and_missing_candidates_are_named(tried: Path, edit: Edit) -> None:
    params = load_params(tried / "params.yaml")
    with pytest.raises(ValueError, match=r"cadnot.*it has \['cadnet',"):
        search(params, ["cadnot"])
    edit("search.recipes", {})
    with pytest.raises(ValueError, match=r"search.recipes has no candidates for \['transformer'\]"):
        search(load_params(tried / "params.yaml"))
