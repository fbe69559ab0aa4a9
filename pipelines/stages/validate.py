"""Stage ``validate``: whether a prepared dataset may enter training."""

from __future__ import annotations

import argparse
import logging
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from cadnet.config import ConfigError, ProjectParams, load_params
from cadnet.files import atomic_directory, read_json, write_bytes, write_json
from cadnet.tracking import TrackingError, collect_provenance, invocation_key, open_tracker
from cadnet.tracking.trials import TAG_ERROR, TAG_STAGE_STATUS
from cadnet.validation.facts import collect_facts, read_table
from cadnet.validation.page import ValidationPage, write_validation_page
from cadnet.validation.profile import build_profile, changes, not_comparable
from cadnet.validation.rules import judge, warnings
from cadnet.validation.sheets import contact_sheets
from pipelines.stages.command import run_stage
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
    """A prepared dataset breaks rules; the message names them with the rows and the file that lists all."""


def validate(dataset: str, params: ProjectParams) -> None:
    """Check a prepared dataset, write summary, profile, page, sheets and docs as one folder, and record it.

    The accepted profile is replaced only by that of a version that passed.

    Raises:
        DataValidationError: it breaks a rule; all that was found is written all the same.
    """
    folder, limits = validation_folder(dataset), params.validation
    recover(folder)
    before = accepted_profile(folder)
    table = read_table(dataset_folder(dataset))
    facts = collect_facts(table, limits.duplicate_bits, limits.duplicate_difference) if table.usable else None
    profile = build_profile(facts) if facts else {}
    reason = not_comparable(before, profile) if facts else "not compared"
    drift = changes(before, profile, limits.drift) if before and not reason else []
    with atomic_directory(folder) as new:
        checks = judge(table, facts, drift, limits, new / DOCS)
        drifted = any(check.name == "drift" and check.passed is False for check in checks)
        accept = f"delete {folder / PROFILE} and run `dvc repro {validation_stage(dataset)}`"
        page = ValidationPage(
            dataset=dataset,
            folder=str(table.root),
            checks=checks,
            warnings=warnings(facts, limits) if facts else [],
            profile=profile,
            comparison=reason or f"compared with {folder / PROFILE}",
            sheets=list(contact_sheets(facts)) if facts else [],
            docs=f"{DOCS}/{PAGE}",
            hint=f"To accept the changed figures, {accept}." if drifted else "",
        )
        write_json(new / VERDICT, page.summary())
        for sheet in page.sheets:
            write_bytes(new / sheet.file, sheet.png)
        write_validation_page(page, new / PAGE)
        if not page.failed:
            write_json(new / PROFILE, {**profile, "comparison": page.comparison})
        elif (folder / PROFILE).is_file():
            shutil.copyfile(folder / PROFILE, new / PROFILE)
    error = DataValidationError(page.failure(folder / VERDICT)) if page.failed else None
    try:
        _track(dataset, params, folder, error)
    except TrackingError:
        if error is None:
            raise
        logger.exception("the failed validation could not be recorded")
    if error is not None:
        raise error


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
    """Return the profile of the last version that passed; None where there is none.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / PROFILE
    return read_json(path) if path.is_file() else None


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
        # No trial runs on data that failed, so the parent has no run to take its status from.
        parent.set_tags({TAG_ERROR: f"validate: {error}"})
        parent.finish("FAILED", "validate")


def main() -> None:
    """Entry of ``python -m pipelines.stages.validate``."""
    parser = argparse.ArgumentParser(description="Validate one prepared dataset.")
    parser.add_argument("--dataset", required=True)
    dataset = parser.parse_args().dataset

    def body() -> None:
        params = load_params(PARAMS)
        if dataset not in params.datasets:
            raise ConfigError(f"{PARAMS} defines no dataset '{dataset}'; it has {sorted(params.datasets)}")
        validate(dataset, params)

    run_stage(body)
    sys.stdout.write(f"validation passed: open {validation_folder(dataset) / PAGE}\n")


if __name__ == "__main__":
    main()
