"""What stage ``validate`` leaves: summary, profile, page, contact sheets, docs and a tracked record."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cadnet.checks.facts import DatasetFacts
from cadnet.config import ConfigError, ProjectParams, ValidateParams, load_params
from cadnet.files import atomic_directory, read_json, write_bytes, write_json
from cadnet.reporting.validation import LISTED, Check, Row, ValidationPage, write_validation_page
from cadnet.tracking import TrackingError, collect_provenance, invocation_key, open_tracker
from cadnet.tracking.trials import TAG_ERROR, TAG_STAGE_STATUS
from pipelines.stages.validation_frames import class_frame
from pipelines.stages.validation_sheets import contact_sheets
from pipelines.trials import (
    PARAMS,
    VERDICT,
    TrialName,
    dataset_folder,
    tracked,
    validation_folder,
    validation_stage,
)

DOCS, PROFILE, PAGE = "docs", "profile.json", "index.html"

logger = logging.getLogger(__name__)


class DataValidationError(ValueError):
    """A prepared dataset breaks rules; the message names them with the rows and says where all are listed."""


@dataclass(frozen=True, eq=False)
class Findings:
    """What was measured of a dataset, and how it is judged.

    ``judge`` is given the folder for the docs and returns the checks; ``facts`` is None and ``profile`` empty
    where the dataset's tables are unusable. ``reason`` says why the profile was not compared, "" if it was.
    """

    dataset: str
    folder: Path
    judge: Callable[[Path], list[Check]]
    facts: DatasetFacts | None
    profile: Mapping[str, Any]
    reason: str


def params_of(dataset: str) -> ProjectParams:
    """Read params.yaml and check that it defines ``dataset``.

    Raises:
        ConfigError: it does not.
    """
    params = load_params(PARAMS)
    if dataset not in params.datasets:
        raise ConfigError(f"{PARAMS} defines no dataset '{dataset}'; it has {sorted(params.datasets)}")
    return params


def recover(folder: Path) -> None:
    """Bring back a folder that a killed run had moved aside, and remove what it left half-written."""
    aside = re.compile(rf"\.{re.escape(folder.name)}\.[^.]+\.(old|tmp)")
    for entry in sorted(folder.parent.glob(f".{folder.name}.*")):
        if not aside.fullmatch(entry.name):
            continue
        if (entry / folder.name).is_dir() and entry.suffix == ".old" and not folder.exists():
            (entry / folder.name).replace(folder)
        shutil.rmtree(entry)


def accepted_profile(folder: Path) -> dict[str, Any] | None:
    """The profile of the last version that passed; None where there is none.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / PROFILE
    return read_json(path) if path.is_file() else None


def publish(findings: Findings, params: ProjectParams) -> None:
    """Judge, write the output folder as a whole, record it, and raise if a check failed.

    The profile is replaced only by that of a version that passed.

    Raises:
        DataValidationError: a check failed.
    """
    folder = findings.folder
    with atomic_directory(folder) as new:
        page = _page(findings, findings.judge(new / DOCS), params)
        write_json(new / VERDICT, _summary(page))
        for sheet in page.sheets:
            write_bytes(new / sheet.file, sheet.png)
        write_validation_page(page, new / PAGE)
        if not page.failed:
            write_json(new / PROFILE, {**findings.profile, "comparison": page.comparison})
        elif (folder / PROFILE).is_file():
            shutil.copyfile(folder / PROFILE, new / PROFILE)
    error = DataValidationError(failure(page)) if page.failed else None
    try:
        _track(findings.dataset, params, folder, error)
    except TrackingError:
        if error is None:
            raise
        logger.exception("the failed validation could not be recorded")
    if error is not None:
        raise error


