"""Label maps: what colours or numbers of masks and class numbers of YOLO files mean, as tools export it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from cadnet.config.load import MAX_YAML_BYTES, parse_yaml
from cadnet.preparers.pairs.product import LabelSource
from cadnet.writing.units import PreparationError

Key = tuple[int, ...]
"""A colour, red, green and blue, or a single number."""
MAX_BYTES = 2**20
_FILES = {
    "masks": ("labelmap.txt", "label_colors.txt", "class_dict.csv", "_classes.csv"),
    "yolo": ("data.yaml", "dataset.yaml", "data.yml", "classes.txt", "obj.names"),
}
"""Names by which a map is found: of CVAT, CamVid, Roboflow; of Ultralytics, Roboflow, Label Studio, CVAT."""
_LINES = (
    re.compile(r"(?P<name>[^:]+):(?P<key>\d+,\d+,\d+)(?::.*)?"),
    re.compile(r"(?P<key>\d+\s+\d+\s+\d+)\s+(?P<name>.+)"),
    re.compile(r"(?P<name>[^,]+),\s*(?P<key>\d+\s*,\s*\d+\s*,\s*\d+)"),
    re.compile(r"(?P<key>\d+)\s*,\s*(?P<name>[^,]+)"),
)
"""scratch:128,0,0::  |  128 0 0 scratch  |  scratch,128,0,0  |  1, scratch"""


def find_label_map(root: Path, source: LabelSource) -> Path | None:
    """Return the label map of a product: the stated one, else one beside the labels or one folder above.

    Raises:
        PreparationError: the stated one does not exist, or several are found.
    """
    if source.map is not None:
        if not (root / source.map).is_file():
            raise PreparationError(f"{root / source.map} does not exist; correct labels.map in product.yaml")
        return root / source.map
    for folder in dict.fromkeys((root / source.path, (root / source.path).parent)):
        found = [folder / name for name in _FILES.get(source.format, ()) if (folder / name).is_file()]
        if len(found) > 1:
            both = " and ".join(map(str, found))
            raise PreparationError(f"{both} both name classes; say in product.yaml which counts (labels.map)")
        if found and folder.is_relative_to(root):
            return found[0]
    return None


def read_label_map(path: Path) -> dict[Key, str]:
    """Return colour or number -> label.

    A text file of names alone numbers them from 0, as YOLO does.

    Raises:
        PreparationError: not readable, or a line that says nothing; the message names it.
    """
    is_yaml = path.suffix.lower() in (".yaml", ".yml")
    most = MAX_YAML_BYTES if is_yaml else MAX_BYTES
    if path.stat().st_size > most:
        raise PreparationError(f"{path} is larger than {most // 2**10} KiB; it is no label map")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PreparationError(f"{path} is not UTF-8; save it as UTF-8") from error
    if is_yaml:
        return _yaml_names(text, path)
    lines = {number: line.strip() for number, line in enumerate(text.splitlines(), start=1)}
    lines = {number: line for number, line in lines.items() if line and not line.startswith("#")}
    matched = {
        n: next(filter(None, (form.fullmatch(line) for form in _LINES)), None) for n, line in lines.items()
    }
    if not any(matched.values()):
        return {(index,): line for index, line in enumerate(lines.values())}
    labels: dict[Key, str] = {}
    for number, match in matched.items():
        if match is None and number == min(lines):
            continue  # The header of a table.
        key = tuple(int(part) for part in re.findall(r"\d+", match["key"])) if match else ()
        label = match["name"].strip() if match else ""
        if not label or max(key) > 255 or labels.setdefault(key, label) != label:
            raise PreparationError(
                f"{path}, line {number}: {lines[number]!r:.80}; give each label once, with a colour or "
                "number of its own, such as scratch:128,0,0"
            )
    return labels


def _yaml_names(text: str, path: Path) -> dict[Key, str]:
    """The entry ``names`` of Ultralytics' data.yaml, a list or a mapping from numbers."""
    try:
        data, _ = parse_yaml(text)
    except ValueError as error:
        raise PreparationError(f"{path} is not YAML: {error}") from error
    names = data.get("names") if isinstance(data, Mapping) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(type(key) is int for key in names):
        raise PreparationError(f"{path} has no entry `names` with the names of the classes; add it")
    return {(key,): str(name) for key, name in names.items()}
