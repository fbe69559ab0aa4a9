"""Run one grid: ``python -m pipelines.flows.grid NAME``."""

from pipelines.flows.command_line import main

if __name__ == "__main__":
    main("grid")