def failure(page: ValidationPage) -> str:
    """The failed checks in one message, with some twenty of their rows in all."""
    each = max(3, LISTED // len(page.failed))
    titles = "; ".join(check.title for check in page.failed)
    lines = [
        f"dataset '{page.dataset}' failed {len(page.failed)} of {len(page.checks)} checks ({titles}); "
        f"all rows are in {validation_folder(page.dataset) / VERDICT}, with pictures in {PAGE} beside it"
    ]
    for check in page.failed:
        rows = f"{len(check.rows)} row{'' if len(check.rows) == 1 else 's'}"
        lines += [f"{check.title}: {rows}", *(f"  {row}" for row in check.rows[:each])]
        if len(check.rows) > each:
            lines.append(f"  and {len(check.rows) - each} more")
    return "\n".join([*lines, *([page.cure] if page.cure else [])])


def _page(findings: Findings, checks: Sequence[Check], params: ProjectParams) -> ValidationPage:
    drifted = any(check.name == "drift" and check.passed is False for check in checks)
    profile = findings.folder / PROFILE
    accept = f"delete {profile} and run `dvc repro {validation_stage(findings.dataset)}`"
    return ValidationPage(
        dataset=findings.dataset,
        folder=str(dataset_folder(findings.dataset)),
        checks=checks,
        warnings=_warnings(findings.facts, params.validation),
        profile=findings.profile,
        comparison=findings.reason or f"compared with {profile}",
        sheets=list(contact_sheets(findings.facts)),
        docs=f"{DOCS}/{PAGE}",
        cure=f"To accept the changed figures, {accept}." if drifted else "",
    )


def _summary(page: ValidationPage) -> dict[str, Any]:
    """The verdict for programs: the same for one dataset and limits, whatever it was compared with."""
    return {
        "dataset": page.dataset,
        "passed": not page.failed,
        "checks": [
            {
                "name": check.name,
                "title": check.title,
                "passed": check.passed if check.name != "drift" else check.passed is not False,
                "rows": [_plain(row) for row in check.rows],
            }
            for check in page.checks
        ],
        "warnings": [_plain(row) for row in page.warnings],
        "samples": {name: split["samples"] for name, split in page.profile.get("splits", {}).items()},
    }


def _plain(row: Row) -> dict[str, str]:
    return {"subject": row.subject, "path": row.path, "message": row.message}


def _warnings(facts: DatasetFacts | None, params: ValidateParams) -> list[Row]:
    """What is no reason to fail but to be known: rare classes, samples that are not on their reference."""
    if facts is None:
        return []
    failed = facts.samples[facts.samples["unaligned"].notna()]
    classes = class_frame(facts, params).to_dict("records")
    return [
        *(
            Row(str(row["subject"]), "", f"images {row['images']}, wished {row['wished']}")
            for row in classes
            if row["fewest"] <= row["images"] < row["wished"]
        ),
        *(
            Row(str(row["sample_id"]), str(row["image"]), str(row["unaligned"]))
            for row in failed.to_dict("records")
        ),
    ]


def _track(dataset: str, params: ProjectParams, folder: Path, error: DataValidationError | None) -> None:
    """Record the verdict on the parent run of the dataset's experiment."""
    tracker = open_tracker()
    # Every training on the dataset is beneath it, of whichever grid it is.
    experiment = tracked(TrialName(dataset, params.run.methods[0], params.run.seeds[0]), params).experiment
    tracker.sweep_stale(experiment)
    parent = tracker.open_parent(invocation_key("."), experiment, collect_provenance("."))
    if not parent.resumed:
        parent.log_artifact(PARAMS)
    parent.set_tags({"validation_passed": "true" if error is None else "false"})
    parent.log_metrics([("validation_passed", float(error is None), None)])
    for name in (VERDICT, PAGE):
        parent.log_artifact(folder / name, "validation")
    if (folder / "sheets").is_dir():
        parent.log_artifacts(folder / "sheets", "validation/sheets")
    if error is None:
        parent.set_tags({f"{TAG_STAGE_STATUS}validate": "FINISHED"})
        tracker.settle_parent(parent)
    else:
        # No trial runs on data that failed, so the parent has nothing to take its status from.
        parent.set_tags({TAG_ERROR: f"validate: {error}"})
        parent.finish("FAILED", "validate")
