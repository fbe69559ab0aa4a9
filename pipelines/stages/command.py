"""What the stages' command lines share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from cadnet.config import ConfigError, ProjectParams, load_params
from cadnet.signals import answered
from cadnet.tracking import TrackingError
from pipelines.trials import PARAMS, TrialName

USER_ERRORS = (ConfigError, ValueError, OSError, TrackingError)
"""Errors whose message is written for the user; anything else is a defect and keeps its traceback."""


def run_stage(body: Callable[[], None]) -> None:
    """Run a stage; an error that the user can fix, Ctrl-C and SIGTERM become one line and an exit status."""
    try:
        with answered():
            body()
    except USER_ERRORS as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from error


def run_product_stage(description: str, stage: Callable[[str, ProjectParams], None]) -> None:
    """Run a stage of the product that --product names."""

    def body() -> None:
        params = load_params(PARAMS)
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--product", required=True)
        name = str(parser.parse_args().product)
        if name not in params.products:
            raise ConfigError(f"{PARAMS} defines no product '{name}'; it has {sorted(params.products)}")
        stage(name, params)

    run_stage(body)


def parse_trial(description: str, *, scored: bool = False) -> TrialName:
    """Read --dataset, --method and --seed, and with ``scored`` --test and --fraction."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--method", required=True)
    parser.add_argument("--seed", required=True, type=int)
    if scored:
        parser.add_argument("--test", default="", help="dataset to score on, if not the one trained on")
        parser.add_argument(
            "--fraction", type=float, help="labelled fraction of a trial of the few-label grid"
        )
    return TrialName(**vars(parser.parse_args()))


def read_params(trial: TrialName) -> ProjectParams:
    """Read params.yaml and check that it defines the trial's datasets and method.

    Raises:
        ConfigError: it does not.
    """
    params = load_params(PARAMS)
    for kind, name, known in (
        ("dataset", trial.dataset, params.datasets),
        ("dataset", trial.test_dataset, params.datasets),
        ("method", trial.method, params.methods),
    ):
        if name not in known:
            raise ConfigError(f"{PARAMS} defines no {kind} '{name}'; it has {sorted(known)}")
    return params
