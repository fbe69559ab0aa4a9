"""The command ``cadnet predict``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cadnet.images import read_image
from cadnet.inference.files import TABLES, find_images
from cadnet.inference.output import ResultWriter
from cadnet.inference.prediction import Failure
from cadnet.inference.predictor import Predictor
from cadnet.inference.product import Product, read_product
from cadnet.writing.progress import open_progress

REGISTRY_SCHEME = "models:/"

GOOD, DEFECTIVE, ERROR = 0, 1, 2
"""Exit codes: all images good; at least one defective; an error, or an image that could not be judged."""

_SHOWN = 10


class Request(NamedTuple):
    """Options of the command.

    ``model``: folder of a product, or an address ``models:/...``; ``images``: files, folders, patterns;
    ``reference``: name of one of the product's, or a file; ``threshold`` and ``align``: None does as the
    product says.
    """

    model: str
    images: Sequence[str]
    out: Path
    reference: str | None = None
    threshold: float | None = None
    align: bool | None = None
    batch: int = 8
    device: str = "auto"


def run(
    request: Request,
    *,
    resolve: Callable[[str], Path],
    log: Callable[[str], object],
    warn: Callable[[str], object],
    progress: bool = True,
) -> int:
    """Judge all images, write the results and return the exit code.

    Args:
        request: what to do.
        resolve: returns the product folder of an address ``models:/...``.
        log: called with the summary, one line.
        warn: called with each image that could not be judged, one line each.
        progress: whether to show it on stderr.

    Raises:
        OSError, ValueError: nothing can be judged: no usable product, no image, an option out of its range,
            or results that cannot be written.
    """
    named = request.model.startswith(REGISTRY_SCHEME)
    images = find_images(request.images, request.out)
    product = read_product(resolve(request.model) if named else Path(request.model))
    predictor = Predictor(
        product, request.device, request.batch, threshold=request.threshold, alignment=request.align
    )
    reference = _reference(product, request.reference)
    good = defective = 0
    failed: list[str] = []
    outcomes = predictor.try_many((image.path for image in images), reference)
    with (
        ResultWriter(request.out, predictor) as writer,
        open_progress(progress, len(images), 0, product.name) as bar,
    ):
        for image, outcome in zip(images, outcomes, strict=True):
            if isinstance(outcome, Failure):
                writer.fail(image, outcome.reason)
                failed.append(f"{image.path}: {outcome.reason}")
            else:
                writer.add(image, outcome)
                good += outcome.verdict == "good"
                defective += outcome.verdict == "defective"
            bar.advance(1)
    for line in failed[:_SHOWN]:
        warn(f"not judged: {line}")
    if len(failed) > _SHOWN:
        warn(f"and {len(failed) - _SHOWN} more, see {request.out / TABLES[1]}")
    log(f"good: {good}, defective: {defective}, not judged: {len(failed)}; see {request.out / TABLES[0]}")
    return ERROR if failed else DEFECTIVE if defective else GOOD


def _reference(product: Product, given: str | None) -> np.ndarray | str | None:
    """Return the name of a product's reference, or else the pixels of a file."""
    if given is None or given in {reference.name for reference in product.references}:
        return given
    path = Path(given)
    # Anything else is refused later, with the known names.
    return read_image(path) if path.is_file() else given
