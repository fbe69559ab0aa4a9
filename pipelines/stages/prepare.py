"""Stage ``prepare``: raw material to a prepared dataset."""

from __future__ import annotations

import argparse
import os
import sys

from cadnet.config import (
    ConfigError,
    DatasetParams,
    MvtecAdParams,
    PairsParams,
    PkuPcbParams,
    SynLCDParams,
    load_params,
)
from cadnet.files import read_json
from cadnet.preparers.mvtec_ad.plan import plan_mvtec_ad
from cadnet.preparers.pairs.plan import plan_pairs
from cadnet.preparers.pku_pcb.plan import plan_pku_pcb
from cadnet.synthesis.writer import plan_synlcd
from cadnet.writing.dataset import write_dataset
from cadnet.writing.units import Plan
from pipelines.stages.command import run_stage
from pipelines.trials import PARAMS, dataset_folder


def prepare(dataset: str) -> None:
    """Prepare one dataset of params.yaml and print what a reader of it must know.

    Raises:
        ConfigError: params.yaml defines no such dataset.
    """
    known = load_params(PARAMS).datasets
    if dataset not in known:
        raise ConfigError(f"{PARAMS} defines no dataset '{dataset}'; it has {sorted(known)}")
    folder = dataset_folder(dataset)
    write_dataset(plan_of(known[dataset]), folder, workers=os.cpu_count() or 1, progress=True)
    for note in read_json(folder / "dataset.json").get("notes", []):
        sys.stdout.write(f"{dataset}: {note}\n")


def plan_of(params: DatasetParams) -> Plan:
    """Look at the raw material of a dataset and plan its preparation; raises what its preparer raises."""
    match params:
        case SynLCDParams():
            return plan_synlcd(params)
        case MvtecAdParams():
            return plan_mvtec_ad(params)
        case PkuPcbParams():
            return plan_pku_pcb(params)
        case PairsParams():
            return plan_pairs(params)


def main() -> None:
    """Entry of ``python -m pipelines.stages.prepare``."""
    parser = argparse.ArgumentParser(description="Prepare one dataset.")
    parser.add_argument("--dataset", required=True)
    arguments = parser.parse_args()
    run_stage(lambda: prepare(arguments.dataset))


if __name__ == "__main__":
    main()
