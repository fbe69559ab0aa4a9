"""Try every candidate recipe of ``search`` in ``params.yaml`` with every method, on the validation split.

    python -m pipelines.search [--methods cadnet segformer]

Equal effort: all methods of the main grid get the same number of trainings, each as long as the profile's
own. Rows already in ``params/search/<dataset>.csv`` from the same data, settings and code are kept, so an
interrupted search resumes. Which candidate becomes the recipe is written into the profile by hand, by the
mean over the methods that share it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cadnet.config import ConfigError, ProjectParams, Recipe, load_params
from cadnet.datasets.manifest import open_dataset
from cadnet.files import write_text
from cadnet.training.fit import FitResult, fit
from cadnet.training.job import Job
from pipelines.stages.command import run_stage
from pipelines.stages.train import training_fingerprint
from pipelines.trials import CACHE, CHECKPOINTS, PARAMS, dataset_folder, search_table


def search(params: ProjectParams, methods: Sequence[str] = ()) -> pd.DataFrame:
    """Train the candidates that have not been tried yet and write the table after each training.

    Args:
        params: with a section ``search``.
        methods: only these; empty for all of the main grid.

    Returns:
        One row per method and candidate: ``scale, method, family, optimizer, lr, seed, epochs, pairs,
        best_epoch, val_miou, val_iou_<class>..., train_seconds, fingerprint``; ratios in [0, 1], the best
        epoch's.

    Raises:
        ConfigError: the parameters have no section ``search``, or lack a method or its candidates.
    """
    if params.search is None:
        raise ConfigError(f"{PARAMS} has no section `search`; give it a dataset and recipes")
    path = search_table(params.search.dataset)
    known = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=["fingerprint"])
    rows: dict[str, dict[Hashable, Any]] = {row["fingerprint"]: row for row in known.to_dict("records")}
    for name, job in search_jobs(params, methods or params.run.methods):
        fingerprint = training_fingerprint(job)
        if fingerprint in rows:
            continue
        recipe = job.method.recipe
        sys.stdout.write(f"searching {name}: {recipe.optimizer}, learning rate {recipe.lr:g}\n")
        result = fit(job, CHECKPOINTS / "search" / fingerprint[:16], CACHE)
        rows[fingerprint] = {"scale": params.run.scale, **_row(name, job, recipe, result)}
        rows[fingerprint]["fingerprint"] = fingerprint
        write_text(path, pd.DataFrame(list(rows.values())).to_csv(index=False, lineterminator="\n"))
    return pd.DataFrame(list(rows.values()))


def search_jobs(params: ProjectParams, methods: Sequence[str]) -> Iterator[tuple[str, Job]]:
    """Yield each method's name with a job per candidate of its family.

    Raises:
        ConfigError: an unknown method, or one whose family has no candidates.
    """
    assert params.search is not None
    unknown = sorted(set(methods) - set(params.methods))
    if unknown:
        raise ConfigError(f"{PARAMS} defines no method {unknown}; it has {sorted(params.methods)}")
    bare = sorted({params.methods[name].family for name in methods} - set(params.search.recipes))
    if bare:
        raise ConfigError(f"search.recipes has no candidates for {bare}; add them to {PARAMS}")
    dataset = open_dataset(dataset_folder(params.search.dataset))
    for name in methods:
        method = params.methods[name]
        for candidate in params.search.recipes[method.family]:
            tried = method.model_copy(update={"recipe": candidate})
            yield name, Job(dataset, tried, params.train, params.search.seed)


def _row(name: str, job: Job, recipe: Recipe, result: FitResult) -> dict[Hashable, Any]:
    scores: dict[Hashable, Any] = {
        key: value for key, value in result.best.items() if key.startswith(("val_iou_", "val_miou"))
    }
    return {
        "method": name,
        "family": job.method.family,
        "optimizer": recipe.optimizer,
        "lr": recipe.lr,
        "seed": job.seed,
        "epochs": job.train.epochs,
        "pairs": len(job.dataset.split("train")),
        "best_epoch": result.best["epoch"],
        **scores,
        "train_seconds": round(sum(float(row["train_seconds"] or 0) for row in result.history), 1),
    }


def main() -> None:
    """Entry of ``python -m pipelines.search``."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--methods", nargs="+", default=(), help="only these; by default all of run.methods")
    arguments = parser.parse_args()

    def body() -> None:
        table = search(load_params(Path(PARAMS)), arguments.methods)
        sys.stdout.write(table.drop(columns="fingerprint").to_string(index=False) + "\n")

    run_stage(body)


if __name__ == "__main__":
    main()
