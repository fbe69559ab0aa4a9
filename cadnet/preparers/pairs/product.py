"""``product.yaml``: what a product folder holds and what its parts mean; and making a new product folder."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated, Any, Literal, Self

import regex
import yaml
from pydantic import AfterValidator, Field, model_validator

from cadnet.config.base import Name, Params
from cadnet.config.load import read_model
from cadnet.files import refuse_links, relative_name, write_text
from cadnet.images.labels import palette
from cadnet.writing.units import PreparationError

PRODUCT_FILE = "product.yaml"
MAX_CLASSES = 254
MAX_PATTERN = 500
PATTERN_SECONDS = 0.5
"""Time of a group_pattern on one name."""
FOLDERS = ("images", "references", "masks")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


def _listed_classes(data: dict[str, Any]) -> dict[str, Any]:
    """``classes: [scratch, dent]`` and ``scratch:`` with nothing after it are classes without particulars."""
    value = data.get("classes")
    if isinstance(value, list | dict):
        words = [json.dumps(name, default=str) for name in value if not isinstance(name, str)]
        if words:
            raise ValueError(
                f"classes: YAML reads {', '.join(words)} where a name was meant (no, off are false, yes, on "
                "true, digits numbers); write such names in quotes"
            )
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        twice = sorted({name for name in value if value.count(name) > 1})
        if twice:
            raise ValueError(f"classes: {twice} twice; keep one of each")
        value = dict.fromkeys(value)
    if isinstance(value, dict):
        value = {name: {} if info is None else info for name, info in value.items()}
    return {**data, "classes": value} if "classes" in data else data


def _group_pattern(value: str) -> str:
    if len(value) > MAX_PATTERN:
        raise ValueError(f"it has {len(value)} characters; {MAX_PATTERN} must do")
    try:
        names = regex.compile(value).groupindex
    except (regex.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{value!r} is no regular expression: {error}") from error
    if "group" not in names:
        raise ValueError(f"{value!r} has no part (?P<group>...); put it around what names the group")
    return value


def find_group(pattern: str, name: str) -> str:
    """Return the group that ``pattern`` finds in ``name``, "" for none.

    Raises:
        ValueError: it searches too long: nested repetitions try every way to divide the name.
    """
    try:
        # Unlike re, this library takes a time limit.
        found = regex.search(pattern, name, timeout=PATTERN_SECONDS)
    except TimeoutError as error:
        raise ValueError(
            f"group_pattern {pattern!r} takes longer than {PATTERN_SECONDS:g} s on a name; write it without "
            "a repetition inside a repetition"
        ) from error
    return "" if found is None else found["group"] or ""


Inside = Annotated[str, AfterValidator(relative_name)]
Color = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]


class ClassInfo(Params):
    """One kind of defect."""

    color: Color | None = None
    """As "#d55e00"; null takes one that people with any colour vision distinguish from the others."""
    description: str = ""
    labels: tuple[str, ...] = ()
    """Further names by which annotation files call it; the class's own name always counts."""


class LabelSource(Params):
    """The labels of a product."""

    format: Literal["masks", "coco", "voc", "labelme", "yolo"] = "masks"
    path: Inside = "masks"
    """Folder, or for coco the json file."""
    suffix: str = ""
    """The text between a photograph's name and .png in its mask's name, for example "_mask"."""
    white: Literal["defect", "ignore"] | None = None
    """Meaning of the value 255 in masks; null decides where it is clear and refuses where it is not."""
    map: Inside | None = None
    """File that says what colours or numbers of masks, or class numbers of YOLO files, mean; null takes a
    known one beside the labels or one folder above, if there is one."""
    skip: tuple[str, ...] = ()
    """Names in annotation files that are no defects."""
    ignore: tuple[str, ...] = ()
    """Names in annotation files whose pixels neither train nor score."""


