"""Stage ``validate``: whether a prepared dataset may enter training, decided by Great Expectations."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# Before it is imported: it reads its settings then, and must not call home.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.data_context.types.base import ProgressBarsConfig

from cadnet.checks.facts import DatasetFacts, DatasetTable, collect_facts, read_table
from cadnet.checks.profile import build_profile, changes, not_comparable
from cadnet.config import ProjectParams, ValidateParams
from cadnet.reporting.validation import Check
from cadnet.types import SPLITS, UNLABELLED
from pipelines.stages import validation_frames as frames
from pipelines.stages.command import run_stage
from pipelines.stages.validation_output import (
    Findings,
    accepted_profile,
    params_of,
    publish,
    recover,
)
from pipelines.stages.validation_rows import opens, told, whole_table
from pipelines.trials import dataset_folder, validation_folder

SITE = "docs"


class Rule(NamedTuple):
    """An expectation with what the user is told: ``file`` names the path column, ``tell`` further values."""

    name: str
    title: str
    expectation: Any
    file: str = ""
    tell: tuple[str, ...] = ()


Suite = tuple[str, pd.DataFrame, Sequence[Rule]]
"""A name, a frame with columns ``row`` and ``subject``, and what must hold for it."""


def validate(dataset: str, params: ProjectParams) -> None:
    """Judge a prepared dataset and write summary, profile, page, sheets and docs.

    Raises:
        DataValidationError: it broke a rule; all that was found is written all the same.
    """
    folder = validation_folder(dataset)
    recover(folder)
    before = accepted_profile(folder)
    table = read_table(dataset_folder(dataset))
    limits = params.validation
    facts = collect_facts(table, limits.duplicate_bits, limits.duplicate_difference) if table.usable else None
    profile = build_profile(facts) if facts else {}
    reason = not_comparable(before, profile) if facts else "not compared"
    drift = changes(before, profile, limits.drift) if before and not reason else []

    def judge(docs: Path) -> list[Check]:
        readable = _null("tables", "Its tables can be read", "problem")
        suites: list[Suite] = [("tables", frames.table_frame(table), [readable])]
        if not table.problems:
            suites.append(("manifest", frames.manifest_frame(table), list(_manifest_rules(table))))
        if facts:
            suites += _suites(facts, limits)
            suites.append(("drift", frames.drift_frame(drift), [_drift(limits)]))
        checks = _run(suites, docs)
        return [*checks, opens(table.root)] if not any(check.passed is False for check in checks) else checks

    publish(Findings(dataset, folder, judge, facts, profile, reason), params)


def _manifest_rules(table: DatasetTable) -> Iterator[Rule]:
    """The schema: columns, ids and the type of every value, on the text of manifest.csv."""
    columns = gxe.ExpectTableColumnsToMatchSet(column_set=table.wanted, exact_match=False)
    yield Rule("columns", "The manifest has all columns", columns)
    yield Rule("rows", "The manifest has samples", gxe.ExpectTableRowCountToBeBetween(min_value=1))
    known, truth = (*SPLITS, UNLABELLED), ("0", "1", "true", "false", "True", "False")
    given = ("sample_id", "image", "reference", "group")
    for name in table.wanted:
        if name not in table.manifest:
            continue
        if name == "sample_id":
            unique = gxe.ExpectColumnValuesToBeUnique(column=name)
            yield Rule("unique_ids", "Sample ids are unique", unique, "image", (name,))
        if name in given:
            yield _matches(f"{name}_given", f"Every sample has its {name}", name, r"\S")
        elif name == "split":
            yield _one_of("splits_known", f"Splits are {', '.join(known)}", name, known)
        elif name == "has_defect":
            yield _one_of("has_defect_type", "has_defect is 0 or 1", name, truth)
        elif name in ("width", "height"):
            yield _matches(f"{name}_type", f"{name} is a positive whole number", name, r"^[1-9]\d{0,5}$")
        elif name.startswith("n_"):
            yield _matches(f"{name}_type", f"{name} is a whole number", name, r"^\d{1,12}$")


def _suites(facts: DatasetFacts, params: ValidateParams) -> list[Suite]:
    sizes = _at_least("split_sizes", "Splits have samples enough", "samples", "fewest")
    classes = [
        _at_least("class_images", "Every class is in images enough", "images", "fewest"),
        _at_least("class_share_least", "No class has too few pixels", "share", "least_if_present"),
        _at_least("class_share_largest", "No class has too many pixels", "largest", "share"),
    ]
    aligned = _at_least("alignment", "Few enough alignments failed", "allowed", "failed")
    return [
        ("samples", frames.sample_frame(facts), list(_sample_rules(facts))),
        ("splits", frames.split_frame(facts, params), [sizes]),
        ("classes", frames.class_frame(facts, params), classes),
        ("alignment", frames.alignment_frame(facts, params), [aligned]),
    ]


def _sample_rules(facts: DatasetFacts) -> Iterator[Rule]:
    """What must hold between the manifest and the files."""
    for kind in ("image", "reference", "mask"):
        yield _null(f"{kind}_decodes", f"Every {kind} exists and can be decoded", f"{kind}_problem", kind)
    yield _equal("image_size", "Images have the manifest's size", "image_size", "manifest_size", "image")
    if size := frames.usual_size(facts):
        yield _one_of("one_size", f"All images have one size ({size})", "image_size", [size])
    yield _equal(
        "reference_size", "References have their image's size", "reference_size", "image_size", "reference"
    )
    yield _equal("mask_size", "Masks have their image's size", "mask_size", "image_size", "mask")
    yield _null("labelled", "Masks are there where the split says so", "mismatch", "image")
    yield _null("mask_form", "Masks are 8-bit single-channel pictures", "mask_form", "mask")
    classes = len(facts.table.classes)
    yield _null("mask_values", f"Masks hold 0..{classes} and 255 only", "mask_values", "mask")
    for name in facts.table.classes:
        yield _equal(
            f"n_{name}", f"Masks hold the {name} pixels counted", f"n_{name}", f"found_{name}", "mask"
        )
    yield _equal("has_defect", "has_defect says what the mask shows", "has_defect", "shows_defect", "mask")
    apart = gxe.ExpectColumnValuesToBeBetween(column="group_splits", max_value=1)
    yield Rule("groups", "No group lies in two splits", apart, "image", ("group", "split", "group_splits"))
    yield _null("duplicates", "No picture lies in two splits", "duplicate", "image")


def _drift(params: ValidateParams) -> Rule:
    title = f"No figure moved by more than {params.drift:.0%} since the version before"
    small = gxe.ExpectColumnValuesToBeBetween(column="drift", max_value=params.drift)
    return Rule("drift", title, small, tell=("before", "now", "relative_change"))


def _matches(name: str, title: str, column: str, pattern: str) -> Rule:
    right = gxe.ExpectColumnValuesToMatchRegex(column=column, regex=pattern)
    return Rule(name, title, right, "image", (column,))


def _one_of(name: str, title: str, column: str, values: Sequence[str]) -> Rule:
    known = gxe.ExpectColumnValuesToBeInSet(column=column, value_set=list(values))
    return Rule(name, title, known, "image", (column,))


def _null(name: str, title: str, column: str, file: str = "") -> Rule:
    return Rule(name, title, gxe.ExpectColumnValuesToBeNull(column=column), file)


def _equal(name: str, title: str, one: str, other: str, file: str) -> Rule:
    equal = gxe.ExpectColumnPairValuesToBeEqual(
        column_A=one, column_B=other, ignore_row_if="either_value_is_missing"
    )
    return Rule(name, title, equal, file, (one, other))


def _at_least(name: str, title: str, one: str, other: str) -> Rule:
    larger = gxe.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A=one, column_B=other, or_equal=True, ignore_row_if="either_value_is_missing"
    )
    return Rule(name, title, larger, tell=(one, other))


def _run(suites: Sequence[Suite], docs: Path) -> list[Check]:
    """Hold every frame against its rules and build Great Expectations' pages in ``docs``."""
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.absolute())}
    site: Any = {
        "class_name": "SiteBuilder",
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "store_backend": store,
    }
    context.add_data_docs_site(SITE, site)
    source = context.data_sources.add_pandas("dataset")
    checks: list[Check] = []
    for name, frame, rules in suites:
        if frame.empty and name != "manifest":
            checks += [Check(rule.name, rule.title, None, note="there is nothing to check") for rule in rules]
            continue
        for rule in rules:
            rule.expectation.meta = {"check": rule.name}
            rule.expectation.notes = rule.title
        suite = gx.ExpectationSuite(name=name, expectations=[rule.expectation for rule in rules])
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        definition = gx.ValidationDefinition(name=name, data=batch, suite=context.suites.add(suite))
        checkpoint = gx.Checkpoint(
            name=name,
            validation_definitions=[context.validation_definitions.add(definition)],
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["row"]},
        )
        (result,) = context.checkpoints.add(checkpoint).run({"dataframe": frame}).run_results.values()
        outcome = {_name(item): item for item in result.results}
        checks += [_check(rule, outcome[rule.name], frame) for rule in rules]
    # Once for all: building them after each checkpoint takes longer than all checks together.
    context.build_data_docs(site_names=[SITE])
    return checks


def _name(outcome: Any) -> str:
    return str(outcome.expectation_config.meta["check"])


def _check(rule: Rule, outcome: Any, frame: pd.DataFrame) -> Check:
    """One expectation's result with the rows that broke it."""
    if outcome.success:
        return Check(rule.name, rule.title, True)
    broken = [entry["row"] for entry in outcome.result.get("unexpected_index_list") or ()]
    columns = rule.tell or (getattr(rule.expectation, "column", ""),)
    rows = told(frame, broken, rule.file, columns, bare=not rule.tell) or (whole_table(outcome),)
    return Check(rule.name, rule.title, False, rows)


def main() -> None:
    """Entry of ``python -m pipelines.stages.validate``."""
    parser = argparse.ArgumentParser(description="Validate one prepared dataset.")
    parser.add_argument("--dataset", required=True)
    dataset = parser.parse_args().dataset
    run_stage(lambda: validate(dataset, params_of(dataset)))
    sys.stdout.write(f"validation passed: open {validation_folder(dataset) / 'index.html'}\n")


if __name__ == "__main__":
    main()
