"""From a product folder to the plan of a prepared dataset, and its entries of ``dataset.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cadnet.alignment
import cadnet.images
import cadnet.preparers.aligned
import cadnet.preparers.pairs
import cadnet.preparers.voc
from cadnet.config import PairsParams
from cadnet.fetching.unpacking import extracted, find_root, is_archive
from cadnet.preparers.pairs.material import Material, find_material
from cadnet.preparers.pairs.pictures import safe_ids
from cadnet.preparers.pairs.product import PRODUCT_FILE, load_product, missing_product
from cadnet.preparers.pairs.render import NOTES, PairRenderer, Photograph
from cadnet.types import SPLITS, UNLABELLED
from cadnet.writing.units import Plan, PreparationError, Unit, shown, source_digests, tools

CACHE = Path("cache/raw")
CHUNK_PIXELS = 4 * 2**20
"""Pixels per task."""
Rows = list[dict[str, Any]]


def plan_pairs(params: PairsParams) -> Plan:
    """Plan the dataset of the product folder ``params.raw``.

    Everything is read but the photographs' pixels: their headers, and the masks and references as a whole.

    Raises:
        FileNotFoundError: there is no such folder or it has no product.yaml.
        ConfigError: product.yaml is wrong.
        PreparationError: anything in the folder is unusable; all of it is listed.
        ArchiveError: ``params.raw`` is an archive that may not be unpacked.
    """
    root = product_root(params.raw)
    found = find_material(root, load_product(root), params)
    folder, photographs = found.folder, _photographs(found)
    units = [Unit(f"reference {item.reference_id}", item.source) for item in found.references.values()]
    units += [Unit(item.photo_id, item) for item in photographs]
    rules = found.labels.rules
    pixels = sorted(size.width * size.height for size in folder.sizes.values())
    planned = {"left_out": found.splits.left_out, "ignored_files": folder.others}
    return Plan(
        preparer="pairs",
        name=folder.product.name,
        classes=rules.classes,
        palette=folder.product.palette,
        units=tuple(units),
        renderer=PairRenderer(root, params, rules, found.references),
        description=_describe(found, params),
        tools=tools(
            cadnet.preparers.pairs,
            cadnet.preparers.voc,
            cadnet.preparers.aligned,
            cadnet.images,
            cadnet.alignment,
            pycocotools=version("pycocotools"),
            pillow=version("pillow"),
        ),
        chunk=min(32, max(1, CHUNK_PIXELS // pixels[len(pixels) // 2])),
        summarise=partial(
            summarise, rules.classes, {key: value for key, value in planned.items() if value}, _notes(found)
        ),
    )


def product_root(raw: str) -> Path:
    """Return the folder with product.yaml of ``raw``, a folder or an archive of it.

    Raises:
        FileNotFoundError: there is none; the message says how to make one.
        ArchiveError: the archive may not be unpacked.
    """
    path = Path(raw)
    if is_archive(path) and not path.is_dir():
        return find_root(extracted(path, CACHE), [PRODUCT_FILE])
    if not (path / PRODUCT_FILE).is_file():
        raise FileNotFoundError(missing_product(path))
    return path


def _photographs(found: Material) -> list[Photograph]:
    ids = safe_ids(found.folder.pictures)
    photographs = []
    for item in found.folder.pictures:
        assigned = found.splits.of.get(item.source)
        if assigned is None:
            continue
        labelled = assigned.split != UNLABELLED
        photographs.append(
            Photograph(
                photo_id=ids[item.source],
                source=item.source,
                path=item.path.relative_to(found.folder.root).as_posix(),
                subset=found.folder.groups[item.source] or "all",
                group=ids.get(assigned.unit, assigned.unit),
                split=assigned.split,
                references=found.candidates[item.source],
                label=found.labels.of[item.source] if labelled else None,
                turned=found.folder.sizes[item.source].turned,
            )
        )
    if not photographs:
        raise PreparationError(f"no photograph of {found.folder.root} can be used; label some")
    return photographs


def _notes(found: Material) -> list[str]:
    notes, others = list(found.labels.notes), found.folder.others
    left = found.splits.left_out
    if left:
        notes.append(
            f"{len(left)} unlabelled photographs are left out, because their group is scored: {shown(left)}"
        )
    guessed = [f"{name} is {source}" for name, source in found.folder.finder.guessed.items()]
    if guessed:
        notes.append(
            f"{len(guessed)} names are taken without what a labelling tool had added: {shown(guessed)}"
        )
    if others:
        notes.append(f"{len(others)} files in the images folder are no pictures: {shown(others)}")
    return notes


def _describe(found: Material, params: PairsParams) -> dict[str, Any]:
    """Parameters, splits and sources: what the dataset is made from."""
    files = [item.path for item in found.folder.pictures if item.source in found.splits.of]
    files += [found.folder.root / PRODUCT_FILE, *found.labels.files]
    files += [found.folder.root / item.path for item in found.references.values()]
    files += [found.folder.table.path] if found.folder.table.path else []
    return {
        "params": params.model_dump(mode="json", exclude={"raw", "split_list"}),
        "product": found.folder.product.model_dump(mode="json"),
        "labels": {
            source: [list(found.folder.product.classes)[value - 1] for value in sorted(label.values)]
            for source, label in sorted(found.labels.of.items())
            if label.values and source in found.splits.of and found.splits.of[source].split != UNLABELLED
        },
        "splits": {source: assigned.split for source, assigned in sorted(found.splits.of.items())},
        "sources": source_digests(set(files), found.folder.root),
    }


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
        planned: entries that are known before rendering.
        notes: sentences that are.
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
