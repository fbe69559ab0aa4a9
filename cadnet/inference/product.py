"""Product folders: a trained network, the clean references it compares with, and how it decides.

A folder holds all that prediction needs: ``weights.safetensors`` and ``model.json`` as ``save_weights``
writes them, ``references/<name>.png``, and ``product.json`` with the digests of the others and of itself.
Nothing in it is pickled.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from cadnet.config import AlignmentParams, Params
from cadnet.config.base import Name, Positive
from cadnet.files import atomic_directory, file_digest, read_json, value_digest, write_json, write_text
from cadnet.images import read_image, write_png
from cadnet.images.files import is_safe
from cadnet.models.mit import MIN_SIZE
from cadnet.models.tensors import WeightsError
from cadnet.models.weights import DESCRIPTION_NAME, WEIGHTS_NAME, ModelDescription

PRODUCT_NAME = "product.json"
REFERENCES = "references"
CARD_NAME = "README.md"
FORMAT_VERSION = 2
"""1 had no digest of ``product.json`` itself, and is read all the same."""

_KEY = "format_version"
_DIGEST = "digest"


class ProductError(ValueError):
    """A folder is no usable product; the message names the file, the cause and the fix."""


class ReferenceFile(Params):
    """A clean image of the product: RGB PNG of ``width`` x ``height`` pixels at ``file`` in the folder."""

    name: str
    file: str
    sha256: str
    width: Positive
    height: Positive


@dataclass(frozen=True)
class Product:
    """The content of ``product.json`` in ``folder``.

    ``threshold``: a pixel is a defect where its probability of any defect, in (0, 1), exceeds this.
    ``min_pixels``: defect pixels from which on an image is judged defective. ``size``: side in pixels the
    network was trained at; larger images are cut into tiles of it. ``alignment``: parameters of alignment,
    None where images are aligned already. ``metrics``, ``notes`` and ``params`` (what it was
    trained with) are for readers. ``digest``: of all the rest of ``product.json``, and so of the weights and
    references it names.
    """

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    folder: Path
    name: Name
    class_names: Annotated[tuple[str, ...], Field(min_length=1)]
    threshold: Annotated[float, Field(gt=0, lt=1)]
    min_pixels: Positive
    size: Annotated[int, Field(ge=MIN_SIZE)]
    weights_sha256: str
    references: tuple[ReferenceFile, ...]
    alignment: AlignmentParams | None
    metrics: dict[str, Any]
    notes: str
    params: dict[str, Any] = field(default_factory=dict)
    digest: str = ""


def write_product(
    folder: Path | str,
    *,
    name: str,
    model: Path | str,
    references: Mapping[str, Path | str],
    size: int,
    threshold: float = 0.5,
    min_pixels: int = 1,
    class_names: Sequence[str] | None = None,
    alignment: AlignmentParams | None = None,
    metrics: Mapping[str, Any] | None = None,
    notes: str = "",
    params: Mapping[str, Any] | None = None,
    card: str | None = None,
) -> Product:
    """Make a product folder, complete or not at all; an existing one is replaced as a whole.

    Args (others as in :class:`Product`):
        model: folder that ``save_weights`` wrote.
        references: name -> file of a clean image, in any format that ``read_image`` reads. Names are of ASCII
            letters, digits, ``_``, ``.`` and ``-``, and case does not tell them apart.
        class_names: None takes those in the weights.
        metrics, params: JSON values.
        card: text of ``README.md``, or None for none.

    Raises:
        FileNotFoundError: weights or a reference are not there.
        ProductError: a value out of its range, or class names that are not those of the weights.
        cadnet.models.tensors.WeightsError, cadnet.images.ImageError: damaged weights or reference.
        OSError: the disk is full or the folder cannot be written.
    """
    description = ModelDescription.read(model)
    values = {
        "name": name,
        "class_names": list(description.class_names if class_names is None else class_names),
        "threshold": threshold,
        "min_pixels": min_pixels,
        "size": size,
        "alignment": None if alignment is None else alignment.model_dump(mode="json"),
        "metrics": dict(metrics or {}),
        "notes": notes,
        "params": dict(params or {}),
    }
    _check_names(list(references))
    with atomic_directory(folder) as made:
        shutil.copyfile(Path(model) / WEIGHTS_NAME, made / WEIGHTS_NAME)
        write_json(made / DESCRIPTION_NAME, asdict(description))
        content = {
            _KEY: FORMAT_VERSION,
            **values,
            "weights_sha256": file_digest(made / WEIGHTS_NAME),
            "references": [_store(made, key, Path(path)) for key, path in references.items()],
        }
        content[_DIGEST] = value_digest(content)
        # Validated before it is written.
        product = _parsed(content, Path(folder))
        _check_classes(product, description)
        write_json(made / PRODUCT_NAME, content)
        if card is not None:
            write_text(made / CARD_NAME, card)
    return product


def read_product(folder: Path | str) -> Product:
    """Read a product folder and compare ``product.json``, the weights and every reference with their digests.

    Raises:
        FileNotFoundError: the folder, or a file that it must hold, is not there.
        ProductError: ``product.json`` is damaged, of an unknown version or out of range, a digest differs, or
            the weights have other classes.
        cadnet.models.tensors.WeightsError: the weights do not describe themselves.
    """
    folder = Path(folder)
    path = folder / PRODUCT_NAME
    if not path.is_file():
        raise FileNotFoundError(_no_product(folder))
    try:
        content = read_json(path, "copy the product again", unique=True)
    except ValueError as error:
        raise ProductError(str(error)) from error
    product = _parsed(content, folder)
    _check_names([reference.name for reference in product.references])
    for reference in product.references:
        # The path follows from the name, so that no file outside the folder can be named.
        if reference.file != _path(reference.name):
            raise ProductError(
                f"{path} says that reference {reference.name!r} is {reference.file!r}; it must be "
                f"{_path(reference.name)!r}"
            )
        _check_digest(folder / reference.file, reference.sha256)
    _check_digest(folder / WEIGHTS_NAME, product.weights_sha256)
    _check_classes(product, ModelDescription.read(folder))
    return product


def copy_product(product: Product, folder: Path | str) -> None:
    """Make ``folder`` a copy of a product, as a whole, unless it is one already."""
    try:
        if read_product(folder).digest == product.digest:
            return
    except (OSError, ProductError, WeightsError):
        pass
    with atomic_directory(folder) as made:
        shutil.copytree(product.folder, made, dirs_exist_ok=True)


def _path(name: str) -> str:
    return f"{REFERENCES}/{name}.png"


def _store(folder: Path, name: str, source: Path) -> dict[str, Any]:
    """Write one reference and return its entry."""
    image = read_image(source)
    path = _path(name)
    write_png(folder / path, image)
    height, width = image.shape[:2]
    digest = file_digest(folder / path)
    return {"name": name, "file": path, "sha256": digest, "width": width, "height": height}


def _parsed(content: Any, folder: Path) -> Product:
    path = folder / PRODUCT_NAME
    version = content.get(_KEY) if isinstance(content, dict) else None
    if version not in (1, FORMAT_VERSION):
        raise ProductError(
            f"{path} has format version {version}, and this program reads {FORMAT_VERSION}; update it, or "
            "make the product again"
        )
    digest = value_digest({key: value for key, value in content.items() if key != _DIGEST})
    if version != 1 and content.get(_DIGEST) != digest:
        raise ProductError(f"{path} is not as it was written; copy the product again")
    values = {key: value for key, value in content.items() if key != _KEY} | {_DIGEST: digest}
    if "registration" in values:
        # Its name in products written before 0.2.
        values["alignment"] = values.pop("registration")
    try:
        # As JSON, where strict mode accepts lists for tuples but no text for numbers.
        text = json.dumps({**values, "folder": str(folder)}, allow_nan=False)
        return TypeAdapter(Product).validate_json(text)
    except ValidationError as error:
        wrong = sorted({f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()})
        raise ProductError(f"{path} is invalid: {'; '.join(wrong)}") from error
    except (TypeError, ValueError) as error:
        raise ProductError(f"metrics of product {content['name']!r} are not JSON values: {error}") from error


def _check_names(names: Sequence[str]) -> None:
    unsafe = sorted(name for name in names if not is_safe(name))
    if unsafe:
        raise ProductError(
            f"references cannot be called {unsafe}; names are of ASCII letters, digits, _, . and -"
        )
    if len({name.casefold() for name in names}) < len(names):
        raise ProductError(f"some references have one name: {sorted(names)}; case does not count")


def _check_digest(path: Path, digest: str) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, which {PRODUCT_NAME} names; copy the product again")
    if file_digest(path) != digest:
        raise ProductError(f"{path} is not the file that {PRODUCT_NAME} names; copy the product again")


def _check_classes(product: Product, description: ModelDescription) -> None:
    own, known = list(product.class_names), list(description.class_names)
    if len(own) != description.num_classes or (known and own != known):
        raise ProductError(
            f"product {product.name!r} has the classes {own}, its weights have "
            f"{known or description.num_classes}; give the weights that belong to it"
        )


def _no_product(folder: Path) -> str:
    if not folder.is_dir():
        return f"{folder} does not exist; give the folder of a product"
    if (folder / WEIGHTS_NAME).is_file():
        return (
            f"{folder} holds weights but no {PRODUCT_NAME}; make a product of them with "
            "cadnet.inference.write_product"
        )
    return f"{folder} is no product: it holds no {PRODUCT_NAME}" + (
        f"; see {folder / CARD_NAME}" if (folder / CARD_NAME).is_file() else ""
    )


@dataclass(frozen=True)
class Card:
    """Content of the model card, the ``README.md`` of a product.

    ``validation``: name and value of the metric that chose it; ``test``: metrics in 0-1 that chose nothing;
    ``provenance`` and ``params`` are written as they are.
    """

    product: str
    method: str
    scale: str
    class_names: tuple[str, ...]
    data: str
    validation: tuple[str, float]
    candidates: int
    threshold: float
    threshold_origin: str
    min_pixels: int
    size: int
    references: int
    test: Mapping[str, float]
    provenance: Mapping[str, str]
    params: Mapping[str, Any]

    def markdown(self) -> str:
        """Return the card as markdown."""
        name, value = self.validation
        several = f"the best of {self.candidates} trainings" if self.candidates > 1 else "the only training"
        tests = [f"| {key} | {100 * number:.2f} |" for key, number in self.test.items()]
        origins = [f"- {key}: {text}" for key, text in self.provenance.items() if text]
        parts = [
            f"# {self.product}: {self.method}",
            f"Finds defects of the kinds {', '.join(self.class_names)} by comparing an image with a clean "
            f"reference, pixel by pixel. Scale of the training: {self.scale}.",
            "## How it decides",
            f"A pixel is a defect where the probability of any defect exceeds {self.threshold:.3f} "
            f"({self.threshold_origin}); an image is defective from {self.min_pixels} such pixels on. "
            f"{self.references} reference image{'s' if self.references != 1 else ''} "
            f"travel{'s' if self.references == 1 else ''} with it. Images larger than {self.size} pixels are "
            "cut into tiles of that size.",
            "## How it was chosen",
            f"It is {several} by `{name}` on validation images: {value:.4f}. {self.data}",
            "## Test",
            "At the network's own decision (the most probable class), in percent; the test chose nothing.",
            "\n".join(["| metric | % |", "| --- | ---: |", *tests]) if tests else "Not tested.",
            "## Limits",
            "It knows the kinds of defects and the products it was trained on. It was not tried on others, "
            "nor on images that do not lie on their reference, beyond the tolerances that the gate states. "
            "Its judgement does not replace an inspection that people's safety depends on.",
            "## Where it comes from",
            "\n".join(origins),
            "## Parameters",
            f"```yaml\n{yaml.safe_dump(dict(self.params), sort_keys=False)}```",
        ]
        return "\n\n".join(parts) + "\n"
