"""The clean images that travel with a product."""

from __future__ import annotations

from pathlib import Path

from cadnet.config import ProjectParams
from cadnet.config.operate import ProductParams
from cadnet.datasets.manifest import DatasetError, PreparedDataset
from cadnet.images import SUFFIXES

MOST_REFERENCES = 500
"""More are windows of photographs, not references of a product."""


def find_references(
    settings: ProductParams, params: ProjectParams, dataset: PreparedDataset
) -> dict[str, Path]:
    """The product's clean images by name: those in the folder the settings name, else the dataset's.

    Raises:
        DatasetError: there are none, too many, or they are not of the size that photographs have.
    """
    if settings.references is not None:
        folder = Path(settings.references)
        files = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
        if not files:
            raise DatasetError(f"{folder} holds no images; name the folder of the product's clean images")
    else:
        _require_whole_images(settings.dataset, params)
        files = [dataset.root / file for file in dict.fromkeys(dataset.manifest["reference"])]
    if len(files) > MOST_REFERENCES:
        raise DatasetError(
            f"'{settings.dataset}' has {len(files)} references, more than {MOST_REFERENCES}; name a folder "
            "of clean images as the product's `references`"
        )
    return {file.stem: file for file in sorted(files)}


def _require_whole_images(name: str, params: ProjectParams) -> None:
    """The references of a dataset of windows are windows, with which no photograph can be compared."""
    if params.datasets[name].is_cut:
        raise DatasetError(
            f"'{name}' is cut into windows, and so are its references; name a folder of whole clean images "
            "as the product's `references`"
        )
