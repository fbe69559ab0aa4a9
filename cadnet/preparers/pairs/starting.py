"""A new product folder: product.yaml with everything explained, and folders to fill."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

import yaml

from cadnet.files import write_text
from cadnet.preparers.pairs.product import PRODUCT_FILE
from cadnet.writing.units import PreparationError

FOLDERS = ("images", "references", "masks")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


def init_product(name: str, classes: Sequence[str] = (), parent: Path | str = "data") -> tuple[Path, str]:
    """Make the product folder ``parent/name`` and return it with a text on what to do next.

    A folder that is there, with photographs in it perhaps, is completed; product.yaml comes last.

    Raises:
        PreparationError: a name is not of a-z, 0-9, _, . and -, a class is named twice, or product.yaml
        exists.
    """
    classes = list(classes) or ["scratch", "dent"]
    wrong = [word for word in (name, *classes) if not _NAME.fullmatch(word)]
    if wrong:
        raise PreparationError(
            f"{', '.join(map(repr, wrong))}: names of products and classes begin with a-z or 0-9 and go on "
            "with those, '_', '.' and '-'"
        )
    if len(set(classes)) < len(classes) or "background" in classes:
        raise PreparationError(f"classes {', '.join(classes)}: name each defect once; background is none")
    folder = Path(parent) / name
    target = folder / PRODUCT_FILE
    if target.exists():
        raise PreparationError(f"{target} exists and is not overwritten; edit it, or choose another name")
    values = {
        "name": name,
        "quoted": _quoted(name),
        "folder": folder.as_posix(),
        "classes": "\n".join(f"  {_quoted(word)}:" for word in classes),
        "first": classes[0],
        "numbers": ", ".join(f"{number} {word}" for number, word in enumerate(classes, start=1)),
    }
    for part in FOLDERS:
        readme = folder / part / "README.md"
        if not readme.exists():
            write_text(readme, _filled(f"{part}.md", values))
    write_text(target, _filled(PRODUCT_FILE, values))
    return folder, _filled("next.txt", values)


def _filled(name: str, values: dict[str, str]) -> str:
    text = (files("cadnet.preparers.pairs") / "template" / name).read_text("utf-8")
    return Template(text).substitute(values)


def _quoted(word: str) -> str:
    """A word as YAML reads it as text: no, on and 12 are something else there."""
    return word if yaml.safe_load(word) == word else f'"{word}"'
