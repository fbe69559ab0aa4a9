"""From a product folder to the plan of a prepared dataset."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cadnet.alignment
import cadnet.images
import cadnet.preparers.aligned
import cadnet.preparers.naming
import cadnet.preparers.pairs
import cadnet.preparers.palette
import cadnet.preparers.slivers
from cadnet.config import PairsParams
from cadnet.fetching.unpacking import extracted, find_root, is_archive
from cadnet.preparers.pairs.masks import MaskRules
from cadnet.preparers.pairs.material import Material, find_material
from cadnet.preparers.pairs.pictures import safe_ids
from cadnet.preparers.pairs.product import PRODUCT_FILE, load_product, missing_product
from cadnet.preparers.pairs.render import PairRenderer, Photograph
from cadnet.preparers.pairs.summary import summarise
from cadnet.types import UNLABELLED
from cadnet.writing.problems import shown
from cadnet.writing.provenance import code_digest, source_digests, versions
from cadnet.writing.units import Plan, PreparationError, Unit

CACHE = Path("cache/raw")
CHUNK_PIXELS = 4 * 2**20
"""Pixels per task."""


def plan_pairs(params: PairsParams) -> Plan:
    """Plan the dataset of the product folder ``params.raw``.

    Everything is looked at but the photographs' pixels: their headers, and the masks and references as a
    whole.

    Raises:
        FileNotFoundError: there is no such folder or it has no product.yaml.
        ConfigError: product.yaml is wrong.
        PreparationError: anything in the folder is unusable; all of it is listed.
        ArchiveError: ``params.raw`` is an archive that may not be unpacked.
    """
    root = product_root(params.raw)
    found = find_material(root, load_product(root), params)
    photographs = _photographs(found)
    units = [Unit(f"reference {item.reference_id}", item.source) for item in found.references.values()]
    units += [Unit(item.photo_id, item) for item in photographs]
    rules = MaskRules(
        tuple(found.product.classes), found.product.labels.white if found.product.labels else None
    )
    pixels = sorted(size.width * size.height for size in found.sizes.values())
    planned = {"left_out": found.shares.left_out, "ignored_files": found.others}
    return Plan(
        preparer="pairs",
        name=found.product.name,
        classes=rules.classes,
        palette=found.product.palette,
        units=tuple(units),
        renderer=PairRenderer(root, params, rules, found.references),
        description=_describe(found, params),
        tools=_tools(),
        chunk=min(32, max(1, CHUNK_PIXELS // pixels[len(pixels) // 2])),
        summarise=partial(
            summarise, rules.classes, {key: value for key, value in planned.items() if value}, _notes(found)
        ),
    )


def product_root(raw: str) -> Path:
    """Return the folder with product.yaml that ``raw``, a folder or an archive of it, means.

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
    ids = safe_ids(found.pictures)
    photographs = []
    for item in found.pictures:
        share = found.shares.of.get(item.source)
        if share is None:
            continue
        labelled = share.split != UNLABELLED
        photographs.append(
            Photograph(
                photo_id=ids[item.source],
                source=item.source,
                path=item.path.relative_to(found.root).as_posix(),
                subset=found.groups[item.source] or "all",
                group=ids.get(share.unit, share.unit),
                split=share.split,
                references=found.candidates[item.source],
                label=found.labels.of[item.source] if labelled else None,
                turned=found.sizes[item.source].turned,
            )
        )
    if not photographs:
        raise PreparationError(f"no photograph of {found.root} can be used; label some")
    return photographs


def _notes(found: Material) -> list[str]:
    notes = list(found.labels.notes)
    left = found.shares.left_out
    if left:
        notes.append(
            f"{len(left)} unlabelled photographs are left out, because their group is scored: {shown(left)}"
        )
    if found.others:
        notes.append(f"{len(found.others)} files in the images folder are no pictures: {shown(found.others)}")
    return notes


def _tools() -> dict[str, Any]:
    """What decides the bytes besides the material."""
    return {
        "versions": {**versions(), "pycocotools": version("pycocotools"), "pillow": version("pillow")},
        "code": code_digest(
            cadnet.preparers.pairs,
            cadnet.preparers.naming,
            cadnet.preparers.palette,
            cadnet.preparers.aligned,
            cadnet.preparers.slivers,
            cadnet.images,
            cadnet.alignment,
        ),
    }


def _describe(found: Material, params: PairsParams) -> dict[str, Any]:
    """What the dataset is made from."""
    files = [item.path for item in found.pictures if item.source in found.shares.of]
    files += [found.root / PRODUCT_FILE, *found.labels.files]
    files += [found.root / item.path for item in found.references.values()]
    files += [found.table.path] if found.table.path else []
    return {
        "params": params.model_dump(mode="json", exclude={"raw", "split_list"}),
        "product": found.product.model_dump(mode="json"),
        "splits": {source: share.split for source, share in sorted(found.shares.of.items())},
        "sources": source_digests(set(files), found.root),
    }
