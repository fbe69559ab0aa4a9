"""What ``dataset.json`` says about a product beyond counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cadnet.preparers.pairs.render import NOTES
from cadnet.types import SPLITS, UNLABELLED

Rows = list[dict[str, Any]]


def summarise(
    classes: Sequence[str],
    planned: Mapping[str, Any],
    notes: Sequence[str],
    rows: Rows,
    records: Mapping[str, Rows],
) -> dict[str, Any]:
    """Return the further entries ``photographs``, ``references``, ``alignment`` and ``notes``.

    Args:
        classes: in mask order.
        planned: entries that were known before drawing.
        notes: sentences that were.
        rows: of the manifest.
        records: side tables.
    """
    photographs = {row["source"]: row for row in rows}
    splits = Counter(row["split"] for row in photographs.values())
    counts = {split: splits[split] for split in (*SPLITS, UNLABELLED) if splits[split]}
    value: dict[str, Any] = {
        "photographs": counts,
        "references": dict(sorted(Counter(row["reference_source"] for row in photographs.values()).items())),
        **planned,
    }
    found = [*notes, *_class_notes(classes, rows), *_record_notes(records.get(NOTES, []))]
    aligned = {source: row for source, row in photographs.items() if "aligned" in row}
    if aligned:
        failed = {source: row for source, row in aligned.items() if not row["aligned"]}
        value["alignment"] = {
            "accepted": len(aligned) - len(failed),
            "failed": [
                {"source": source, **{key: row[key] for key in ("alignment", "residual", "confidence")}}
                for source, row in failed.items()
            ],
        }
        if failed:
            found.append(
                f"{len(failed)} of {len(aligned)} photographs could not be brought onto their reference "
                "and are kept as they are; see alignment.failed"
            )
    return {**value, "notes": found}


def _class_notes(classes: Sequence[str], rows: Rows) -> list[str]:
    notes = []
    for name in classes:
        without = [
            split
            for split in SPLITS
            if any(row["split"] == split for row in rows)
            and not any(row[f"n_{name}"] for row in rows if row["split"] == split)
        ]
        if without:
            notes.append(
                f"class {name} has no pixel in {', '.join(without)}; it cannot be learned or scored there"
            )
    return notes


def _record_notes(records: Rows) -> list[str]:
    kinds = Counter(record["kind"] for record in records)
    return [f"{count} x {kind}; see {NOTES}.csv" for kind, count in sorted(kinds.items())]
