"""A product's folder as an MLflow model that loads without pickle and without this project's checkout."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import cadnet
from cadnet.files import atomic_directory
from cadnet.images import read_image
from cadnet.inference import read_product
from cadnet.inference.product import PRODUCT_NAME, Product
from cadnet.tracking.registry import Registry
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
        pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
    )


def fetch_product(uri: str, cache: Path | str, root: Path | str = ".", store: str | None = None) -> Path:
    """Return the product's folder of a registered model, downloaded once per version.

    Args:
        uri: ``models:/<name>@<alias>`` or ``models:/<name>/<number>``.
        cache: folder of downloaded versions; may be deleted at any time.
        root: folder that relative addresses of stores count from.
        store: address of the tracking store; else ``MLFLOW_TRACKING_URI``, else ``<root>/mlflow.db``.

    Raises:
        TrackingError: the store cannot be used, or there is no such model, alias or version.
        cadnet.inference.ProductError: the downloaded product is damaged.
    """
    registry = Registry(resolve_store(root, store))
    version = registry.resolve(uri)
    # Versions never change, but another store may have the same names.
    cached = Path(cache) / version.model / f"{version.number}-{version.fingerprint[:16]}"
    if not cached.is_dir():
        with atomic_directory(cached) as folder:
            # MLflow names the folder it downloads after its path in the run.
            registry.download(version, folder / "download").rename(folder / "model")
            shutil.rmtree(folder / "download")
    product = product_folder(cached / "model")
    read_product(product)
    return product


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
