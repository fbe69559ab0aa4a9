"""Annotation files: COCO json of many photographs; LabelMe json, Pascal VOC xml, YOLO txt of one each."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeGuard

from cadnet.files import read_json
from cadnet.preparers.pairs.outlines import (
    coco_outline,
    in_fractions,
    in_pixels,
    labelme_outline,
    voc_outline,
    yolo_outline,
)
from cadnet.preparers.pairs.pictures import ProductFolder, mismatch
from cadnet.preparers.pairs.product import label_key
from cadnet.preparers.pairs.shapes import (
    MAX_COVERED,
    Outline,
    Shape,
    check_outline,
    extent,
    paint,
    with_holes,
)
from cadnet.preparers.voc import read_voc_file
from cadnet.types import IGNORE_INDEX
from cadnet.writing.units import shown

EXPORT = "export it again, or split it"
MAX_TEXT_BYTES = 2**24
_COCO_LISTS = ("images", "annotations", "categories")
Drawn = Mapping[str, list[Shape]]
"""Source of a photograph -> its objects in file order."""


class Entry(NamedTuple):
    """An object of a file: ``where`` it is, and its outline on a photograph of some width and height."""

    source: str
    where: str
    label: str
    outline: Callable[[int, int], Outline]


class AnnotationReader:
    """Reads the annotation files of a product folder, to whose problems it adds all that is wrong with them.

    Objects of photographs whose header cannot be read are left out. ``names``: labels by their number in
    YOLO files.
    """

    def __init__(self, folder: ProductFolder, names: Mapping[int, str]) -> None:
        self._root, self._sizes, self._add = folder.root, folder.sizes, folder.problems.add
        self._problems, self._finder = folder.problems, folder.finder
        self._values = folder.product.label_values()
        self._classes = list(folder.product.classes)
        self._names = names
        self._unknown: Counter[str] = Counter()
        self._listed: dict[str, Path] = {}
        self._extent: dict[str, int] = defaultdict(int)

    def report_unknown(self) -> None:
        """Add one problem that names all labels met so far that are not known."""
        if self._unknown:
            names = [f"{label!r} ({count} objects)" for label, count in sorted(self._unknown.items())]
            self._add(
                f"the annotations hold labels that name no class: {shown(names, 50)}; in product.yaml, add "
                f"each to the `labels` of its class ({', '.join(self._classes)}), or to `skip` or `ignore` "
                "under labels"
            )

    def coco(self, path: Path) -> Drawn:
        """Return the objects of a COCO file, of photographs that have any.

        A photograph that an earlier file lists is a problem: two exports are not merged unasked.
        """
        try:
            data = read_json(path, EXPORT)
        except (ValueError, OSError) as error:
            self._add(str(error))
            return {}
        if not isinstance(data, dict) or not all(_is_list_of_dicts(data.get(key)) for key in _COCO_LISTS):
            self._add(
                f"{path} is no COCO file: it lacks the lists {', '.join(_COCO_LISTS)}; export it as COCO"
            )
            return {}
        labels: dict[str, str] = {}
        for item in data["categories"]:
            key, name = _id(item.get("id")), str(item.get("name"))
            if key is not None and labels.setdefault(key, name) != name:
                self._add(f"{path}: category {key} is {labels[key]!r} and {name!r}; export it again")
        sources = self._coco_sources(path, data["images"])
        entries = []
        for item in data["annotations"]:
            where = f"{path}, annotation {item.get('id')!r:.40}"
            image, category = _id(item.get("image_id")), _id(item.get("category_id"))
            if image not in sources or category not in labels:
                lost = [
                    f"{key} {item.get(key)!r:.40}"
                    for key, found in (("image_id", image in sources), ("category_id", category in labels))
                    if not found
                ]
                self._add(f"{where}: no entry of the file has its {' and '.join(lost)}; add it, or remove it")
                continue
            source = sources[image]
            if source is not None:
                entries.append(Entry(source, where, labels[category], partial(coco_outline, item)))
        return self._shapes(entries)

    def labelme(self, path: Path, source: str) -> Drawn:
        """Return the objects of a LabelMe file; a file without shapes says that there is no defect.

        The picture that it names or holds is ignored: the file belongs to the photograph of its own name.
        """
        try:
            data = read_json(path, EXPORT)
        except (ValueError, OSError) as error:
            self._add(str(error))
            return {source: []}
        drawn = data.get("shapes") if isinstance(data, dict) else None
        if not _is_list_of_dicts(drawn):
            self._add(f"{path} is no LabelMe file: it has no list of shapes; export it again")
            return {source: []}
        self._check_size(path, source, data.get("imageWidth"), data.get("imageHeight"))
        entries = (
            Entry(source, f"{path}, shape {number}", str(item.get("label")), partial(labelme_outline, item))
            for number, item in enumerate(drawn, start=1)
        )
        return {source: [], **self._shapes(entries)}

    def voc(self, path: Path, source: str) -> Drawn:
        """Return the objects of a Pascal VOC file, boxes filled; one without objects says: no defect."""
        try:
            content = read_voc_file(path)
        except (ValueError, OSError) as error:
            self._add(str(error))
            return {source: []}
        self._check_size(path, source, content.width, content.height)
        # Fractions of the sides do not count from one, as pixels do here.
        edges = [edge for item in content.objects for edge in item.edges]
        first = 0 if all(edge <= 1 for edge in edges) and any(edge % 1 for edge in edges) else 1
        entries = (
            Entry(source, f"{path}, object {number}", item.label, partial(voc_outline, item, first))
            for number, item in enumerate(content.objects, start=1)
        )
        return {source: [], **self._shapes(entries)}

    def yolo(self, path: Path, source: str) -> Drawn:
        """Return the objects of a YOLO file, boxes filled; an empty one says that there is no defect."""
        try:
            if path.stat().st_size > MAX_TEXT_BYTES:
                raise ValueError(f"larger than {MAX_TEXT_BYTES // 2**20} MiB")
            lines = path.read_text("utf-8-sig").splitlines()
        except (ValueError, OSError) as error:
            self._add(f"{path} is no YOLO file ({error}); export it again")
            return {source: []}
        entries = []
        for number, line in enumerate(lines, start=1):
            where = f"{path}, line {number}"
            try:
                values = [float(word) for word in line.split()]
            except ValueError:
                self._add(f"{where}: {line!r:.60} holds more than numbers; export it again")
                continue
            if values and values[0] not in self._names:
                self._add(
                    f"{where}: class {values[0]:g} has no name; add it to the file that "
                    "names the classes (`map` under labels in product.yaml)"
                )
            elif values:
                outline = partial(yolo_outline, values[1:])
                entries.append(Entry(source, where, self._names[int(values[0])], outline))
        return {source: [], **self._shapes(entries, certain=True)}

    def check_painted(self, source: str, shapes: list[Shape]) -> None:
        """Add a problem for each object that leaves no pixel in the mask of its photograph."""
        painted = paint(shapes, *self._sizes[source][:2])
        for shape in painted.empty:
            self._add(
                f"{shape.where}: its {shape.outline.kind} covers no pixel of {source}; correct it (in pixels "
                "of this photograph), or remove it"
            )
        for shape in painted.hidden:
            if shape.value == IGNORE_INDEX:
                continue
            self._add(
                f"{shape.where}: later objects of other classes cover it wholly in {source}; put it behind "
                "them, or remove it"
            )

    def _shapes(self, entries: Iterable[Entry], certain: bool = False) -> Drawn:
        """The objects of one file as shapes.

        Coordinates in 0..1 are scaled when all of the file are; where only some are, those are problems.
        ``certain``: they are in pixels.
        """
        found: list[tuple[Entry, int, Outline]] = []
        drawn: dict[str, list[Shape]] = {}
        for entry in entries:
            key = label_key(entry.label)
            value = self._values.get(key)
            if key not in self._values:
                self._unknown[entry.label] += 1
            if value is None or entry.source not in self._sizes:
                continue
            # Labelled even where the object is unusable, so that nothing else is reported of it.
            drawn.setdefault(entry.source, [])
            try:
                found.append((entry, value, entry.outline(*self._sizes[entry.source][:2])))
            except ValueError as error:
                self._add(f"{entry.where} ({entry.label!r:.60}): {error}; correct the object or remove it")
        fractions = [None if certain else in_fractions(outline) for _, _, outline in found]
        scaled = True in fractions and False not in fractions
        for (entry, value, outline), fraction in zip(found, fractions, strict=True):
            width, height = self._sizes[entry.source][:2]
            fault = check_outline(outline, width, height)
            if scaled and outline.kind == "circle":
                fault = "a circle has no meaning where the file gives fractions of the sides"
            elif fraction and not scaled:
                fault = "it lies within one pixel, as if its coordinates were fractions of the sides"
            if scaled and outline.kind != "rle":
                outline = in_pixels(outline, width, height)
            if not fault:
                self._extent[entry.source] += extent(outline, width, height)
                if self._extent[entry.source] > MAX_COVERED:
                    fault = f"with it the objects of the photograph lie over {MAX_COVERED} pixels"
            if fault:
                self._add(f"{entry.where} ({entry.label!r:.60}): {fault}; correct the object or remove it")
                continue
            drawn[entry.source].append(
                Shape(value, with_holes(outline, width, height), f"{entry.where} ({entry.label!r:.60})")
            )
        return drawn

    def _coco_sources(self, path: Path, images: list[dict[str, Any]]) -> dict[str | None, str | None]:
        """Image id -> source of its photograph, None when there is none (which is a problem)."""
        sources: dict[str | None, str | None] = {}
        folder = PurePosixPath(path.relative_to(self._root).as_posix()).parent
        seen: set[str] = set()
        again: dict[Path, list[str]] = {}
        for item in images:
            name, key = item.get("file_name"), _id(item.get("id"))
            where = f"{path}, image {item.get('id')!r:.40}"
            if not isinstance(name, str) or key is None or key in sources:
                self._add(f"{where}: it needs its own id and a file_name; export it again")
                continue
            beside = self._finder.source((folder / name).as_posix())
            source = sources[key] = beside or self._finder.find(name, where, self._problems)
            if source is None:
                continue
            if source in seen:
                self._add(f"{where}: {source} has an entry already; keep one")
            elif self._listed.setdefault(source, path) != path:
                again.setdefault(self._listed[source], []).append(source)
            seen.add(source)
            if source in self._sizes:
                self._check_size(path, source, item.get("width"), item.get("height"))
        for other, both in again.items():
            self._add(
                f"{path} and {other} both list {len(both)} photographs ({shown(both)}); keep one of the "
                "files, or one entry of each photograph"
            )
        return sources

    def _check_size(self, path: Path, source: str, *stated: Any) -> None:
        """Add a problem when a file states another size than its photograph's; absent or zero is accepted."""
        try:
            width, height = (int(float(side or 0)) for side in stated)
        except (TypeError, ValueError, OverflowError):
            return
        fault = mismatch(path, source, self._sizes[source], width, height) if width and height else None
        if fault:
            self._add(fault)


def _id(value: Any) -> str | None:
    """An id as it is compared: 1, "1" and 1.0 are one; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return re.sub(r"^(\d+)\.0+$", r"\1", str(value).strip())


def _is_list_of_dicts(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)
