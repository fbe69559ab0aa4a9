"""Annotation files: COCO json of many photographs, LabelMe json and Pascal VOC xml of one photograph each."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from cadnet.preparers.pairs.pictures import PictureFinder, ProductFolder, mismatch
from cadnet.preparers.pairs.product import label_key
from cadnet.preparers.pairs.shapes import Shape, check_shape, run_lengths
from cadnet.preparers.voc import read_voc_file
from cadnet.writing.units import shown

MAX_JSON_BYTES = 128 * 2**20
_COCO_LISTS = ("images", "annotations", "categories")


class AnnotationReader:
    """Reads the annotation files of a product folder, to whose problems it adds all that is wrong with them.

    Objects of photographs whose header cannot be read are left out.
    """

    def __init__(self, folder: ProductFolder) -> None:
        self._sizes, self._add = folder.sizes, folder.problems.add
        self._problems = folder.problems
        self._finder = PictureFinder(folder.pictures)
        self._values = folder.product.label_values()
        self._classes = list(folder.product.classes)
        self._unknown: Counter[str] = Counter()

    def report_unknown(self) -> None:
        """Add one problem that names all labels met so far that are not known."""
        if self._unknown:
            names = [f"{label!r} ({count} objects)" for label, count in sorted(self._unknown.items())]
            self._add(
                f"the annotations hold labels that name no class: {shown(names, 50)}; in product.yaml, add "
                f"each to the `labels` of its class ({', '.join(self._classes)}), or to `skip` or `ignore` "
                "under labels"
            )

    def coco(self, path: Path) -> dict[str, list[Shape]]:
        """Return source of a photograph -> its objects in file order, of photographs that have any."""
        try:
            data = read_annotation_json(path)
        except (ValueError, OSError) as error:
            self._add(str(error))
            return {}
        if not isinstance(data, dict) or not all(_is_list_of_dicts(data.get(key)) for key in _COCO_LISTS):
            self._add(
                f"{path} is no COCO file: it lacks the lists {', '.join(_COCO_LISTS)}; export it as COCO"
            )
            return {}
        labels = {
            item.get("id"): str(item.get("name")) for item in data["categories"] if _is_id(item.get("id"))
        }
        sources = self._coco_sources(path, data["images"])
        found: dict[str, list[Shape]] = {}
        for item in data["annotations"]:
            where = f"{path}, annotation {item.get('id')!r:.40}"
            image, category = item.get("image_id"), item.get("category_id")
            if not _is_id(image) or image not in sources or not _is_id(category) or category not in labels:
                self._add(f"{where}: its image or category is not in the file; export it again")
                continue
            source, value = sources[image], self._value(labels[category])
            if source is None or value is None or source not in self._sizes:
                continue
            objects = found.setdefault(source, [])
            try:
                objects.append(self._checked(_coco_shape(item, value, labels[category]), source))
            except ValueError as error:
                self._add(f"{where}: {error}; correct the object or remove it")
        return found

    def labelme(self, path: Path, source: str) -> list[Shape]:
        """Return the objects of a LabelMe file; a file without shapes says that there is no defect.

        The picture that it names or holds is ignored: the file belongs to the photograph of its own name.
        """
        try:
            data = read_annotation_json(path)
        except (ValueError, OSError) as error:
            self._add(str(error))
            return []
        drawn = data.get("shapes") if isinstance(data, dict) else None
        if not _is_list_of_dicts(drawn):
            self._add(f"{path} is no LabelMe file: it has no list of shapes; export it again")
            return []
        self._check_size(path, source, data.get("imageWidth"), data.get("imageHeight"))
        found = []
        for number, item in enumerate(drawn, start=1):
            label = str(item.get("label"))
            value = self._value(label)
            if value is None:
                continue
            try:
                found.append(self._checked(_labelme_shape(item, value, label), source))
            except ValueError as error:
                self._add(f"{path}, shape {number} ({label!r:.60}): {error}; correct it or remove it")
        return found

    def voc(self, path: Path, source: str) -> list[Shape]:
        """Return the objects of a Pascal VOC file as filled boxes."""
        try:
            content = read_voc_file(path)
        except (ValueError, OSError) as error:
            self._add(str(error))
            return []
        sides = (int(side) if math.isfinite(side) else 0 for side in (content.width, content.height))
        self._check_size(path, source, *sides)
        found = []
        for number, (label, (left, top, right, bottom)) in enumerate(content.objects, start=1):
            value = self._value(label)
            if value is None:
                continue
            try:
                shape = Shape(value, "box", ((left - 1, top - 1, right, bottom),), label)
                found.append(self._checked(shape, source))
            except ValueError as error:
                self._add(f"{path}, object {number} ({label!r:.60}): {error}; correct it or remove it")
        return found

    def _value(self, label: str) -> int | None:
        """The mask value of a label, None for what is no defect or not known."""
        key = label_key(label)
        if key not in self._values:
            self._unknown[label] += 1
        return self._values.get(key)

    def _coco_sources(self, path: Path, images: list[dict[str, Any]]) -> dict[Any, str | None]:
        """Image id -> source of its photograph, None when there is none (which is a problem)."""
        sources: dict[Any, str | None] = {}
        seen: set[str | None] = set()
        for item in images:
            name, key = item.get("file_name"), item.get("id")
            where = f"{path}, image {key!r:.40}"
            if not isinstance(name, str) or not _is_id(key) or key in sources:
                self._add(f"{where}: it needs its own id and a file_name; export it again")
                continue
            source = self._finder.find(name, where, self._problems)
            if source is not None and source in seen:
                self._add(f"{where}: {source} has an entry already; keep one")
            seen.add(source)
            sources[key] = source
            if source in self._sizes:
                self._check_size(path, source, item.get("width"), item.get("height"))
        return sources

    def _check_size(self, path: Path, source: str, width: Any, height: Any) -> None:
        """Add a problem when a file states another size than its photograph's; absent or zero is accepted."""
        fault = mismatch(path, source, self._sizes[source], width, height) if width and height else None
        if fault:
            self._add(fault)

    def _checked(self, shape: Shape, source: str) -> Shape:
        fault = check_shape(shape, *self._sizes[source][:2])
        if fault:
            raise ValueError(fault)
        return shape


