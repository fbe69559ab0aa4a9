"""Stage ``prepare``: raw material to a prepared dataset."""

from __future__ import annotations

import argparse
import os

from cadnet.config import ConfigError, DatasetParams, SynLCDParams, load_params
from cadnet.synthesis.writer import plan_synlcd
from cadnet.writing.dataset import write_dataset
from cadnet.writing.units import Plan
from pipelines.cells import PARAMS, dataset_folder
from pipelines.stages.command import run_stage


def prepare(dataset: str) -> None:
    """Prepare one dataset of params.yaml.

    Raises:
        ConfigError: params.yaml defines no such dataset.
    """
    known = load_params(PARAMS).datasets
    if dataset not in known:
        raise ConfigError(f"{PARAMS} defines no dataset '{dataset}'; it has {sorted(known)}")
    plan = plan_of(known[dataset])
    write_dataset(plan, dataset_folder(dataset), workers=os.cpu_count() or 1, progress=True)


def plan_of(params: DatasetParams) -> Plan:
    """Read the raw material of a dataset and plan its preparation; raises what the preparer raises."""
    if isinstance(params, SynLCDParams):
        return plan_synlcd(params)
    raise NotImplementedError


def main() -> None:
    """Entry of ``python -m pipelines.stages.prepare``."""
    parser = argparse.ArgumentParser(description="Prepare one dataset.")
    parser.add_argument("--dataset", required=True)
    arguments = parser.parse_args()
    run_stage(lambda: prepare(arguments.dataset))


if __name__ == "__main__":
    main()
