"""The rules of a prepared dataset, as expectations of Great Expectations on tables of its facts.

A table has the columns ``row`` (its number), ``subject`` (what a failure names) and the values judged.
"""

from __future__ import annotations

import html
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# Before it is imported: it reads its settings then, and must not call home.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.data_context.types.base import ProgressBarsConfig

from cadnet.config import ValidateParams
from cadnet.datasets.manifest import DatasetError, open_dataset
from cadnet.files import CHECKSUMS
from cadnet.types import SPLITS, UNLABELLED
from cadnet.validation.facts import DatasetFacts, DatasetTable
from cadnet.validation.page import Check, Row
from cadnet.validation.profile import Change

TABLES = ("manifest.csv", "dataset.json", CHECKSUMS)
SITE = "docs"


class Rule(NamedTuple):
    """An expectation and what is shown of a row that breaks it.

    ``file``: column of the path, "" for none; ``shown``: columns of further values.
    """

    name: str
    title: str
    expectation: Any
    file: str = ""
    shown: tuple[str, ...] = ()


Suite = tuple[str, pd.DataFrame, Sequence[Rule]]
"""A name, a frame with columns ``row`` and ``subject``, and what must hold for it."""


def judge(
    table: DatasetTable,
    facts: DatasetFacts | None,
    drift: Sequence[Change],
    params: ValidateParams,
    docs: Path,
) -> list[Check]:
    """Check a dataset against all rules, and build Great Expectations' own pages.

    Args:
        table: its tables.
        facts: None where the tables are unusable; then only they are checked.
        drift: changes since the version before, empty where it is not compared.
        params: limits.
        docs: folder for the pages.
    """
    readable = _null("tables", "Its tables can be read", "problem")
    suites: list[Suite] = [("tables", _table_frame(table), [readable])]
    if not table.problems:
        suites.append(("manifest", _manifest_frame(table), list(_manifest_rules(table))))
    if facts:
        suites += _suites(facts, params)
        suites.append(("drift", _drift_frame(drift), [_drift(params)]))
    checks = _run(suites, docs)
    return checks if any(check.passed is False for check in checks) else [*checks, _opens(table.root)]


def warnings(facts: DatasetFacts, params: ValidateParams) -> list[Row]:
    """Return what is no reason to fail but to be known.

    Classes that no label names or that are rare, photographs that lost one of several classes, samples that
    are not aligned.
    """
    failed = facts.samples[facts.samples["unaligned"].notna()]
    labels = facts.table.labels
    named = {name for names in (labels or {}).values() for name in names}
    return [
        *(
            Row(name, "", "no label names this class")
            for name in facts.table.classes
            if labels is not None and name not in named
        ),
        *(
            Row(source, "", f"its label names {', '.join(gone)} too, of which no pixel is left")
            for source, left in _left(facts).items()
            if left and labels and (gone := [name for name in labels[source] if name not in left])
        ),
        *(
            Row(str(row["subject"]), "", f"images {row['images']}, wished {row['wished']}")
            for row in _class_frame(facts, params).to_dict("records")
            if row["fewest"] <= row["images"] < row["wished"]
        ),
        *(
            Row(str(row["sample_id"]), str(row["image"]), str(row["unaligned"]))
            for row in failed.to_dict("records")
        ),
    ]


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
    sizes = _at_least("split_sizes", "Splits have enough samples", "samples", "fewest")
    classes = [
        _at_least("class_images", "Every class is in enough images", "images", "fewest"),
        _at_least("class_share_least", "No class has too few pixels", "share", "least_if_present"),
        _at_least("class_share_largest", "No class has too many pixels", "largest", "share"),
    ]
    labels = [
        _null("labels_kept", "No photograph lost its label", "lost"),
        _at_least("label_classes", "Classes named in labels have pixels", "pixels", "least_pixels"),
    ]
    aligned = _at_least("alignment", "Few enough alignments failed", "allowed", "failed")
    return [
        ("samples", _sample_frame(facts), list(_sample_rules(facts))),
        ("splits", _split_frame(facts, params), [sizes]),
        ("classes", _class_frame(facts, params), classes),
        ("labels", _label_frame(facts), labels),
        ("alignment", _alignment_frame(facts, params), [aligned]),
    ]