def read_annotation_json(path: Path) -> Any:
    """Read a JSON file of annotations.

    Raises:
        ValueError: too large, not JSON, nested too deeply, or with NaN; the message names the file.
    """
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"{path} is larger than {MAX_JSON_BYTES // 2**20} MiB; split it, or export masks")
    try:
        return json.loads(path.read_bytes(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not readable JSON ({error}); export it again") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def numbers(value: Any) -> tuple[float, ...] | None:
    """Return a list of numbers as a tuple, None when it is anything else."""
    if not isinstance(value, list) or not all(type(item) in (int, float) for item in value):
        return None
    return tuple(value)


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str)


def _is_list_of_dicts(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _coco_shape(item: dict[str, Any], value: int, label: str) -> Shape:
    outline = item.get("segmentation")
    if isinstance(outline, dict):
        counts = outline.get("counts")
        if isinstance(counts, str):
            return Shape(value, "rle", (run_lengths(counts),), label)
        runs = numbers(counts)
        if runs is None or not all(isinstance(run, int) and run >= 0 for run in runs):
            raise ValueError("its run lengths are no list of numbers")
        return Shape(value, "rle", (runs,), label)
    if isinstance(outline, list) and outline:
        parts = tuple(part for part in map(numbers, outline) if part is not None)
        if len(parts) < len(outline):
            raise ValueError("its polygon is no list of numbers")
        return Shape(value, "polygon", parts, label)
    box = numbers(item.get("bbox"))
    if box is None or len(box) != 4:
        raise ValueError("it has neither segmentation nor bbox")
    x, y, width, height = box
    return Shape(value, "box", ((x, y, x + width, y + height),), label)


def _labelme_shape(item: dict[str, Any], value: int, label: str) -> Shape:
    kind, points = item.get("shape_type") or "polygon", item.get("points")
    pairs = [numbers(point) for point in points] if isinstance(points, list) else []
    corners = [point for point in pairs if point is not None and len(point) == 2]
    if not corners or len(corners) < len(pairs):
        raise ValueError("its points are no pairs of numbers")
    flat = tuple(value for point in corners for value in point)
    if kind == "polygon":
        return Shape(value, "polygon", (flat,), label)
    if kind in ("rectangle", "circle") and len(corners) == 2:
        (x1, y1), (x2, y2) = corners
        if kind == "circle":
            return Shape(value, "circle", ((x1, y1, math.hypot(x2 - x1, y2 - y1)),), label)
        return Shape(value, "box", ((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)),), label)
    raise ValueError(
        f"a {kind!r:.40} of {len(corners)} points has no area here; draw a polygon, a rectangle or a circle"
    )
