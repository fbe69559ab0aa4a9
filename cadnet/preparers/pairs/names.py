"""What annotation files call defects, brought to mask values; and reading such files safely."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from cadnet.preparers.pairs.problems import Problems
from cadnet.preparers.pairs.product import Product, label_key
from cadnet.writing.problems import shown

MAX_JSON_BYTES = 128 * 2**20


class LabelNames:
    """Looks up labels and remembers those that are not known."""

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
