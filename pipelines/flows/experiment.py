"""Run what has changed: ``python -m pipelines.flows.experiment``."""

from pipelines.flows.command_line import main

if __name__ == "__main__":
    main("experiment")
