"""Annotation files: COCO json of many photographs, LabelMe json and Pascal VOC xml of one photograph each."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from cadnet.preparers.pairs.pictures import PictureFinder
from cadnet.preparers.pairs.product import Product, label_key
from cadnet.preparers.pairs.shapes import Shape, check_shape, run_lengths
from cadnet.preparers.voc import read_voc_file
from cadnet.writing.units import Problems, shown

MAX_JSON_BYTES = 128 * 2**20
_COCO_LISTS = ("images", "annotations", "categories")


class Size(NamedTuple):
    """Width and height in pixels as shown; ``turned``: EXIF turns the stored pixels by a right angle."""

    width: int
    height: int
    turned: bool


def mismatch(label: object, source: str, size: Size, width: Any, height: Any) -> str | None:
    """Return why labels of ``width`` x ``height`` do not fit the photograph ``source``; None when they do."""
    if (width, height) == (size.width, size.height):
        return None
    text = f"{label} is made for {width} x {height} pixels, {source} has {size.width} x {size.height}"
    if (width, height) == (size.height, size.width) and size.turned:
        return (
            f"{text} as shown: its EXIF entry turns it. Labels are taken to be drawn on the photograph as it "
            "is shown; turn the labels, or save the photograph without that entry and turned as the labels "
            "are"
        )
    return f"{text}; draw the labels on this very file"


def check_size(label: Path, source: str, size: Size, width: Any, height: Any, problems: Problems) -> None:
    """Add a problem when an annotation file states another size; absent or zero sizes are accepted."""
    if not width or not height:
        return
    fault = mismatch(label, source, size, width, height)
    if fault:
        problems.add(fault)


class LabelNames:
    """The mask values of labels; remembers the labels that are not known."""

    def __init__(self, product: Product) -> None:
        self._values = product.label_values()
        self._classes = list(product.classes)
        self._unknown: Counter[str] = Counter()

    def value(self, label: str) -> int | None:
        """Return the mask value of a label, None for what is no defect or not known."""
        key = label_key(label)
        if key not in self._values:
            self._unknown[label] += 1
        return self._values.get(key)

    def report(self, problems: Problems) -> None:
        """Name all unknown labels in one problem."""
        if self._unknown:
            names = [f"{label!r} ({count} objects)" for label, count in sorted(self._unknown.items())]
            problems.add(
                f"the annotations hold labels that name no class: {shown(names, 50)}; in product.yaml, add "
                f"each to the `labels` of its class ({', '.join(self._classes)}), or to `skip` or `ignore` "
                "under labels"
            )


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


Reader = Callable[[Path, str, Size, LabelNames, Problems], list[Shape]]
"""Reads the objects of a file that belongs to the photograph ``source``; [] when the file is unusable."""


def read_coco(
    path: Path,
    finder: PictureFinder,
    sizes: Mapping[str, Size],
    names: LabelNames,
    problems: Problems,
) -> dict[str, list[Shape]]:
    """Return source of a photograph -> its objects in file order; photographs without an object are left out.

    Args:
        path: the json file.
        finder: finds photographs by their ``file_name``.
        sizes: of the photographs as shown, by source.
        names: of the labels.
        problems: takes what is wrong.
    """
    try:
        data = read_annotation_json(path)
    except (ValueError, OSError) as error:
        problems.add(str(error))
        return {}
    if not isinstance(data, dict) or not all(
        isinstance(data.get(key), list) and all(isinstance(item, dict) for item in data[key])
        for key in _COCO_LISTS
    ):
        problems.add(
            f"{path} is no COCO file: it lacks the lists {', '.join(_COCO_LISTS)}; export it as COCO"
        )
        return {}
    labels = {item.get("id"): str(item.get("name")) for item in data["categories"] if _is_id(item.get("id"))}
    sources = _sources(path, data["images"], finder, sizes, problems)
    found: dict[str, list[Shape]] = {}
    for item in data["annotations"]:
        where = f"{path}, annotation {item.get('id')!r:.40}"
        image, category = item.get("image_id"), item.get("category_id")
        if not _is_id(image) or image not in sources or not _is_id(category) or category not in labels:
            problems.add(f"{where}: its image or category is not in the file; export it again")
            continue
        source = sources[image]
        value = names.value(labels[category])
        if source is None or value is None or source not in sizes:
            continue
        objects = found.setdefault(source, [])
        try:
            objects.append(_checked(_coco_shape(item, value, labels[category]), sizes[source]))
        except ValueError as error:
            problems.add(f"{where}: {error}; correct the object or remove it")
    return found


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str)


def _sources(
    path: Path,
    images: list[dict[str, Any]],
    finder: PictureFinder,
    sizes: Mapping[str, Size],
    problems: Problems,
) -> dict[Any, str | None]:
    """Image id -> source of its photograph, None when there is none (which is a problem)."""
    sources: dict[Any, str | None] = {}
    seen: set[str | None] = set()
    for item in images:
        name, key = item.get("file_name"), item.get("id")
        if not isinstance(name, str) or not _is_id(key) or key in sources:
            problems.add(f"{path}, image {key!r:.40}: it needs its own id and a file_name; export it again")
            continue
        source = finder.find(name, f"{path}, image {key!r:.40}", problems)
        if source is not None and source in seen:
            problems.add(f"{path}, image {key!r:.40}: {source} has an entry already; keep one")
        seen.add(source)
        sources[key] = source
        if source is not None and source in sizes:
            check_size(path, source, sizes[source], item.get("width"), item.get("height"), problems)
    return sources


def _checked(shape: Shape, size: Size) -> Shape:
    fault = check_shape(shape, size.width, size.height)
    if fault:
        raise ValueError(fault)
    return shape


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


def read_labelme(path: Path, source: str, size: Size, names: LabelNames, problems: Problems) -> list[Shape]:
    """Read a LabelMe file; a file without shapes says that there is no defect.

    The picture that it names or holds is not looked at: the file belongs to the photograph of its own name.
    """
    try:
        data = read_annotation_json(path)
    except (ValueError, OSError) as error:
        problems.add(str(error))
        return []
    drawn = data.get("shapes") if isinstance(data, dict) else None
    if not isinstance(drawn, list) or not all(isinstance(item, dict) for item in drawn):
        problems.add(f"{path} is no LabelMe file: it has no list of shapes; export it again")
        return []
    check_size(path, source, size, data.get("imageWidth"), data.get("imageHeight"), problems)
    found = []
    for number, item in enumerate(drawn, start=1):
        label = str(item.get("label"))
        value = names.value(label)
        if value is None:
            continue
        try:
            found.append(_checked(_labelme_shape(item, value, label), size))
        except ValueError as error:
            problems.add(f"{path}, shape {number} ({label!r:.60}): {error}; correct it or remove it")
    return found


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


def read_voc(path: Path, source: str, size: Size, names: LabelNames, problems: Problems) -> list[Shape]:
    """Read the objects of a Pascal VOC file as filled boxes."""
    try:
        content = read_voc_file(path)
    except (ValueError, OSError) as error:
        problems.add(str(error))
        return []
    width, height = (int(side) if math.isfinite(side) else 0 for side in (content.width, content.height))
    check_size(path, source, size, width, height, problems)
    found = []
    for number, (label, (left, top, right, bottom)) in enumerate(content.objects, start=1):
        value = names.value(label)
        if value is None:
            continue
        shape = Shape(value, "box", ((left - 1, top - 1, right, bottom),), label)
        fault = check_shape(shape, size.width, size.height)
        if fault:
            problems.add(f"{path}, object {number} ({label!r:.60}): {fault}; correct it or remove it")
            continue
        found.append(shape)
    return found
