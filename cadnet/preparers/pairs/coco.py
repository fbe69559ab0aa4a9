"""COCO json: objects as polygons, run lengths or boxes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cadnet.preparers.pairs.names import LabelNames, numbers, read_annotation_json
from cadnet.preparers.pairs.problems import Problems
from cadnet.preparers.pairs.shapes import Shape, check_shape, run_lengths
from cadnet.preparers.pairs.sizes import Size, check_size
from cadnet.preparers.pairs.table import PictureFinder

_KEYS = ("images", "annotations", "categories")


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
        problems: where to note what is wrong.
    """
    try:
        data = read_annotation_json(path)
    except (ValueError, OSError) as error:
        problems.add(str(error))
        return {}
    if not isinstance(data, dict) or not all(
        isinstance(data.get(key), list) and all(isinstance(item, dict) for item in data[key]) for key in _KEYS
    ):
        problems.add(f"{path} is no COCO file: it lacks the lists {', '.join(_KEYS)}; export it as COCO")
        return {}
    labels = {item.get("id"): str(item.get("name")) for item in data["categories"] if _is_id(item.get("id"))}
    sources = _sources(path, data["images"], finder, sizes, problems)
    found: dict[str, list[Shape]] = {}
    for item in data["annotations"]:
        place = f"{path}, annotation {item.get('id')!r:.40}"
        image, category = item.get("image_id"), item.get("category_id")
        if not _is_id(image) or image not in sources or not _is_id(category) or category not in labels:
            problems.add(f"{place}: its image or category is not in the file; export it again")
            continue
        source = sources[image]
        value = names.value(labels[category])
        if source is None or value is None or source not in sizes:
            continue
        objects = found.setdefault(source, [])
        try:
            objects.append(_shape(item, value, labels[category], sizes[source]))
        except ValueError as error:
            problems.add(f"{place}: {error}; correct the object or remove it")
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


def _shape(item: dict[str, Any], value: int, label: str, size: Size) -> Shape:
    shape = _drawn(item, value, label)
    fault = check_shape(shape, size.width, size.height)
    if fault:
        raise ValueError(fault)
    return shape


def _drawn(item: dict[str, Any], value: int, label: str) -> Shape:
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
        parts = [numbers(part) for part in outline]
        if any(part is None for part in parts):
            raise ValueError("its polygon is no list of numbers")
        return Shape(value, "polygon", tuple(part for part in parts if part is not None), label)
    box = numbers(item.get("bbox"))
    if box is None or len(box) != 4:
        raise ValueError("it has neither segmentation nor bbox")
    x, y, width, height = box
    return Shape(value, "box", ((x, y, x + width, y + height),), label)
