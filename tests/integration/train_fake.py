"""A small job on a fake dataset; as a command, training in several processes."""

import sys
from pathlib import Path

import torch

from cadnet.config import MethodParams, Recipe, TrainParams
from cadnet.datasets.manifest import open_dataset
from cadnet.training.fit import fit
from cadnet.training.job import Job

RECIPE = Recipe(optimizer="adamw", lr=1e-3, weight_decay=0.01, schedule="cosine", warmup_fraction=0.1)
METHOD = MethodParams(
    title="CADNet", model="cadnet", family="small", recipe=RECIPE, loss="ce+bcl", contrastive_weight=0.05
)


def job(dataset: Path, epochs: int, devices: int = 1, method: MethodParams = METHOD) -> Job:
    train = TrainParams(epochs=epochs, batch_size=4, crop=32, precision="fp32", devices=devices)
    return Job(open_dataset(dataset), method, train, seed=3)


if __name__ == "__main__":
    folder, work, epochs, devices = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(1)
    fit(job(folder, epochs, devices), work, work.parent / "cache")
