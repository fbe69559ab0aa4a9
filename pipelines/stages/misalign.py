"""Stage ``misalign``: score a trained trial on pairs that are apart by known shifts and angles."""

from __future__ import annotations

import pandas as pd
import torch

from cadnet.config import ProjectParams
from cadnet.datasets.cache import decode_split
from cadnet.datasets.device import DevicePairs, EvalBatches
from cadnet.evaluation.evaluate import evaluate
from cadnet.evaluation.misalignment import MovedBatches
from cadnet.evaluation.result import evaluation_result
from cadnet.files import write_text
from cadnet.models.weights import load_model
from pipelines.stages.command import parse_trial, read_params, run_stage
from pipelines.stages.scoring import SPLIT, open_scored
from pipelines.trials import CACHE, TrialName

SCREEN = 512
"""Shifts are pixels on images of this side and scale with them."""


def misalign(trial: TrialName, params: ProjectParams) -> None:
    """Score ``trial`` at each shift and each angle and write a table of them.

    Columns: ``kind`` (``shift`` or ``angle``), ``amount`` (pixels of 512, degrees), and ``iou_defect, miou,
    escape, overkill`` as in the evaluation.
    """
    dataset = open_scored(trial, trial.dataset, params)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, _description = load_model(trial.model)
    model.to(device)
    decoded = decode_split(dataset, SPLIT, CACHE, progress=True)
    pairs, study = DevicePairs(decoded, device), params.misalignment
    rows = []
    moves = [("shift", amount) for amount in study.shifts] + [("angle", amount) for amount in study.angles]
    for kind, amount in moves:
        shift = amount * min(pairs.size) / SCREEN if kind == "shift" else 0.0
        batches = EvalBatches(pairs, params.evaluate.batch_size)
        apart = MovedBatches(batches, shift, amount if kind == "angle" else 0.0)
        counts = evaluate(model, apart, len(pairs), dataset.classes, device, bins=0, bf16=device == "cuda")
        scores = evaluation_result(counts, dataset.classes).scalars()
        kept = {name: scores.get(name) for name in ("iou_defect", "miou", "escape", "overkill")}
        rows.append({"kind": kind, "amount": amount, **kept})
    write_text(trial.misaligned, pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))


def main() -> None:
    """Entry of ``python -m pipelines.stages.misalign``."""
    trial = parse_trial("Score one trial of the main grid on pairs that are apart.")
    run_stage(lambda: misalign(trial, read_params(trial)))


if __name__ == "__main__":
    main()
