"""From a plan to a prepared dataset under its final name."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cadnet.files import (
    CHECKSUMS,
    file_digest,
    read_checksums,
    read_json,
    replace_directory,
    spreadsheet_safe,
    value_digest,
    write_json,
    write_text,
)
from cadnet.types import MANIFEST_COLUMNS, SPLITS, UNLABELLED
from cadnet.writing.progress import open_progress
from cadnet.writing.staging import Staging, intact
from cadnet.writing.units import Failed, Finished, Plan, PreparationError, listed
from cadnet.writing.workers import FULL, render_all

PLAN = "plan.json"
"""How a dataset was made; DVC ignores it."""
LISTED = 20
"""Problems shown in an error's message."""


def write_dataset(plan: Plan, out: Path | str, workers: int = 1, progress: bool = False) -> Path:
    """Write ``plan`` into the folder ``out`` as a prepared dataset and return ``out``.

    Files collect in a hidden folder beside ``out`` that is renamed at the end. After Ctrl-C, a kill or a full
    disk the same call goes on where it stopped; finished units are checked by digest. An existing
    dataset of the same plan is checked and kept, one of another plan is replaced. The bytes do not depend on
    ``workers``.

    Raises:
        PreparationError: units whose raw material is unusable (all are listed), a full disk, ``out`` is some
            other folder, another process writes the same.
    """
    out = Path(out).absolute()
    if workers < 1:
        raise PreparationError(f"workers is {workers} and must be at least 1")
    _refuse_repeated_ids(plan)
    digest = value_digest(plan.description, plan.tools, [unit.unit_id for unit in plan.units])
    try:
        with Staging(out, digest) as staging:
            if _complete(plan, out, digest):
                return out
            done = _render(plan, staging, workers, progress)
            finished = [done[unit.unit_id] for unit in plan.units]
            _write_tables(plan, staging.root, finished)
            checksums = file_digest(staging.root / CHECKSUMS)
            write_json(staging.root / PLAN, {"digest": digest, "checksums": checksums, **plan.tools})
            staging.strip()
            replace_directory(staging.root, out)
            staging.remove_others()
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise PreparationError(
            f"the disk that holds {out} is full; free some space and run again, finished samples are kept"
        ) from error
    return out


def _refuse_repeated_ids(plan: Plan) -> None:
    if not plan.units:
        raise PreparationError(f"dataset {plan.name} has nothing to prepare; check its parameters")
    twice = _repeated([unit.unit_id for unit in plan.units])
    if twice:
        raise PreparationError(
            f"dataset {plan.name} names {twice[:LISTED]} twice; give each item its own name"
        )


def _render(plan: Plan, staging: Staging, workers: int, progress: bool) -> dict[str, Finished]:
    """Render what ``staging`` does not hold yet and return all units by id."""
    done = staging.open(plan.folders)
    todo = [unit for unit in plan.units if unit.unit_id not in done]
    problems: list[str] = []
    with open_progress(progress, len(plan.units), len(plan.units) - len(todo), plan.name) as bar:
        for batch in render_all(plan.renderer, staging.root, todo, workers, plan.chunk):
            finished = [item for item in batch if isinstance(item, Finished)]
            staging.record(finished)
            done.update((item.unit_id, item) for item in finished)
            problems += [p for item in batch if isinstance(item, Failed) for p in item.problems]
            bar.advance(len(batch))
    if problems:
        raise PreparationError(
            f"{len(problems)} problems in the raw material of {plan.name}; correct them and run again, "
            "what is finished is kept:\n" + listed(sorted(problems), LISTED)
        )
    return done


def _complete(plan: Plan, out: Path, digest: str) -> bool:
    """Whether ``out`` already is this dataset, with every file intact.

    Raises:
        PreparationError: ``out`` is something else than a dataset of this preparer, and not to be replaced.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        info = read_json(out / "dataset.json")
        known = info["preparer"] == plan.preparer
    except (OSError, ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise PreparationError(
            f"{out} exists and is no dataset of the preparer {plan.preparer}; choose another folder or "
            "remove it"
        )
    try:
        made = read_json(out / PLAN)
        if made["digest"] != digest or made["checksums"] != file_digest(out / CHECKSUMS):
            return False
        return intact(out, read_checksums(out))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write_tables(plan: Plan, root: Path, finished: Sequence[Finished]) -> None:
    """Write manifest, side tables, description and checksums, in the order of the plan's units."""
    rows = [row for item in finished for row in item.rows]
    if not rows:
        raise PreparationError(f"dataset {plan.name} has no samples; check its raw material and parameters")
    twice = _repeated([str(row["sample_id"]) for row in rows])
    if twice:
        raise PreparationError(
            f"dataset {plan.name} makes the sample ids {twice[:LISTED]} twice; rename the files"
        )
    records: dict[str, list[dict[str, Any]]] = {}
    for item in finished:
        for table, found in item.records.items():
            records.setdefault(table, []).extend(found)
    columns = [*MANIFEST_COLUMNS, *(f"n_{name}" for name in plan.classes)]
    texts = {"manifest.csv": _csv(rows, columns)}
    texts |= {f"{table}.csv": _csv(found, []) for table, found in records.items()}
    for name, text in texts.items():
        write_text(root / name, text)
    value = {
        "preparer": plan.preparer,
        "name": plan.name,
        "classes": list(plan.classes),
        "palette": [list(color) for color in plan.palette],
        "counts": _counts(rows),
        **plan.summarise(rows, records),
        **plan.description,
    }
    write_json(root / "dataset.json", value)
    files = {path: sha for item in finished for path, sha in item.files.items()}
    files |= {name: file_digest(root / name) for name in (*texts, "dataset.json")}
    write_text(root / CHECKSUMS, _csv([{"path": p, "sha256": s} for p, s in files.items()], []))


def _repeated(values: Sequence[str]) -> list[str]:
    return sorted(value for value, count in Counter(values).items() if count > 1)


def _csv(rows: Sequence[Mapping[str, Any]], first: Sequence[str]) -> str:
    """A csv table of ``rows``: the columns ``first``, then further ones in the order they appear."""
    columns = list(dict.fromkeys([*first, *(name for row in rows for name in row)]))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: spreadsheet_safe(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _counts(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    counts = {"samples": len(rows), "defective": sum(bool(row["has_defect"]) for row in rows)}
    counts |= {split: sum(row["split"] == split for row in rows) for split in SPLITS}
    unlabelled = sum(row["split"] == UNLABELLED for row in rows)
    return counts | ({UNLABELLED: unlabelled} if unlabelled else {})
