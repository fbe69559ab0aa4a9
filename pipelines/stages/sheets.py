"""Visual comparison sheets: all methods on samples that a rule chooses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from cadnet.config import ProjectParams
from cadnet.datasets.cache import decode_split
from cadnet.datasets.device import DevicePairs
from cadnet.datasets.manifest import PreparedDataset
from cadnet.evaluation.selection import RULE, select_samples
from cadnet.models.weights import load_model
from cadnet.reporting.data import Picture
from cadnet.reporting.overlays import SheetRow, comparison_png
from pipelines.cells import CACHE, CellName
from pipelines.stages.evaluate import SPLIT, read_counts


def comparison_pictures(
    dataset: PreparedDataset, cells: Sequence[CellName], params: ProjectParams
) -> list[Picture]:
    """Draw one sheet of ``dataset``: rows are test samples, columns the methods at the first seed."""
    seed = params.run.seeds[0]
    shown = {params.methods[cell.method].title: cell for cell in cells if cell.seed == seed}
    counts = {title: read_counts(cell.evaluation / "counts.npz") for title, cell in shown.items()}
    chosen = select_samples(counts, dataset.classes, params.evaluate.overlays)
    decoded = decode_split(dataset, SPLIT, CACHE)
    index = torch.tensor([selection.index for selection in chosen])
    pairs = DevicePairs(decoded)
    predictions = {title: predict(cell, pairs, index) for title, cell in shown.items()}
    rows = [
        SheetRow(
            label=f"{decoded.rows['sample_id'][selection.index]} ({selection.reason})",
            image=decoded.images[selection.index].transpose(1, 2, 0),
            reference=decoded.references[decoded.reference_index[selection.index]].transpose(1, 2, 0),
            truth=decoded.masks[selection.index],
            predictions={title: labels[row] for title, labels in predictions.items()},
        )
        for row, selection in enumerate(chosen)
    ]
    title = f"{dataset.name}: test samples ({params.run.scale}, seed {seed})"
    caption = f"{title}. White: found, green: missed, red: false. {RULE}"
    alt = f"Error maps of {', '.join(shown)} on {len(rows)} test samples."
    return [Picture(comparison_png(rows, title), caption, alt)]


def predict(cell: CellName, pairs: DevicePairs, index: torch.Tensor) -> np.ndarray:
    """Predict labels, uint8 (B, H, W), of the pairs ``index`` with the weights of ``cell``."""
    model, _description = load_model(cell.model)
    batch = pairs.plain(index)
    with torch.inference_mode():
        logits = model.eval()(batch.image, batch.reference).logits
    labels: np.ndarray = logits.argmax(dim=1).to(torch.uint8).numpy()
    return labels
