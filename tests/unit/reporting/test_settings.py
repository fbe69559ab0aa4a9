"""Settings beside the paper's own statements."""

from __future__ import annotations

from pathlib import Path

import pytest

from cadnet.config.semi import SemiParams
from cadnet.config.training import AugmentParams, MethodParams, Recipe, TrainParams
from cadnet.reporting.settings import (
    STATED,
    UNSTATED,
    compare_settings,
    load_statements,
    settings_block,
    settings_notes,
    statement_of,
)
from pipelines.profile import load_profile

PARAMS = Path(__file__).parents[3] / "params"
ASIDE = {
    "methods.x.title", "methods.x.model", "methods.x.family", "methods.x.semi", "methods.x.options",
    "methods.x.recipe", "methods.x.augment", "methods.x.contrastive_weight",
    "train.precision", "train.compile", "train.validate_every", "train.devices",
    "semi.pretrain", "semi.dataset", "semi.methods", "semi.seeds", "semi.labels",
}  # fmt: skip
"""What is a name, has parts of its own, or decides no result but its speed."""


def test_every_parameter_has_a_statement_or_is_set_aside() -> None:
    groups = {
        "methods.x": MethodParams, "methods.x.recipe": Recipe, "methods.x.augment": AugmentParams,
        "train": TrainParams, "semi": SemiParams,
    }  # fmt: skip
    keys = {f"{prefix}.{name}" for prefix, group in groups.items() for name in group.model_fields}
    assert keys >= ASIDE
    known = load_statements()
    silent = {key for key in keys - ASIDE if statement_of(key, {"few-label"}, known) is None}
    assert silent == set()


def facts() -> dict[str, object]:
    """The paper profile's, with two methods."""
    params = load_profile("paper", PARAMS)
    methods = {
        name: params.methods[name].model_dump() | {"params_m": size}
        for name, size in (("cadnet", 3.8969), ("fcn", 20.0))
    }
    methods["cadnet"]["lambda_2"] = params.methods["cadnet"].contrastive_weight
    return {
        "data": params.datasets["synlcd"].model_dump(),
        "pairs": {"train": 3600, "val": 600, "test": 1800},
        "train": params.train.model_dump() | {"random_crop": True},
        "methods": methods,
        "semi": params.semi.model_dump(),
    }


def test_the_paper_profile_differs_where_it_says_so_and_is_silent_where_the_paper_is() -> None:
    found = compare_settings(facts(), {"synlcd", "main"}, {"cadnet": "CADNet", "fcn": "FCN"})
    apart = {(one.title, *one.methods): (one.ours, one.paper) for one in found if one.agrees is False}
    assert apart.keys() == {
        ("training pairs",), ("pairs kept to choose the epoch by",), ("weight lambda_2", "CADNet"),
        ("parameters (M)", "FCN"),
    }  # fmt: skip
    assert apart["training pairs",] == ("3600", "4200")
    assert apart["weight lambda_2", "CADNet"][0] == "0.02"
    silent = {(one.title, *one.methods): one.ours for one in found if one.agrees is None}
    assert silent["optimiser", "CADNet"] == "adamw" and silent["optimiser", "FCN"] == "sgd"
    assert silent["first weights of the encoder", "CADNet", "FCN"] == "random"
    assert silent["resizing before the crop",] == "0.5, 2"
    # What is off is not shown.
    assert not any(title == "chance of noise" for title, *_ in silent)
    assert {one.title for one in found if one.agrees} >= {
        "epochs",
        "batch size",
        "width of lines (px)",
        "loss",
    }


@pytest.mark.parametrize(
    ("group", "key", "value", "title"),
    [
        ("train", "batch_size", 9, "batch size"),
        ("train", "random_crop", False, "random crop"),
        ("train", "epochs", 5, "epochs"),
        ("data", "size", 128, "side of the images (px)"),
        ("data", "line", {"width": {"low": 9.0, "high": 33.0, "step": 3.0}}, "width of lines (px)"),
        ("semi", "fractions", (0.1,), "labelled fractions"),
        ("semi", "unlabelled", 0.2, "unlabelled fraction"),
    ],
)
def test_a_departure_is_named(group: str, key: str, value: object, title: str) -> None:
    def apart(known: dict[str, object]) -> set[str]:
        found = compare_settings(known, {"synlcd", "few-label"}, {})
        return {one.title for one in found if one.agrees is False}

    known = facts()
    before = apart(known)
    known[group][key] = value  # type: ignore[index]
    assert apart(known) - before == {title}


def test_statements_hold_only_where_they_belong() -> None:
    def decoder(about: str, name: str) -> bool | None:
        methods = {name: {"options": {"decoder": "add"}}}
        (found,) = compare_settings({"methods": methods}, {about}, {})
        return found.agrees

    assert decoder("main", "cadnet") is True and decoder("few-label", "cadnet-few") is False
    assert decoder("main", "other") is None


def test_notes_and_table_have_the_same_lines() -> None:
    found = compare_settings(facts(), {"synlcd", "main"}, {"cadnet": "CADNet"})
    notes = settings_notes(found)
    assert [note.split(":")[0] for note in notes] == [STATED, UNSTATED]
    assert "- training pairs: 3600 (paper: 4200)" in notes[0]
    (fold,) = settings_block(found)
    assert [len(table.rows) for table in fold.blocks] == [note.count("\n- ") for note in notes]  # type: ignore[union-attr]
    assert settings_block([]) == [] == settings_notes([])
