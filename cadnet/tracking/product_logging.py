"""A product's folder as an MLflow model that loads without pickle and without this project's checkout."""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import cadnet
from cadnet.files import atomic_directory, value_digest
from cadnet.images import read_image
from cadnet.inference import ProductError, read_product
from cadnet.inference.product import PRODUCT_NAME, Product
from cadnet.models.tensors import WeightsError
from cadnet.tracking.registry import TAG_PRODUCT_DIGEST, Registry, Version
from cadnet.tracking.store import TrackingError, resolve_store

if TYPE_CHECKING:
    import numpy as np

SCRIPT = Path(__file__).with_name("product_model.py")
PRODUCT = "product"
"""Name of the artifact that is the product's folder; the script's too, which imports nothing from here."""

REQUIREMENTS = (
    "torch", "torchvision", "timm", "segmentation-models-pytorch", "safetensors", "numpy",
    "opencv-python-headless", "pillow", "pydantic", "PyYAML", "pycocotools", "defusedxml", "filelock", "rich",
)  # fmt: skip
"""What prediction imports; installed versions are noted with the model."""

EXAMPLE = 64
"""Side in pixels of the pair that shows what the model takes."""


def save_product_model(folder: Path | str, product: Path | str) -> None:
    """Write a product as an MLflow model with a signature of two images of free height and width.

    Args:
        folder: empty, or not existing.
        product: folder that :func:`~cadnet.inference.product.write_product` made.

    Raises:
        cadnet.inference.ProductError: the product is damaged.
    """
    import mlflow
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    found = read_product(product)
    bytes_, floats = np.dtype("uint8"), np.dtype("float32")
    taken = [TensorSpec(bytes_, (-1, -1, -1, 3), name) for name in ("image", "reference")]
    given = [
        TensorSpec(kind, (-1, -1, -1), name) for kind, name in ((bytes_, "labels"), (floats, "probability"))
    ]
    mlflow.pyfunc.save_model(
        str(folder),
        python_model=str(SCRIPT),
        artifacts={PRODUCT: str(product)},
        code_paths=[str(Path(cadnet.__file__).parent)],
        signature=ModelSignature(Schema(list(taken)), Schema(list(given))),
        input_example=_example(found),
        pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in REQUIREMENTS],
    )


def fetch_product(uri: str, cache: Path | str, root: Path | str = ".", store: str | None = None) -> Path:
    """Return the product's folder of a registered model, downloaded once per version.

    Args:
        uri: ``models:/<name>@<alias>`` or ``models:/<name>/<number>``.
        cache: folder of downloaded versions; may be deleted at any time.
        root: folder that relative addresses of stores count from.
        store: address of the tracking store; else ``MLFLOW_TRACKING_URI``, else ``<root>/mlflow.db``.

    Raises:
        TrackingError: the store cannot be used, there is no such model, alias or version, or its files are
            missing, damaged or not those that were registered.
    """
    registry = Registry(resolve_store(root, store))
    return fetch_version(registry, registry.resolve(uri), cache).folder


def fetch_version(registry: Registry, version: Version, cache: Path | str) -> Product:
    """Return a version's product, downloaded unless ``cache`` has it undamaged.

    Raises:
        TrackingError: its files are missing, damaged or not those that were registered.
    """
    # Versions never change, but another store may have the same names. The digest keeps what tags and
    # servers say out of the path.
    own = value_digest(registry.store.uri, version.model, version.number, version.run_id)
    cached = Path(cache) / f"{version.number}-{own[:32]}"
    try:
        return _read(cached, version)
    except _UNUSABLE:
        pass
    try:
        with atomic_directory(cached) as folder:
            # MLflow names the folder it downloads after its path in the run.
            registry.download(version, folder / "download").rename(folder / "model")
            shutil.rmtree(folder / "download")
            _read(folder, version)
    except _UNUSABLE as error:
        raise TrackingError(
            f"the files of {version} cannot be had or are not those that were registered "
            f"({str(error).splitlines()[0]}); `make repro` in its project uploads them again where it can, "
            "and `cadnet models` lists other versions"
        ) from error
    return _read(cached, version)


def _read(folder: Path, version: Version) -> Product:
    """Read the product in a downloaded model, which must be the one that was registered."""
    product = read_product(product_folder(folder / "model"))
    # Versions registered before 0.2, or by others, do not say.
    if version.tags.get(TAG_PRODUCT_DIGEST, product.digest) != product.digest:
        raise ProductError(f"{product.folder} is another product than was registered as {version}")
    return product


_UNUSABLE = (OSError, ProductError, WeightsError, TrackingError)


def repair(registry: Registry, model: str, fingerprint: str, places: Iterable[Path]) -> list[Version]:
    """Look whether the versions in use and those of a fingerprint can be had, and upload what is missing.

    Args:
        registry: where ``model`` is registered.
        model: registered name.
        fingerprint: of what is about to be registered.
        places: folders of products, of which one may be what is missing.

    Returns:
        The versions that are lost: damaged, and none of the products is theirs.
    """
    known: dict[str, Path] = {}
    for place in places:
        try:
            known[read_product(place).digest] = place
        except _UNUSABLE:
            continue
    lost = []
    for version in registry.in_use(model, fingerprint):
        with tempfile.TemporaryDirectory(prefix="cadnet-") as folder:
            try:
                fetch_version(registry, version, folder)
                continue
            except TrackingError:
                source = known.get(version.tags.get(TAG_PRODUCT_DIGEST, ""))
        if source is None:
            lost.append(version)
        else:
            _restore(registry, version, source)
    return lost


def _restore(registry: Registry, version: Version, product: Path) -> None:
    registry.restore(version, lambda folder: save_product_model(folder, product))


def product_folder(model: Path) -> Path:
    """Return the product's folder in a downloaded MLflow model.

    Raises:
        TrackingError: it holds none, or several.
    """
    # MLflow keeps the name that the folder had.
    found = [path for path in (model / "artifacts").glob("*") if (path / PRODUCT_NAME).is_file()]
    if len(found) != 1:
        raise TrackingError(f"{model} holds {len(found)} products where one is expected; register it again")
    return found[0]


def _example(product: Product) -> dict[str, np.ndarray]:
    """A clean pair: a piece of a reference beside itself, or grey where the product has none."""
    import numpy as np

    if product.references:
        piece = read_image(product.folder / product.references[0].file)[:EXAMPLE, :EXAMPLE]
    else:
        piece = np.full((EXAMPLE, EXAMPLE, 3), 128, np.uint8)
    return {"image": piece[None], "reference": piece[None]}