def _sample_rules(facts: DatasetFacts) -> Iterator[Rule]:
    """Rules between the manifest and the files."""
    for kind in ("image", "reference", "mask"):
        yield _null(f"{kind}_decodes", f"Every {kind} exists and can be decoded", f"{kind}_problem", kind)
    yield _null("unchanged", f"Files are as {CHECKSUMS} records them", "changed", "image")
    yield _equal("image_size", "Images have the manifest's size", "image_size", "manifest_size", "image")
    if size := _usual_size(facts):
        yield _one_of("one_size", f"All images have one size ({size})", "image_size", [size])
    yield _equal(
        "reference_size", "References have their image's size", "reference_size", "image_size", "reference"
    )
    yield _equal("mask_size", "Masks have their image's size", "mask_size", "image_size", "mask")
    yield _null("labelled", "Masks exist where the split needs them", "mismatch", "image")
    yield _null("mask_form", "Masks are 8-bit single-channel pictures", "mask_form", "mask")
    classes = len(facts.table.classes)
    yield _null("mask_values", f"Masks hold 0..{classes} and 255 only", "mask_values", "mask")
    for name in facts.table.classes:
        yield _equal(
            f"n_{name}", f"Masks hold the {name} pixels counted", f"n_{name}", f"found_{name}", "mask"
        )
    yield _equal("has_defect", "has_defect agrees with the mask", "has_defect", "shows_defect", "mask")
    apart = gxe.ExpectColumnValuesToBeBetween(column="group_splits", max_value=1)
    yield Rule("groups", "No group is in two splits", apart, "image", ("group", "split", "group_splits"))
    yield _null("duplicates", "No picture is in two splits", "duplicate", "image")


def _drift(params: ValidateParams) -> Rule:
    title = f"No figure moved by more than {params.drift:.0%} since the version before"
    small = gxe.ExpectColumnValuesToBeBetween(column="drift", max_value=params.drift)
    return Rule("drift", title, small, shown=("before", "now", "relative_change"))


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
    return Rule(name, title, larger, shown=(one, other))


def _table_frame(table: DatasetTable) -> pd.DataFrame:
    """The dataset's tables and what is wrong with them (None if nothing)."""
    found = dict(table.problems)
    return _numbered([{"subject": name, "problem": found.get(name)} for name in TABLES])


def _manifest_frame(table: DatasetTable) -> pd.DataFrame:
    """manifest.csv as text."""
    frame = table.manifest.copy()
    frame["subject"] = frame.get("sample_id", "")
    # Ids may be empty or repeated, lines of the file are not; the header is line 1.
    blank = frame["subject"].str.strip() == ""
    frame.loc[blank, "subject"] = [f"line {index + 2}" for index in frame.index[blank]]
    frame["row"] = range(len(frame))
    return frame


def _sample_frame(facts: DatasetFacts) -> pd.DataFrame:
    """The samples beside the content of their files."""
    return facts.samples.assign(
        subject=_manifest_frame(facts.table)["subject"], row=range(len(facts.samples))
    )


def _usual_size(facts: DatasetFacts) -> str | None:
    """The size most images have ("width x height"); None where none can be decoded."""
    sizes = facts.samples["image_size"].dropna().mode()
    return str(sizes.iloc[0]) if len(sizes) else None


def _split_frame(facts: DatasetFacts, params: ValidateParams) -> pd.DataFrame:
    """Samples of each split that needs any, beside the fewest allowed."""
    counts = facts.samples["split"].value_counts()
    return _numbered(
        [
            {"subject": split, "samples": int(counts.get(split, 0)), "fewest": least}
            for split, least in params.min_samples.items()
        ]
    )


def _class_frame(facts: DatasetFacts, params: ValidateParams) -> pd.DataFrame:
    """Images and fraction of pixels of each class in each labelled split, beside what is allowed."""
    rows = []
    shown = [name for name in facts.table.classes if (facts.samples[f"found_{name}"] > 0).any()]
    for split in SPLITS:
        members = facts.samples[(facts.samples["split"] == split) & facts.samples["shows_defect"].notna()]
        area = sum(facts.masks[name].width * facts.masks[name].height for name in members["mask"])
        for name in facts.table.classes if area else ():
            pixels = members[f"found_{name}"]
            share = float(pixels.sum()) / area
            least, largest = params.class_share
            rows.append(
                {
                    "subject": f"{name} in {split}",
                    "images": int((pixels > 0).sum()),
                    "fewest": params.min_class_images if split == "train" and name in shown else 0,
                    "wished": params.min_class_images,
                    "share": round(share, 6),
                    "least": least,
                    "largest": largest,
                    # Whether a class may be absent is decided by the number of its images.
                    "least_if_present": least if share else 0.0,
                }
            )
    return _numbered(rows)


