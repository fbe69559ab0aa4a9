"""PKU-Market-PCB planned as a prepared dataset."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import cadnet.alignment
import cadnet.images
import cadnet.preparers.aligned
import cadnet.preparers.naming
import cadnet.preparers.pku_pcb
import cadnet.preparers.resizing
import cadnet.preparers.slivers
from cadnet.config import PkuPcbParams, SplitParams
from cadnet.files import value_digest
from cadnet.preparers.palette import palette
from cadnet.preparers.pku_pcb.annotations import CLASSES
from cadnet.preparers.pku_pcb.layout import Photograph, Raw, read_layout
from cadnet.preparers.pku_pcb.render import Item, PkuPcbRenderer
from cadnet.preparers.pku_pcb.summary import count_rules, summarise
from cadnet.writing.problems import shown
from cadnet.writing.provenance import code_digest, source_digests, versions
from cadnet.writing.splits import draw_splits, read_splits
from cadnet.writing.units import Plan, PreparationError, Unit

_CODE = (
    cadnet.preparers.naming, cadnet.preparers.pku_pcb, cadnet.preparers.aligned, cadnet.preparers.resizing,
    cadnet.preparers.slivers, cadnet.alignment, cadnet.images,
)  # fmt: skip
"""Modules that decide the bytes."""
_LISTED = 20


def plan_pku_pcb(params: PkuPcbParams) -> Plan:
    """Plan the windows of the photographs below ``params.raw``; a unit is a photograph with its rotated copy.

    Nothing is decoded, all files are read once for their digests.

    Raises:
        PreparationError: no raw data, files that are unusable or do not belong together (all are listed), or
            photographs that the split list does not name.
        ArchiveError: ``params.raw`` is an archive that cannot be unpacked safely.
        FileNotFoundError: no split list.
    """
    raw = read_layout(params.raw, params.rotated)
    splits = _splits(raw.photographs, params)
    units = tuple(Unit(p.sample, Item(p, splits[p.name])) for p in raw.photographs)
    rules = count_rules((p.annotation for p in raw.photographs), params.window)
    return Plan(
        preparer="pku_pcb",
        name="pku_pcb",
        classes=CLASSES,
        palette=palette(len(CLASSES)),
        units=units,
        renderer=PkuPcbRenderer(raw.root, params),
        tools={"versions": versions(), "code": code_digest(*_CODE)},
        description={
            "params": params.model_dump(mode="json", exclude={"raw", "split_list"}),
            "splits": value_digest(splits),
            "sources": _sources(raw),
        },
        summarise=partial(summarise, photographs=raw.photographs, rules=rules, rotated=params.rotated),
    )


def split_photographs(names: Iterable[str], params: SplitParams) -> dict[str, str]:
    """Draw a split of photographs such as ``01_missing_hole_01``, stratified by board and class."""
    return draw_splits({name: name.rpartition("_")[0] or name for name in names}, params)


def _splits(photographs: Iterable[Photograph], params: PkuPcbParams) -> dict[str, str]:
    names = [photograph.name for photograph in photographs]
    if params.split_list is None:
        return split_photographs(names, params.split)
    listed = read_splits(params.split_list, "photograph")
    missing = [name for name in names if name not in listed]
    if missing:
        raise PreparationError(
            f"split list {params.split_list} does not name {len(missing)} photographs: "
            f"{shown(missing, _LISTED)}; add them, or draw a split with split_list: null"
        )
    return {name: listed[name] for name in names}


def _sources(raw: Raw) -> dict[str, str]:
    files = set(raw.angle_files)
    for p in raw.photographs:
        files |= {file for file in (p.file, p.annotation_file, p.board_file, p.copy) if file}
    return source_digests([raw.root / file for file in files], raw.root)