class Product(Params):
    """The content of ``product.yaml``."""

    name: Name
    description: str = ""
    classes: Annotated[dict[Name, ClassInfo], Field(min_length=1, max_length=MAX_CLASSES)]
    """In mask order: the first is 1."""
    images: Inside = "images"
    """Folder (with sub-folders) or glob of the photographs."""
    references: Inside = "references"
    """Folder, glob or single file of the clean references."""
    reference: Literal["single", "group", "nearest"] = "single"
    """Which reference a photograph is compared with: the only one, the one called like its group, or the one
    that looks most like it."""
    group_pattern: Annotated[str, AfterValidator(_group_pattern)] | None = None
    """Regular expression with a part ``(?P<group>...)``, searched in the path below the images folder."""
    keep_together: Literal["photograph", "group"] | None = None
    """What must not straddle train, val and test; null: groups, when they are given by the table or the
    pattern and do not choose the reference, else photographs."""
    labels: LabelSource | None = LabelSource()
    """null when there are none."""
    missing_mask: Literal["unlabelled", "clean"] = "unlabelled"
    """How a photograph without a mask or annotation is taken."""
    table: Inside | None = None
    """csv with the column image and any of group, reference, split; null takes images.csv if it exists."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if "background" in self.classes:
            raise ValueError("classes: background is no defect class; remove it, it always is 0")
        colors = [info.color.lower() for info in self.classes.values() if info.color]
        if len(set(colors)) < len(colors):
            raise ValueError("classes: two have one color; give each its own")
        owners: dict[str, str] = {}
        for label, owner in [*self._labels(), *self._special()]:
            if owners.setdefault(label, owner) != owner:
                raise ValueError(f"the label {label!r} means {owners[label]} and {owner}; keep one")
        return self

    def _labels(self) -> list[tuple[str, str]]:
        return [
            (label_key(label), name) for name, info in self.classes.items() for label in (name, *info.labels)
        ]

    def _special(self) -> list[tuple[str, str]]:
        source = self.labels or LabelSource()
        pairs = [(label, "labels.skip") for label in source.skip]
        pairs += [(label, "labels.ignore") for label in source.ignore]
        return [(label_key(label), owner) for label, owner in pairs]

    def label_values(self) -> dict[str, int | None]:
        """Return label (as :func:`label_key` writes it) -> mask value; None for what is no defect."""
        numbers = {name: number for number, name in enumerate(self.classes, start=1)}
        special: dict[str, int | None] = {"labels.skip": None, "labels.ignore": 255}
        return {key: numbers[name] for key, name in self._labels()} | {
            key: special[owner] for key, owner in self._special()
        }

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """RGB colours of the classes."""
        wanted = [_rgb(info.color) if info.color else None for info in self.classes.values()]
        free = iter(color for color in palette(2 * len(wanted)) if color not in wanted)
        return tuple(color or next(free) for color in wanted)


def label_key(label: str) -> str:
    """Return a label as it is compared: without case and outer spaces."""
    return label.strip().casefold()


def load_product(root: Path) -> Product:
    """Read and check ``root/product.yaml``.

    Raises:
        FileNotFoundError: there is none.
        ConfigError: it is not YAML, too large, or has unknown, missing or wrong keys; all of them are listed.
    """
    path = root / PRODUCT_FILE
    if not path.is_file():
        raise FileNotFoundError(missing_product(root))
    return read_model(path, Product, "`cadnet init-product NAME` writes one to fill in", _listed_classes)


def missing_product(root: Path) -> str:
    """The message that a folder is no product folder, with what one is and how to begin it."""
    return (
        f"{root / PRODUCT_FILE} does not exist. A product folder is\n"
        f"  {root}/product.yaml   names the classes and says where the rest is\n"
        f"  {root}/images/        photographs;  {root}/references/  clean ones;  {root}/masks/  labels\n"
        f"`cadnet init-product {root.name}` makes it, with everything explained"
    )


def init_product(name: str, classes: Sequence[str] = (), parent: Path | str = "data") -> tuple[Path, str]:
    """Make the product folder ``parent/name`` and return it with a text on what to do next.

    An existing folder, which may hold photographs, is completed; product.yaml is written last.

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
    refuse_links(folder, Path(parent))
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
        # A folder of photographs may be a link to where they are; nothing is written there.
        if not (folder / part).is_symlink() and not readme.exists():
            write_text(readme, _filled(f"{part}.md", values))
    write_text(target, _filled(PRODUCT_FILE, values))
    return folder, _filled("next.txt", values)


def _filled(name: str, values: dict[str, str]) -> str:
    text = (files("cadnet.preparers.pairs") / "template" / name).read_text("utf-8")
    return Template(text).substitute(values)


def _quoted(word: str) -> str:
    """A word that YAML reads as text: no, on and 12 unquoted are other types."""
    return word if yaml.safe_load(word) == word else f'"{word}"'


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
