"""Retrain now: ``python -m pipelines.flows.retrain``."""

from pipelines.flows.command_line import main

if __name__ == "__main__":
    main("retrain")