def _left(facts: DatasetFacts) -> dict[str, set[str]]:
    """Source of each photograph whose label names classes -> those of them that its samples' masks show."""
    left: dict[str, set[str]] = {source: set() for source in facts.table.labels or ()}
    if "source" in facts.samples:
        for name in facts.table.classes:
            shown = facts.samples.loc[facts.samples[f"found_{name}"] > 0, "source"]
            for source in left.keys() & set(shown):
                left[source].add(name)
    return left


def _label_frame(facts: DatasetFacts) -> pd.DataFrame:
    """Photographs and classes that labels name, beside what is left of them; empty where none is recorded."""
    labels, left = facts.table.labels or {}, _left(facts)
    rows: list[dict[str, Any]] = [
        {"subject": source, "lost": None if left[source] else f"no pixel of {', '.join(named)} is left"}
        for source, named in labels.items()
    ]
    for name in dict.fromkeys(name for named in labels.values() for name in named):
        pixels = facts.samples[f"found_{name}"].sum() if name in facts.table.classes else 0.0
        rows.append({"subject": name, "lost": None, "pixels": float(pixels), "least_pixels": 1.0})
    return _numbered(rows)


def _alignment_frame(facts: DatasetFacts, params: ValidateParams) -> pd.DataFrame:
    """The fraction of samples that are not aligned; empty where no alignment was tried."""
    if "aligned" not in facts.samples:
        return _numbered([])
    failed = facts.samples["unaligned"].notna()
    row = {"subject": "all samples", "failed": float(failed.mean()), "allowed": params.alignment_failures}
    return _numbered([row])


def _drift_frame(found: Sequence[Change]) -> pd.DataFrame:
    """Figures beside those of the version before; ``drift`` is 0 where a change does not count."""
    return _numbered(
        [
            {
                "subject": change.figure,
                "before": change.before,
                "now": change.now,
                "relative_change": change.relative,
                "drift": change.relative if change.counts else 0.0,
            }
            for change in found
        ]
    )


def _numbered(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows))
    return frame.assign(row=range(len(frame)))


def _run(suites: Sequence[Suite], docs: Path) -> list[Check]:
    """Check every frame against its rules and build Great Expectations' pages in ``docs``."""
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
        # Its pages take values for markup. What is shown elsewhere comes from the frame itself.
        escaped = frame.map(lambda value: html.escape(value) if isinstance(value, str) else value)
        (result,) = context.checkpoints.add(checkpoint).run({"dataframe": escaped}).run_results.values()
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
    columns = rule.shown or (getattr(rule.expectation, "column", ""),)
    rows = _rows(frame, broken, rule.file, columns, bare=not rule.shown) or (_whole_table(outcome),)
    return Check(rule.name, rule.title, False, rows)


def _rows(
    frame: pd.DataFrame, numbers: Sequence[int], file: str, columns: Sequence[str], bare: bool
) -> tuple[Row, ...]:
    """The rows ``numbers`` of ``frame`` with the values of ``columns``, with their names unless ``bare``.

    ``file`` is the column that holds the path to show, "" for none.
    """
    rows = []
    for values in frame.set_index("row").loc[list(numbers)].to_dict("records"):
        parts = [_text(values[name]) if bare else f"{name} {_text(values[name])}" for name in columns]
        rows.append(
            Row(str(values["subject"]), str(values[file]) if file in values else "", ", ".join(parts))
        )
    return tuple(rows)


def _whole_table(outcome: Any) -> Row:
    """The fault of a whole table, of an expectation that names no rows or could not be evaluated."""
    missing = outcome.result.get("details", {}).get("mismatched", {}).get("missing")
    if missing:
        return Row("manifest.csv", "", f"lacks the columns {', '.join(missing)}; prepare the dataset again")
    if outcome.result.get("observed_value") is not None:
        return Row("manifest.csv", "", f"has {outcome.result['observed_value']}")
    return Row("manifest.csv", "", f"could not be checked: {outcome.exception_info}")


def _opens(root: Path) -> Check:
    """The contract itself, last: it names only the first fault."""
    title = "Training can open it"
    try:
        open_dataset(root)
    except (DatasetError, OSError) as error:
        return Check("opens", title, False, (Row(root.name, "", str(error)),))
    return Check("opens", title, True)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.10g}"
    return repr(value) if value == "" else str(value)
